public import CMedDINO
internal import FineTuning
internal import MedDINO
internal import Platform
internal import Pretraining
internal import Tensors
internal import Training

// include/meddino.h, section 9: updates, epochs, validation.

extension meddino_metrics {
  /// NaN everywhere.
  private init(step: Int, epoch: Int, isFinished: Bool) {
    self.init()
    self.step = Int64(step)
    self.epoch = Int64(epoch)
    (loss, cross_entropy, dice_loss, gradient_norm, learning_rate) = (.nan, .nan, .nan, .nan, .nan)
    (validation_loss, mean_dice, ema_dice, best_ema_dice) = (.nan, .nan, .nan, .nan)
    (dino_local_loss, dino_global_loss, koleo_loss, ibot_loss, gram_loss) = (.nan, .nan, .nan, .nan, .nan)
    (gram_weight, last_layer_learning_rate, weight_decay, momentum, teacher_temperature) = (.nan, .nan, .nan, .nan, .nan)
    (teacher_entropy, teacher_patch_entropy) = (.nan, .nan)
    finished = isFinished ? 1 : 0
  }

  fileprivate init(_ metrics: PretrainingMetrics, isFinished: Bool) {
    self.init(step: metrics.step, epoch: metrics.epoch, isFinished: isFinished)
    let losses = metrics.losses
    loss = losses.total
    (dino_local_loss, dino_global_loss, koleo_loss, ibot_loss) = (losses.dinoLocal, losses.dinoGlobal, losses.koLeo, losses.ibot)
    (gram_loss, gram_weight) = (losses.gram ?? .nan, losses.gramWeight ?? .nan)
    (gradient_norm, learning_rate) = (metrics.gradientNorm, metrics.learningRate)
    (last_layer_learning_rate, weight_decay) = (metrics.lastLayerLearningRate, metrics.weightDecay)
    (momentum, teacher_temperature) = (metrics.momentum, metrics.teacherTemperature)
    (teacher_entropy, teacher_patch_entropy) = (losses.teacherEntropy ?? .nan, losses.teacherPatchEntropy ?? .nan)
    seconds = metrics.seconds
  }

  /// What every call of fine-tuning says.
  private init(_ trainer: Trainer) {
    self.init(step: trainer.step, epoch: trainer.epoch, isFinished: trainer.isFinished)
    ema_dice = trainer.movingDice
    best_ema_dice = trainer.bestMovingDice
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
    switch held.kind {
    case .fineTuning(let trainer): return meddino_metrics(try trainer.step(control: held.watch.control()), trainer)
    case .pretraining(let trainer):
      return meddino_metrics(try trainer.step(control: held.watch.control()), isFinished: trainer.isFinished)
    }
  }
}

@c @implementation public func meddino_trainer_step_batch(
  _ trainer: OpaquePointer?, _ images: UnsafePointer<meddino_tensor>?, _ targets: UnsafePointer<meddino_tensor>?,
  _ out: UnsafeMutablePointer<meddino_metrics>?
) -> meddino_status {
  measured(trainer, out) { (held) throws(MedDINOError) in
    let trainer = try held.fineTuner("batches from the caller")
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
    switch held.kind {
    case .fineTuning(let trainer): return meddino_metrics(try trainer.epoch(control: held.watch.control()), trainer)
    case .pretraining(let trainer):
      return meddino_metrics(try trainer.epoch(control: held.watch.control()), isFinished: trainer.isFinished)
    }
  }
}

@c @implementation public func meddino_trainer_validate(_ trainer: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_metrics>?)
  -> meddino_status
{
  measured(trainer, out) { (held) throws(MedDINOError) in
    let trainer = try held.fineTuner("validation")
    let start = monotonicSeconds()
    let metrics = try trainer.validate(control: held.watch.control())
    return meddino_metrics(metrics, seconds: monotonicSeconds() - start, trainer)
  }
}

@c @implementation public func meddino_trainer_finished(_ trainer: OpaquePointer?) -> Int32 {
  switch existing(trainer, TrainerHandle.self)?.kind {
  case .fineTuning(let trainer): trainer.hasEnded ? 1 : 0
  case .pretraining(let trainer): trainer.hasEnded ? 1 : 0
  case nil: 0
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
    let run: ReservedRun
    switch held.kind {
    case .fineTuning(let trainer): run = try trainer.reserve()
    case .pretraining(let trainer): run = try trainer.reserve()
    }
    try job.start { [watch = held.watch] (job) throws(MedDINOError) in
      try run.run(control: watch.control(job))
      return nil
    }
    out.pointee = handle(job)
  }
}
