public import Platform
public import Training
public import WeightFiles

extension FineTuner {
  /// Writes everything that a restored run needs: whole or not at all.
  ///
  /// `architecture`: what must be equal for a restore. `owner`: kept for the caller.
  /// Throws: `.io` and `.cancelled` (an earlier file stays), `.outOfMemory`.
  public func save(
    to path: String, architecture: JSON, owner: JSON = .null, control: RunControl = RunControl()
  ) throws(MedDINOError) {
    var kept = CheckpointState(architecture: architecture)
    kept.step = state.step
    kept.epoch = state.epoch
    kept.seed = settings.seed
    kept.dataPosition = state.position
    kept.history = state.history
    kept.earlyStop = state.early
    kept.owner = .object(
      ("loop", .object(("sums", state.sums.json), ("moving_dice", state.moving.average.map { .number($0) } ?? .null))), ("owner", owner))
    try TrainingCheckpoint.save(kept, tensors, to: path, control: control)
  }

  /// Takes over a saved run; what follows has the bits of a run that was never stopped. The settings must be those of the saved run.
  ///
  /// Throws: `.invalid` for another architecture or seed, `.format`, `.io`.
  public func restore(_ checkpoint: TrainingCheckpoint, architecture: JSON) throws(MedDINOError) {
    let saved = checkpoint.state
    guard saved.seed == settings.seed else {
      throw .invalid("\(checkpoint.path): the run has seed \(saved.seed), the settings \(settings.seed)")
    }
    guard let loop = saved.owner["loop"], let sums = loop["sums"].flatMap(EpochSums.init), let moving = loop["moving_dice"],
      moving.isNull || moving.doubleValue != nil
    else { throw .format("\(checkpoint.path): checkpoint without the state of a fine-tuning run") }
    guard saved.epoch <= settings.recipe.epochs else {
      throw .format("\(checkpoint.path): checkpoint epoch is \(saved.epoch), expected at most the run's \(settings.recipe.epochs)")
    }
    try checkpoint.restore(tensors, architecture: architecture)
    var restored = LoopState()
    restored.step = saved.step
    restored.epoch = saved.epoch
    restored.position = saved.dataPosition
    restored.history = saved.history
    restored.sums = sums
    restored.moving = MovingScore(average: moving.doubleValue, skipsUndefined: true)
    restored.early = saved.earlyStop
    restored.early.patience = settings.patience
    restart(restored)
  }

  /// What the owner kept with a saved run.
  public static func owner(of checkpoint: TrainingCheckpoint) -> JSON { checkpoint.state.owner["owner"] ?? .null }

  private var tensors: CheckpointTensors {
    CheckpointTensors(parameters: network.parameters.list, optimizer: optimizer, extra: network.parameters.buffers)
  }
}
