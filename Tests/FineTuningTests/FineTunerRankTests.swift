import Networks
import Platform
import Segmentation
import Tensors
import TestSupport
import Testing

@testable import FineTuning

/// Several ranks, each with its part of every batch, against one process with the whole batch.
@Suite struct FineTunerRankTests {
  struct Form: Sendable, CustomStringConvertible {
    var description: String
    var regions = false
    var batchDice = true
    var batch = 4
    var accumulate = 1
    var decoderOnly = false
  }
  private static let forms = [
    Form(description: "batch Dice"), Form(description: "Dice per image", batchDice: false),
    Form(description: "regions, uneven shares", regions: true, batch: 3), Form(description: "accumulated", batch: 2, accumulate: 2),
    Form(description: "decoder only", decoderOnly: true),
  ]

  private static func tuner(_ form: Form, _ ranks: any Communicator) throws -> FineTuner {
    let device = try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget())
    let scheme = try form.regions ? regionScheme() : plainScheme()
    var encoder = EncoderConfiguration()
    (encoder.embedDim, encoder.depth, encoder.heads, encoder.hiddenDim, encoder.patchSize) = (16, 2, 2, 32, 8)
    (encoder.dropPathRate, encoder.layerScale) = (0, 0.5)
    var recipe = Recipe(name: "test", encoder: encoder, taps: [0, 1], backboneLoading: .none)
    (recipe.epochs, recipe.iterations, recipe.validationIterations) = (2, 2, 3)
    (recipe.decoderRate, recipe.encoderRate) = (1e-3, 1e-3)
    var settings = FineTuningSettings(recipe: recipe)
    (settings.workers, settings.seed, settings.accumulate) = (0, 5, form.accumulate)
    settings.adaptation = form.decoderOnly ? .decoderOnly : .full
    let cases: [any TrainingCase] = try (0..<3).map { number in
      try SyntheticCase(
        "case\(number)", shape: [1, 3, 30, 28], scheme: scheme,
        label: { _, row, column in row > 8 + number && column < 12 ? 1 + row % 3 : form.regions && row < 2 ? 4 : 0 },
        value: { _, slice, row, column in Float((row * 7 + column * 3 + slice * 5 + number) % 11) / 5 - 1 })
    }
    func maker(_ role: BatchMaker.Role, _ items: Range<Int>?) throws -> BatchMaker {
      try BatchMaker(
        role, cases: cases, configuration: configuration([16, 16]), scheme: scheme, batchSize: form.batch, seed: 5, items: items,
        in: device.budget)
    }
    let network = try TrainablePrimus(
      .init(encoder: encoder, taps: [0, 1], classes: scheme.heads.count), parameters: InitialParameters(seed: 3, configuration: encoder),
      device: device, adaptation: settings.adaptation)
    return try FineTuner(
      network, settings: settings, scheme: scheme, batchDice: form.batchDice,
      training: maker(.training, batchShare(of: form.batch, rank: ranks.rank, size: ranks.size)), validation: maker(.validation, nil),
      device: device, ranks: ranks)
  }

  private struct Outcome {
    var losses: [Double]
    var gradients: [String: [Float]]
    var weights: [String: [Float]]
    var epoch: EpochMetrics
  }
  private static func epoch(_ form: Form, _ ranks: any Communicator = SoloCommunicator()) throws -> Outcome {
    let tuner = try tuner(form, ranks)
    let first = try tuner.step()
    var gradients: [String: [Float]] = [:]
    for parameter in tuner.network.parameters.list { gradients[parameter.name] = parameter.gradient?.floatArray() }
    let epoch = try tuner.finishEpoch()
    var weights: [String: [Float]] = [:]
    for parameter in tuner.network.parameters.list { weights[parameter.name] = parameter.value.floatArray() }
    return Outcome(
      losses: [first.loss.total, first.loss.crossEntropy, first.loss.dice, first.gradientNorm], gradients: gradients, weights: weights,
      epoch: epoch)
  }

  private func difference(_ a: [Float], _ b: [Float]) -> Double {
    let size = (b.reduce(0) { $0 + Double($1) * Double($1) } / Double(max(b.count, 1))).squareRoot()
    return zip(a, b).reduce(0) { max($0, abs(Double($1.0) - Double($1.1))) } / max(size, 1e-7)
  }

  @Test(arguments: forms, [2, 3]) func partsEqualTheWhole(form: Form, size: Int) throws {
    guard form.batch >= size else { return }
    let whole = try Self.epoch(form)
    let parts = try ThreadRanks(size).run { ranks in try Self.epoch(form, ranks) }
    for (rank, part) in parts.enumerated() {
      let place = "\(form), rank \(rank) of \(size)"
      for (a, b) in zip(part.losses, whole.losses) { #expect(abs(a - b) < 1e-5 * max(1, abs(b)), "\(place): \(a), \(b)") }
      #expect(Set(part.gradients.keys) == Set(whole.gradients.keys))
      for (name, values) in part.gradients {
        let off = difference(values, whole.gradients[name] ?? [])
        #expect(off < 1e-4, "\(place): gradient of \(name) differs by \(off)")
      }
      for (name, values) in part.weights {
        let off = difference(values, whole.weights[name] ?? [])
        #expect(off < 2e-3, "\(place): \(name) differs by \(off)")
      }
      let (a, b) = (part.epoch, whole.epoch)
      #expect(abs(a.trainingLoss.total - b.trainingLoss.total) < 1e-4)
      let (x, y) = (try #require(a.validation), try #require(b.validation))
      #expect(abs(x.loss - y.loss) < 1e-3 && abs(x.meanDice - y.meanDice) < 0.02, "\(place): \(x), \(y)")
      #expect(part.weights == parts[0].weights && x == parts[0].epoch.validation)
    }
  }

  /// The clocks of ranks differ; all end at the same update.
  @Test func ranksEndTogether() throws {
    let ends = try ThreadRanks(2).run { ranks in
      let tuner = try Self.tuner(Form(description: ""), ranks)
      let cancellation = Cancellation()
      if ranks.rank == 1 { cancellation.request() }
      do { _ = try tuner.step(RunControl(cancellation: cancellation)) } catch let error as MedDINOError {
        return (error.kind, try tuner.step().step)
      }
      return (.internal, 0)
    }
    for end in ends { #expect(end.0 == .cancelled && end.1 == 1) }
  }
}
