public import CMedDINO
internal import FineTuning
internal import MedDINO
internal import Platform
internal import Tensors
internal import Training

// include/meddino.h, section 9: updates, epochs, validation.

extension meddino_metrics {
  /// What every call says; the rest is NaN.
  private init(_ trainer: Trainer) {
    self.init()
    step = Int64(trainer.step)
    epoch = Int64(trainer.epoch)
    (loss, cross_entropy, dice_loss, gradient_norm, learning_rate) = (.nan, .nan, .nan, .nan, .nan)
    (validation_loss, mean_dice) = (.nan, .nan)
    ema_dice = trainer.movingDice
    best_ema_dice = trainer.bestMovingDice
    finished = trainer.isFinished ? 1 : 0
  }

  fileprivate init(_ metrics: StepMetrics, _ trainer: Trainer) {
    self.init(trainer)
    step = Int64(metrics.step)
    epoch = Int64(metrics.epoch)
    (loss, cross_entropy, dice_loss) = (metrics.loss.total, metrics.loss.crossEntropy, metrics.loss.dice)
    gradient_norm = metrics.gradientNorm
    learning_rate = metrics.learningRate
    seconds = metrics.seconds
  }

  fileprivate init(_ metrics: EpochMetrics, _ trainer: Trainer) {
    self.init(trainer)
    step = Int64(metrics.step)
    epoch = Int64(metrics.epoch)
    let mean = metrics.trainingLoss
    (loss, cross_entropy, dice_loss) = (mean.total, mean.crossEntropy, mean.dice)
    gradient_norm = metrics.gradientNorm
    learning_rate = metrics.learningRate
    if let validation = metrics.validation { (validation_loss, mean_dice) = (validation.loss, validation.meanDice) }
    ema_dice = metrics.movingDice
    best_ema_dice = metrics.bestMovingDice
    seconds = metrics.seconds
    finished = metrics.isFinished ? 1 : 0
    is_best = metrics.isBest ? 1 : 0
  }

  fileprivate init(_ metrics: ValidationMetrics, seconds: Double, _ trainer: Trainer) {
    self.init(trainer)
    (validation_loss, mean_dice) = (metrics.loss, metrics.meanDice)
    self.seconds = seconds
  }
}

/// One call on a trainer that gives metrics, which the caller need not want.
private func measured(
  _ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_metrics>?,
  _ body: (TrainerHandle) throws(MedDINOError) -> meddino_metrics
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let held = try object(trainer, "trainer", TrainerHandle.self)
    if out != nil { try checkOutput(out, "out") }
    let metrics = try body(held)
    if out != nil { try write(metrics, to: out, "out") }
  }
}

@c @implementation public func meddino_trainer_step(_ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_metrics>?)
  -> meddino_status
{
  measured(trainer, out) { (held) throws(MedDINOError) in
    meddino_metrics(try held.trainer.step(control: held.watch.control()), held.trainer)
  }
}

@c @implementation public func meddino_trainer_step_batch(
  _ trainer: OpaquePointer?, _ images: UnsafePointer<meddino_tensor>?, _ targets: UnsafePointer<meddino_tensor>?,
  _ out: UnsafeMutablePointer<meddino_metrics>?
) -> meddino_status {
  measured(trainer, out) { (held) throws(MedDINOError) in
    let trainer = held.trainer
    let pictures = try TensorView(images, "images")
    let values = try TensorView(targets, "targets")
    guard pictures.shape.count == 4 else {
      throw .shape("images have \(pictures.shape.count) axes, expected [batch, channels, rows, columns]")
    }
    let (batch, rows, columns) = (pictures.shape[0], pictures.shape[2], pictures.shape[3])
    guard values.shape == [batch, rows, columns] || values.shape == [batch, 1, rows, columns] else {
      throw .shape("targets are \(values.shape), expected [\(batch), \(rows), \(columns)] or [\(batch), 1, \(rows), \(columns)]")
    }
    let metrics = try trainer.step(
      images: try pictures.floats(in: trainer.budget), labels: try values.labels([batch, 1, rows, columns], in: trainer.budget),
      control: held.watch.control())
    return meddino_metrics(metrics, trainer)
  }
}

@c @implementation public func meddino_trainer_epoch(_ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_metrics>?)
  -> meddino_status
{
  measured(trainer, out) { (held) throws(MedDINOError) in
    meddino_metrics(try held.trainer.epoch(control: held.watch.control()), held.trainer)
  }
}

@c @implementation public func meddino_trainer_validate(_ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_metrics>?)
  -> meddino_status
{
  measured(trainer, out) { (held) throws(MedDINOError) in
    let start = monotonicSeconds()
    let metrics = try held.trainer.validate(control: held.watch.control())
    return meddino_metrics(metrics, seconds: monotonicSeconds() - start, held.trainer)
  }
}

@c @implementation public func meddino_trainer_run_async(_ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?)
  -> meddino_status
{
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let held = try object(trainer, "trainer", TrainerHandle.self)
    let job = Job()
    let run = try held.trainer.reserve()
    try job.start { [watch = held.watch] (job) throws(MedDINOError) in
      try run.run(control: watch.control(job))
      return nil
    }
    out.pointee = handle(job)
  }
}
