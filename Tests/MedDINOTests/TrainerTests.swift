import FineTuning
import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles

@testable import MedDINO

/// The run as a whole: what stops, goes on and ends with which bits.
@Suite struct TrainerTests {
  let context: Context
  let model: Model
  let data: TrainingDataset
  init() throws {
    context = try Context(threads: 2)
    model = try TinyModel.segmenter(context)
    data = try TinyTraining.dataset(like: model)
  }

  private func trainer(_ changes: [(String, JSON)] = [], output: String? = nil) throws -> Trainer {
    try Trainer.create(start: model, dataset: data, settings: try TinyTraining.settings(changes, output: output), context: context)
  }

  // MARK: resume

  @Test(arguments: [(0, 1), (2, 1), (0, 2), (2, 2)])
  func resumeIsBitExact(workers: Int, threads: Int) throws {
    try withTemporaryFolder { folder in
      let whole = try trainer()
      var epochs: [EpochMetrics] = []
      try whole.run { epochs.append($0) }
      #expect(whole.isFinished && whole.step == 9 && epochs.count == 3)

      let context = try Context(threads: threads)
      let model = try TinyModel.segmenter(context)
      let data = try TinyTraining.dataset(like: model)
      let changes = [("workers", JSON.integer(workers))]
      var run = try Trainer.create(start: model, dataset: data, settings: try TinyTraining.settings(changes), context: context)
      var again: [EpochMetrics] = []
      // Stopped at the end of an epoch, amid one, and after its last update but before its validation.
      for updates in [3, 1, 2, 2] {
        if updates == 3 { again.append(try run.epoch()) } else { for _ in 0..<updates { _ = try run.step() } }
        try run.save(to: folder + "/c.safetensors")
        run = try Trainer.resume(folder + "/c.safetensors", dataset: data, context: context)
        if run.step == 6 { again.append(try run.epoch()) }
      }
      try run.run { again.append($0) }
      #expect(try TinyTraining.changes(TinyTraining.bits(whole), TinyTraining.bits(run)).isEmpty)
      // As text: a Dice may be NaN.
      func plain(_ metrics: EpochMetrics) -> String {
        var metrics = metrics
        metrics.seconds = 0
        return "\(metrics)"
      }
      #expect(again.map(plain) == epochs.map(plain))
      #expect(try TinyTraining.bits(whole) != TinyTraining.bits(model))
    }
  }

