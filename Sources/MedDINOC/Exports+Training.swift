public import CMedDINO
internal import FineTuning
internal import MedDINO
internal import Networks
internal import Platform

// include/meddino.h, section 9: from a start to a trainer, from a trainer to a file or a model.

/// A trainer and how its host watches its calls.
final class TrainerHandle: Sendable {
  let trainer: Trainer
  let watch: Watch
  init(_ trainer: Trainer, _ watch: Watch) {
    self.trainer = trainer
    self.watch = watch
  }
}

private func optionalModel(_ start: OpaquePointer?) throws(MedDINOError) -> Model? {
  guard let start else { return nil }
  return try object(start, "start", ModelHandle.self).model
}
private func optionalDataset(_ dataset: OpaquePointer?) throws(MedDINOError) -> TrainingDataset? {
  guard let dataset else { return nil }
  return try object(dataset, "dataset", DatasetHandle.self).dataset
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
    let trainer = try Trainer.create(
      start: try optionalModel(start), dataset: try optionalDataset(dataset), settings: try RunSettings(parsed.settings), context: context,
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
    let settings = try RunSettings(try ParsedTraining(options).settings)
    let cost = try Trainer.estimate(
      start: try optionalModel(start), dataset: try optionalDataset(dataset), settings: settings, context: context)
    var result = meddino_train_estimate()
    result.peak_bytes = UInt64(clamping: cost.total)
    result.step_flops = cost.flops * Double(settings.loop.accumulate)
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
    let parsed = try ParsedTraining(options).withoutSettings("a resumed run has those of its file")
    let trainer = try Trainer.resume(
      path, dataset: try optionalDataset(dataset), context: context, maxBytes: parsed.maxBytes, control: parsed.watch.control())
    out.pointee = handle(TrainerHandle(trainer, parsed.watch))
  }
}

@c @implementation public func meddino_trainer_save(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let held = try object(trainer, "trainer", TrainerHandle.self)
    try held.trainer.save(to: try text(path, "path"), control: held.watch.control())
  }
}

@c @implementation public func meddino_trainer_export(_ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?)
  -> meddino_status
{
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    out.pointee = handle(ModelHandle(try object(trainer, "trainer", TrainerHandle.self).trainer.export()))
  }
}

@c @implementation public func meddino_trainer_release(_ trainer: OpaquePointer?) { release(trainer, TrainerHandle.self) }
