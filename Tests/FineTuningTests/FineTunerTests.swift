import Networks
import Platform
import Segmentation
import Synchronization
import Tensors
import TestSupport
import Testing
import Training

@testable import FineTuning

@Suite struct FineTunerTests {
  let device: CPUDevice
  init() throws { device = try CPUDevice(pool: pool(), budget: MemoryBudget()) }

  private func cases(_ scheme: LabelScheme) throws -> [any TrainingCase] {
    try (0..<3).map { number in
      try SyntheticCase(
        "case\(number)", shape: [1, 3, 30, 28], scheme: scheme,
        label: { _, row, column in row > 8 + number && column < 12 ? 1 + row % 3 : 0 },
        value: { _, slice, row, column in Float((row * 7 + column * 3 + slice * 5 + number) % 11) / 5 - 1 })
    }
  }

  private func settings() -> FineTuningSettings {
    var encoder = EncoderConfiguration()
    (encoder.embedDim, encoder.depth, encoder.heads, encoder.hiddenDim, encoder.patchSize) = (16, 2, 2, 32, 8)
    encoder.dropPathRate = 0.3
    var recipe = Recipe(name: "test", encoder: encoder, taps: [0, 1], backboneLoading: .none)
    (recipe.epochs, recipe.iterations, recipe.validationIterations) = (2, 2, 1)
    var settings = FineTuningSettings(recipe: recipe)
    (settings.batchSize, settings.workers, settings.seed) = (2, 0, 5)
    return settings
  }

  private func network(_ settings: FineTuningSettings, _ scheme: LabelScheme) throws -> TrainablePrimus {
    let encoder = settings.recipe.encoder
    return try TrainablePrimus(
      .init(encoder: encoder, taps: settings.recipe.taps, classes: scheme.heads.count),
      parameters: InitialParameters(seed: 3, configuration: encoder), device: device)
  }

  private func maker(_ role: BatchMaker.Role, _ cases: [any TrainingCase], _ scheme: LabelScheme, _ settings: FineTuningSettings) throws
    -> BatchMaker
  {
    try BatchMaker(
      role, cases: cases, configuration: configuration([16, 16]), scheme: scheme, augmentation: settings.augmentation,
      batchSize: settings.batchSize, seed: settings.seed, in: device.budget)
  }

  private func tuner(_ settings: FineTuningSettings, _ cases: [any TrainingCase], _ scheme: LabelScheme) throws -> FineTuner {
    try FineTuner(
      network(settings, scheme), settings: settings, scheme: scheme, batchDice: true, training: maker(.training, cases, scheme, settings),
      validation: maker(.validation, cases, scheme, settings), device: device)
  }

  private func bits(_ network: TrainablePrimus) -> [[UInt32]] { network.parameters.list.map { $0.value.floatArray().map(\.bitPattern) } }

  /// An update over several batches is one with the sum of their gradients, and of their mean loss.
  @Test func accumulationSums() throws {
    let scheme = try plainScheme()
    var settings = settings()
    settings.accumulate = 3
    let tuner = try tuner(settings, cases(scheme), scheme)
    let metrics = try tuner.step()

    let network = try network(settings, scheme)
    let maker = try maker(.training, cases(scheme), scheme, settings)
    let recipe = settings.recipe
    let optimizer = try AdamW(
      network.parameters.list,
      options: AdamW.Options(beta1: recipe.beta1, beta2: recipe.beta2, epsilon: recipe.epsilon, maximumNorm: recipe.clip), device: device,
      rule: FineTuningRules(
        decoderRate: recipe.decoderRate, encoderRate: recipe.encoderRate, weightDecay: recipe.weightDecay, layerDecay: nil
      ).rule)
    let tape = Tape(device)
    var losses: [Double] = []
    network.parameters.zeroGradients()
    for index in 0..<3 {
      let batch = try maker.make(step: UInt64(index))
      let draws = TrainingRandomness(seed: 5, step: 0, group: UInt64(index)).draws(recipe.encoder, batch: 2)
      let logits = try network.logits(Variable(batch.images), draws: draws, on: tape)
      losses.append(try tape.segmentationLoss(logits, targets: batch.targets, SegmentationLossOptions()).total)
      try tape.backward()
    }
    try optimizer.step(AdamW.Rates(learningRate: 1), accumulated: 3)
    #expect(bits(tuner.network) == bits(network))
    #expect(abs(metrics.loss.total - losses.reduce(0, +) / 3) < 1e-12)
    #expect(Set(losses).count == 3)
    // The next update takes the next three batches.
    #expect(tuner.state.position == 3 && tuner.step == 1)
  }