  @Test func resumeRefusesOtherData() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/c.safetensors"
      let run = try trainer()
      _ = try run.step()
      try run.save(to: path)
      let fewer = try TinyTraining.dataset(like: model, cases: 2)
      #expect(failure { _ = try Trainer.resume(path, dataset: fewer, context: context) }.contains("3 cases, the dataset has 2"))
      let other = try TinyTraining.dataset(like: try TinyModel.segmenter(context, patch: 16))
      #expect(failure { _ = try Trainer.resume(path, dataset: other, context: context) }.contains("another plan"))
      // The same names, plan and labels: one case has other voxels.
      let changed = try TinyTraining.dataset(like: model)
      try TinyTraining.add("case-1", seed: 77, to: changed)
      #expect(
        failure { _ = try Trainer.resume(path, dataset: changed, context: context) }
          .hasSuffix("the run began with another dataset: the case case-1 has other voxels"))
      #expect(failure { _ = try Trainer.resume(path, dataset: try TinyTraining.dataset(like: model), context: context) }.isEmpty)
      #expect(failure { _ = try Trainer.resume(folder + "/none", dataset: data, context: context) }.hasPrefix("io"))
      try model.save(to: path)
      #expect(failure { _ = try Trainer.resume(path, dataset: data, context: context) }.contains("not a training checkpoint"))
    }
  }

  // MARK: cancel

  /// Stopped at every report of the second update; the batches that were taken come again.
  @Test(arguments: [(1, 0), (1, 2), (3, 0), (3, 2)])
  func cancelLeavesEverything(accumulate: Int, workers: Int) throws {
    let changes = [("accumulate", JSON.integer(accumulate)), ("workers", .integer(workers))]
    let straight = try trainer(changes)
    for _ in 0..<3 { _ = try straight.step() }
    let run = try trainer(changes)
    _ = try run.step()
    let before = try TinyTraining.bits(run)
    var stops = 0
    var allowed = 0
    while true {
      var reports = 0
      let control = RunControl { _, _ in
        reports += 1
        return reports <= allowed
      }
      do throws(MedDINOError) { _ = try run.step(control: control) } catch {
        #expect(error.kind == .cancelled)
        #expect(run.step == 1)
        stops += 1
        // Every report of a few, then larger steps.
        allowed += allowed < 4 ? 1 : 3
        if stops % 3 == 0 { #expect(try TinyTraining.changes(before, TinyTraining.bits(run)).isEmpty) }
        continue
      }
      break
    }
    #expect(stops > 3)
    _ = try run.step()
    #expect(try TinyTraining.changes(TinyTraining.bits(straight), TinyTraining.bits(run)).isEmpty)
  }

  @Test func cancelledEpochGoesOn() throws {
    let straight = try trainer()
    let expected = try straight.epoch()
    let run = try trainer()
    for allowed in [2, 9, 16, 23] {
      var reports = 0
      let control = RunControl { _, _ in
        reports += 1
        return reports <= allowed
      }
      #expect(failure { _ = try run.epoch(control: control) }.hasPrefix("cancelled"))
    }
    let found = try run.epoch()
    #expect(
      "\(String(describing: found.validation)) \(found.trainingLoss)"
        == "\(String(describing: expected.validation)) \(expected.trainingLoss)")
    #expect(try TinyTraining.changes(TinyTraining.bits(straight), TinyTraining.bits(run)).isEmpty)
  }

  @Test func oneCallAtATime() throws {
    let run = try trainer()
    var message = ""
    _ = try run.step(
      control: RunControl { _, _ in
        if message.isEmpty { message = failure { _ = try run.step() } }
        return true
      })
    #expect(message.hasPrefix("state"))
    #expect(failure { _ = try run.step() }.isEmpty)
  }

  // MARK: ends

  @Test func earlyStop() throws {
    // At this rate nothing gets better, so the first epoch without a better average ends the run.
    let changes: [(String, JSON)] = [
      ("epochs", .integer(40)), ("iterations", .integer(1)), ("patience", .integer(2)), ("decoder_lr", .number(1e-9)),
      ("encoder_lr", .number(1e-9)),
    ]
    let run = try trainer(changes)
    var epochs: [EpochMetrics] = []
    try run.run { epochs.append($0) }
    #expect(run.isFinished && epochs.count < 40 && epochs.count >= 3)
    #expect(epochs.last?.isFinished == true && epochs.dropLast().allSatisfy { !$0.isFinished })
    #expect(epochs.suffix(2).allSatisfy { !$0.isBest })
    #expect(failure { _ = try run.epoch() }.hasPrefix("state"))
    #expect(failure { _ = try run.step() }.hasPrefix("state"))
  }

  @Test func timeBudget() throws {
    try withTemporaryFolder { folder in
      // However short it is, one update is made.
      let run = try trainer([("time_budget", .number(1e-6))], output: folder + "/run")
      var epochs: [EpochMetrics] = []
      try run.run { epochs.append($0) }
      #expect(epochs.count == 1 && epochs[0].isFinished && run.isFinished && run.step == 1)
      let final = try Model.open(folder + "/run/model_final.safetensors", context: context)
      #expect(try TinyTraining.changes(TinyTraining.bits(run), TinyTraining.bits(final)).isEmpty)
      epochs = []
      let longer = try trainer([("time_budget", .number(0.05)), ("iterations", .integer(100_000)), ("validation_iterations", .integer(1))])
      try longer.run { epochs.append($0) }
      #expect(epochs.count == 1 && epochs[0].isFinished && epochs[0].validation != nil)
      #expect(longer.step >= 1 && longer.step < 100_000)
    }
  }

  /// Single steps move through the epochs too: the rate falls.
  @Test func ratesOfSingleSteps() throws {
    let run = try trainer()
    let metrics = try (0..<9).map { _ in try run.step() }
    #expect(metrics.map(\.epoch) == [0, 0, 0, 1, 1, 1, 2, 2, 2])
    let rates = [0.01, 0.01 * 2 / 3, 0.01 / 3]
    for (index, found) in metrics.enumerated() { #expect(abs(found.learningRate - rates[index / 3]) < 1e-12) }
    #expect(failure { _ = try run.step() }.hasPrefix("state"))
    #expect(run.step == 9)
    _ = try run.epoch()
    #expect(run.isFinished)
  }

  @Test func batchesFromTheCaller() throws {
    let run = try Trainer.create(start: model, dataset: nil, settings: try TinyTraining.settings(), context: context)
    let images = try Tensor((0..<2 * 1024).map { Float($0 % 13) / 6 - 1 }, [2, 1, 32, 32], in: context.budget)
    let labels = try Tensor([2, 1, 32, 32], .int16, in: context.budget)
    for index in 0..<labels.count { labels.elements(Int16.self)[index] = Int16(index % 3) }
    let metrics = try (0..<11).map { _ in try run.step(images: images, labels: labels) }
    #expect(metrics.map(\.epoch) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
    #expect(metrics[10].loss.total < metrics[0].loss.total)
    labels.elements(Int16.self)[5] = 9
    #expect(failure { _ = try run.step(images: images, labels: labels) }.contains("value 9"))
    #expect(failure { _ = try run.step() }.hasPrefix("state: the trainer has no dataset"))
    #expect(failure { _ = try run.validate() }.hasPrefix("state"))
    images.floats[3] = .nan
    labels.elements(Int16.self)[5] = 0
    #expect(failure { _ = try run.step(images: images, labels: labels) }.contains("NaN"))
    let odd = try Tensor([1, 1, 30, 32], in: context.budget)
    #expect(failure { _ = try run.step(images: odd, labels: labels) }.contains("multiples of the patch size 8"))
  }
}
