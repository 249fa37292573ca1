internal import FineTuning
internal import Platform
internal import Reports
internal import Training
internal import WeightFiles

/// What a run leaves on disk while it goes on: metrics, a plot, checkpoints and models.
///
/// metrics.jsonl, progress.png, settings.json, checkpoint_latest.safetensors (resumes), model_best.safetensors and model_final.safetensors
/// (segment). Each is written beside its target and renamed.
final class RunFolder {
  let path: String
  private let stream: MetricsStream
  var latest: String { path + "/checkpoint_latest.safetensors" }
  var best: String { path + "/model_best.safetensors" }
  var final: String { path + "/model_final.safetensors" }

  /// `resumedStep`: keeps the metrics up to there; nil starts a new file. Throws: `.io`, `.format`.
  init(_ path: String, resumedStep: Int?) throws(MedDINOError) {
    try makeFolder(path)
    self.path = path
    stream = try MetricsStream(path + "/metrics.jsonl", resumedStep: resumedStep)
  }

  /// One epoch: a line, the plot, and checkpoints when it is their turn. Throws: `.io`, `.outOfMemory`.
  func note(_ metrics: EpochMetrics, _ trainer: Trainer) throws(MedDINOError) {
    if metrics.epoch == 0 {
      let run = RunSettings(trainer.settings, fold: trainer.fold, output: path)
      try AtomicFile.write(Array((run.json.text(indent: 2) + "\n").utf8), to: path + "/settings.json")
    }
    try stream.write(MetricsRecord(.epoch, step: metrics.step, epoch: metrics.epoch, values: metrics.values))
    if metrics.isBest { try trainer.model().save(to: best) }
    if (metrics.epoch + 1) % trainer.settings.saveEvery == 0 || metrics.isFinished {
      try stream.sync()
      try trainer.write(to: latest)
    }
    try plot(trainer)
    if metrics.isFinished { try trainer.model().save(to: final) }
  }

  private func plot(_ trainer: Trainer) throws(MedDINOError) {
    let history = trainer.tuner.history
    func points(_ name: String) -> ProgressPlot.Points { history.series(name).map { (Double($0.x), $0.y) } }
    var plot = ProgressPlot()
    plot.trainingLoss = points("train_loss")
    plot.validationLoss = points("validation_loss")
    plot.dice = points("mean_dice")
    plot.averageDice = points("ema_dice")
    let decoder = points("learning_rate")
    let ratio = trainer.settings.recipe.encoderRate / trainer.settings.recipe.decoderRate
    plot.learningRates = [("decoder", decoder), ("encoder", decoder.map { ($0.x, $0.y * ratio) })]
    plot.epochSeconds = points("seconds")
    try PlotSheet.write(
      plot.plots, title: trainer.origin.dataset.isEmpty ? "fine-tuning" : trainer.origin.dataset,
      subtitle: "\(trainer.settings.recipe.name), fold \(trainer.fold), \(trainer.step) steps", to: path + "/progress.png",
      in: trainer.context.budget)
  }
}