  /// A case that cannot be read stops the update; when it can be read again the run goes on.
  @Test(arguments: [0, 2]) func failingCases(workers: Int) throws {
    let scheme = try plainScheme()
    var settings = settings()
    settings.workers = workers
    let straight = try tuner(settings, cases(scheme), scheme)
    _ = try straight.step()

    let disk = Disk()
    let run = try tuner(settings, cases(scheme).map { Unreliable(base: $0, disk: disk) }, scheme)
    disk.isAway.withLock { $0 = true }
    for _ in 0..<2 {
      #expect(throws: MedDINOError.self) { try run.step() }
      #expect(run.step == 0)
    }
    disk.isAway.withLock { $0 = false }
    _ = try run.step()
    #expect(bits(run.network) == bits(straight.network))
  }

  @Test func wrongParts() throws {
    let scheme = try plainScheme()
    let settings = settings()
    let three = try TrainablePrimus(
      .init(encoder: settings.recipe.encoder, taps: [0, 1], classes: 3),
      parameters: InitialParameters(seed: 3, configuration: settings.recipe.encoder), device: device)
    #expect(throws: MedDINOError.self) {
      try FineTuner(three, settings: settings, scheme: scheme, batchDice: true, training: nil, validation: nil, device: device)
    }
    let alone = try FineTuner(
      network(settings, scheme), settings: settings, scheme: scheme, batchDice: true, training: nil, validation: nil, device: device)
    #expect(throws: MedDINOError.self) { try alone.step() }
    #expect(throws: MedDINOError.self) { try alone.validate() }
    #expect(throws: MedDINOError.self) { try alone.keepFeatures(in: "/tmp/none", patch: [16, 16]) }
  }

  @Test func pseudoDiceOfRegions() throws {
    // Two regions, four pixels, the last one left out.
    let logits = try Tensor([1, 1, -1, 1, -1, 0, 2, 2], [1, 2, 2, 2], in: device.budget)
    let targets = try Tensor([1, 3, 2, 2], .int16, in: device.budget)
    for (index, value) in [1, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1].enumerated() { targets.elements(Int16.self)[index] = Int16(value) }
    var dice = PseudoDice(heads: 2, regions: true, ignoreLabel: 3)
    try dice.add(logits: logits, targets: targets)
    #expect(dice.truePositives == [1, 1] && dice.falsePositives == [1, 0] && dice.falseNegatives == [1, 1])
    #expect(dice.scores == [0.5, 2.0 / 3])
    var plain = PseudoDice(heads: 2, regions: true, ignoreLabel: nil)
    #expect(throws: MedDINOError.self) { try plain.add(logits: logits, targets: targets) }
    #expect(plain.mean.isNaN)
  }
}

/// Fails for a while.
private final class Disk: Sendable {
  let isAway = Mutex(false)
}

private struct Unreliable: TrainingCase {
  let base: any TrainingCase
  let disk: Disk
  var identifier: String { base.identifier }
  var shape: [Int] { base.shape }
  var locations: [ForegroundLocations] { base.locations }
  private func check() throws(MedDINOError) { if disk.isAway.withLock({ $0 }) { throw .io("the disk is away") } }
  func readImage(
    channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>
  ) throws(MedDINOError) {
    try check()
    try base.readImage(channel: channel, slice: slice, rows: rows, columns: columns, into: out)
  }
  func readLabels(slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Int16>) throws(MedDINOError) {
    try check()
    try base.readLabels(slice: slice, rows: rows, columns: columns, into: out)
  }
}
