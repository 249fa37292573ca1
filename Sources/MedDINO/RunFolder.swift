internal import FineTuning
internal import Platform
internal import Reports
internal import Training
internal import WeightFiles

/// What a run leaves on disk while it goes on: metrics, a plot, checkpoints and models.
///
/// metrics.jsonl, progress.png, settings.json, checkpoint_latest.safetensors (resumes), model_best.safetensors and model_final.safetensors
/// (segment), features.cache (decoder only). All but the first and the last are written beside their target and renamed. No other run
/// gets the folder as long as this lives.
final class RunFolder {
  /// From the root.
  var path: String { lock.folder }
  private let lock: RunLock
  private let stream: MetricsStream
  /// Each rank has its own images.
  static func features(_ path: String, rank: Int) -> String { path + "/features" + (rank == 0 ? "" : ".\(rank)") + ".cache" }
  var latest: String { path + "/checkpoint_latest.safetensors" }
  var best: String { path + "/model_best.safetensors" }
  var final: String { path + "/model_final.safetensors" }

  /// `resumedStep`: keeps the metrics up to there; nil starts a new run, which the folder must not have yet.
  /// Throws: `.io`, `.format`, `.invalid` when the folder holds a run that can go on or is finished.
  init(_ lock: RunLock, resumedStep: Int?) throws(MedDINOError) {
    let path = lock.folder
    if resumedStep == nil { try Self.checkFree(path) }
    self.lock = lock
    try AtomicFile.removeAbandoned(in: path, Self.names.contains)
    // A run that was stopped before its first checkpoint is lost: what it made would be taken for this one's.
    if resumedStep == nil { for name in Self.results { try removeFile(path + "/" + name) } }
    stream = try MetricsStream(path + "/metrics.jsonl", resumedStep: resumedStep)
  }
  private static let names: Set<String> = [
    "checkpoint_latest.safetensors", "model_best.safetensors", "model_final.safetensors", "settings.json", "progress.png",
  ]
  private static let results = [
    "model_best.safetensors", "progress.png", "\(FoldValidation.folderName)/\(FoldValidation.recordName)",
    "\(FoldValidation.folderName)/summary.json", "\(FoldValidation.folderName)/metrics.csv",
  ]

  /// Nothing of an earlier run may be lost. Throws: `.invalid`.
  static func checkFree(_ path: String) throws(MedDINOError) {
    let checkpoint = path + "/checkpoint_latest.safetensors"
    guard FileKind.of(checkpoint) == .missing else {
      throw .invalid("\(checkpoint) is there already, expected a folder without a run, or a resume (--resume)")
    }
    let model = path + "/model_final.safetensors"
    guard FileKind.of(model) == .missing else {
      throw .invalid("\(model) is there already, expected a folder without a run: move the model of the earlier one")
    }
  }

  /// What a run is made with. Throws: `.io`.
  func begin(_ run: RunSettings) throws(MedDINOError) {
    try AtomicFile.write(Array((run.json.text(indent: 2) + "\n").utf8), to: path + "/settings.json")
  }

  /// One epoch: a line, the plot, models and checkpoints when it is their turn.
  ///
  /// The checkpoint comes last: a run that is killed before makes everything of the epoch again. Throws: `.io`, `.outOfMemory`.
  func note(_ metrics: EpochMetrics, _ trainer: Trainer) throws(MedDINOError) {
    try stream.write(MetricsRecord(.epoch, step: metrics.step, epoch: metrics.epoch, values: metrics.values))
    try plot(trainer)
    if metrics.isBest { try trainer.model().save(to: best) }
    if metrics.isFinished { try trainer.model().save(to: final) }
    if (metrics.epoch + 1) % trainer.settings.saveEvery == 0 || metrics.isFinished { try keep(trainer) }
  }

  /// The latest checkpoint, also amid an epoch. Throws: `.io`, `.outOfMemory`.
  func keep(_ trainer: Trainer) throws(MedDINOError) {
    try stream.sync()
    try trainer.write(to: latest)
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
