import Datasets
import FineTuning
import Imaging
import Networks
import Platform
import Segmentation
import Tensors
import Testing
import WeightFiles

/// The loop as a whole learns, from the first weights to a network that finds the organs.
struct LearningTests {
  private let side = 32
  private let budget = MemoryBudget()

  private func scheme() throws -> LabelScheme { try FineTuningTests.scheme(#"{"background":0,"liver":1,"spleen":2,"kidney_right":3}"#) }

  /// Phantom cases in memory, normalised by a window.
  private func cases(_ count: Int) throws -> [any TrainingCase] {
    var options = PhantomOptions.fixed(matrix: side, slices: 4, spacing: 12, sliceSpacing: 24, seed: 5)
    options.missingChance = 0
    options.labelCount = 3
    return try (0..<count).map { index in
      let (image, labels) = try Phantom.makeCase(index: index, options: options, in: budget)
      return try SyntheticCase(
        "phantom \(index)", shape: [1, 4, side, side], scheme: scheme(), label: { Int(labels.value($2, $1, $0)) },
        value: { Float(min(max(image.value($3, $2, $1), -200), 200) / 100) })
    }
  }

  private func settings(_ text: String) throws -> FineTuningSettings {
    var settings = try FineTuningSettings(JSON.parse(text, source: "settings"))
    settings.workers = 0
    return settings
  }
  private let small = """
    {"recipe": "scratch", "encoder": {"patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2, "layerscale_init": 1}, "taps": [0, 1],
     "drop_path": 0, "decoder_lr": 0.004, "encoder_lr": 0.004, "weight_decay": 0.01, "batch_size": 4, "augmentation": false, "seed": 3,
     "epochs": 4, "iterations": 40, "validation_iterations": 6}
    """

  private func tuner(_ settings: FineTuningSettings, cases: [any TrainingCase], threads: Int) throws -> FineTuner {
    let device = try CPUDevice(pool: ThreadPool(threads: threads), budget: budget)
    let network = Primus.Configuration(encoder: settings.recipe.encoder, taps: settings.recipe.taps, classes: 4)
    func maker(_ role: BatchMaker.Role) throws -> BatchMaker {
      try BatchMaker(
        role, cases: cases, configuration: configuration([side, side]), scheme: scheme(),
        augmentation: settings.augmentation(mirroring: []),
        foregroundShare: settings.recipe.oversampling, batchSize: settings.batchSize, seed: settings.seed, in: budget)
    }
    return try FineTuner(
      TrainablePrimus(
        network, parameters: InitialParameters(seed: settings.seed, configuration: network.encoder), device: device, seed: settings.seed),
      settings: settings, scheme: scheme(), batchDice: true, training: maker(.training), validation: maker(.validation), device: device)
  }

  @Test func learnsItsOwnSlices() throws {
    let tuner = try tuner(try settings(small), cases: try cases(2), threads: 2)
    var epochs: [EpochMetrics] = []
    while !tuner.isFinished { epochs.append(try tuner.finishEpoch()) }
    let losses = epochs.map(\.trainingLoss.total)
    let dice = epochs.compactMap(\.validation?.meanDice)
    print("losses \(losses), Dice \(dice)")
    #expect(epochs.count == 4 && dice.count == 4)
    #expect(losses[3] < losses[0] - 0.6, "\(losses)")
    // Random weights score below 0.1; a longer run goes on rising.
    #expect(dice[3] > 0.5 && dice[3] > dice[0] + 0.15, "\(dice)")
    #expect(epochs.allSatisfy { $0.gradientNorm.isFinite && $0.gradientNorm > 0 })
  }

  /// Three updates with augmentation on one and on two threads end in the same weights.
  @Test(arguments: ["f32", "bf16"]) func threadsDoNotChangeABit(precision: String) throws {
    var settings = try settings(small)
    settings.augmentation = .official
    settings.precision = precision == "bf16" ? .bfloat16 : .float32
    settings.recipe.encoder.dropPathRate = 0.2
    let weights = try [1, 2].map { threads in
      let tuner = try tuner(settings, cases: try cases(1), threads: threads)
      for _ in 0..<3 { _ = try tuner.step() }
      return tuner.network.parameters.list.flatMap { parameter in
        withExtendedLifetime(parameter.value) { parameter.value.floats.map(\.bitPattern) }
      }
    }
    #expect(weights[0] == weights[1] && weights[0].count > 1000)
  }
}
