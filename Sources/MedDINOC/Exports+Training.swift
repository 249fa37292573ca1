public import CMedDINO
internal import FineTuning
internal import MedDINO
internal import Networks
internal import Platform

// include/meddino.h, section 9: from a start to a trainer, from a trainer to a file or a model.

/// A trainer of either kind and how its host watches its calls.
final class TrainerHandle: Sendable {
  enum Kind: Sendable {
    case fineTuning(Trainer)
    case pretraining(PretrainingTrainer)
  }
  let kind: Kind
  let watch: Watch
  init(_ trainer: Trainer, _ watch: Watch) {
    kind = .fineTuning(trainer)
    self.watch = watch
  }
  init(_ trainer: PretrainingTrainer, _ watch: Watch) {
    kind = .pretraining(trainer)
    self.watch = watch
  }

  /// Throws: `.unsupported` for pretraining, naming what it does not have.
  func fineTuner(_ what: String) throws(MedDINOError) -> Trainer {
    guard case .fineTuning(let trainer) = kind else { throw .unsupported("the trainer pretrains, which has no \(what)") }
    return trainer
  }
}

private func optionalModel(_ start: OpaquePointer?) throws(MedDINOError) -> Model? {
  guard let start else { return nil }
  return try object(start, "start", ModelHandle.self).model
}
private func optionalCases(_ dataset: OpaquePointer?) throws(MedDINOError) -> TrainingDataset? {
  guard let dataset else { return nil }
  return try object(dataset, "dataset", DatasetHandle.self).cases()
}
private func slices(_ dataset: OpaquePointer?) throws(MedDINOError) -> PretrainingDataset {
  try object(dataset, "dataset", DatasetHandle.self).slices()
}

@c @implementation public func meddino_trainer_create(
  _ context: OpaquePointer?, _ start: OpaquePointer?, _ dataset: OpaquePointer?, _ options: UnsafePointer<meddino_train_options>?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let parsed = try ParsedTraining(options)
    let start = try optionalModel(start)
    if let stage = parsed.stage {
      let trainer = try PretrainingTrainer.create(
        start: start, gramTeacher: parsed.gramTeacher, dataset: try slices(dataset),
        settings: try PretrainingRunSettings(parsed.settings, stage: stage), stage: stage, context: context, maxBytes: parsed.maxBytes,
        control: parsed.watch.control())
      out.pointee = handle(TrainerHandle(trainer, parsed.watch))
      return
    }
    let trainer = try Trainer.create(
      start: start, dataset: try optionalCases(dataset), settings: try RunSettings(parsed.settings), context: context,
      maxBytes: parsed.maxBytes, control: parsed.watch.control())
    out.pointee = handle(TrainerHandle(trainer, parsed.watch))
  }
}

@c @implementation public func meddino_trainer_estimate(
  _ context: OpaquePointer?, _ start: OpaquePointer?, _ dataset: OpaquePointer?, _ options: UnsafePointer<meddino_train_options>?,
  _ out: UnsafeMutablePointer<meddino_train_estimate>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    try checkOutput(out, "out")
    let context = try object(context, "context", Context.self)
    let parsed = try ParsedTraining(options)
    let start = try optionalModel(start)
    var result = meddino_train_estimate()
    if let stage = parsed.stage {
      let cost = try PretrainingTrainer.estimate(
        start: start, settings: try PretrainingRunSettings(parsed.settings, stage: stage), context: context)
      result.peak_bytes = UInt64(clamping: cost.total)
      result.step_flops = cost.flops
    } else {
      let settings = try RunSettings(parsed.settings)
      let cost = try Trainer.estimate(start: start, dataset: try optionalCases(dataset), settings: settings, context: context)
      result.peak_bytes = UInt64(clamping: cost.total)
      result.step_flops = cost.flops * Double(settings.loop.accumulate)
    }
    try write(result, to: out, "out")
  }
}

@c @implementation public func meddino_trainer_resume(
  _ context: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ dataset: OpaquePointer?, _ options: UnsafePointer<meddino_train_options>?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let path = try text(path, "path")
    let parsed = try ParsedTraining(options).withoutSettings("a resumed run has those of its file").withoutObjective(
      "a resumed run has that of its file")
    if try PretrainingTrainer.isCheckpoint(path) {
      let trainer = try PretrainingTrainer.resume(
        path, dataset: try slices(dataset), context: context, maxBytes: parsed.maxBytes, control: parsed.watch.control())
      out.pointee = handle(TrainerHandle(trainer, parsed.watch))
      return
    }
    let trainer = try Trainer.resume(
      path, dataset: try optionalCases(dataset), context: context, maxBytes: parsed.maxBytes, control: parsed.watch.control())
    out.pointee = handle(TrainerHandle(trainer, parsed.watch))
  }
}

@c @implementation public func meddino_trainer_save(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let held = try object(trainer, "trainer", TrainerHandle.self)
    let path = try text(path, "path")
    switch held.kind {
    case .fineTuning(let trainer): try trainer.save(to: path, control: held.watch.control())
    case .pretraining(let trainer): try trainer.save(to: path, control: held.watch.control())
    }
  }
}

@c @implementation public func meddino_trainer_export(_ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?)
  -> meddino_status
{
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    switch try object(trainer, "trainer", TrainerHandle.self).kind {
    case .fineTuning(let trainer): out.pointee = handle(ModelHandle(try trainer.export()))
    case .pretraining(let trainer): out.pointee = handle(ModelHandle(try trainer.export()))
    }
  }
}

@c @implementation public func meddino_trainer_release(_ trainer: OpaquePointer?) { release(trainer, TrainerHandle.self) }
