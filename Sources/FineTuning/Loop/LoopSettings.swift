public import Networks
public import Platform
public import Tensors

/// Everything that fixes a fine-tuning run besides its network and its data. Defaults are MedDINOv3's.
///
/// Source: pipeline specification 9, model specification 4.
public struct LoopSettings: Equatable, Sendable {
  public var epochs = FineTuningDefaults.epochs
  /// Optimiser updates of an epoch.
  public var iterations = FineTuningDefaults.trainingIterations
  public var validationIterations = FineTuningDefaults.validationIterations
  /// Images of a batch; nil: the plan's.
  public var batchSize: Int?
  /// Batches whose gradients make one update.
  public var accumulate = 1
  public var decoderRate = 3e-4
  public var encoderRate = 3e-5
  public var weightDecay = 0.05
  public var beta1 = 0.9
  public var beta2 = 0.98
  public var gradientClip: Double? = FineTuningDefaults.gradientClip
  /// Power of the polynomial decay of the rates; 1 is linear.
  public var decayPower = 1.0
  public var warmupEpochs = 0
  /// Factor from one encoder layer to the one below it; nil: none.
  public var layerDecay: Double?
  public var foregroundShare = FineTuningDefaults.foregroundOversampling
  public var augmentation = Augmentation.official
  public var adaptation = Adaptation.full
  public var precision = Precision.float32
  /// Activations of encoder blocks are computed again in the backward instead of kept.
  public var recompute = false
  public var seed: UInt64 = 0
  /// Threads that prepare batches; 0 prepares each when it is needed.
  public var workers = 1
  /// Epochs without a better moving average of the Dice after which the run ends; nil: never.
  public var patience: Int?
  /// Seconds of one call after which the run ends; nil: no limit.
  public var timeBudget: Double?
  public init() {}

  /// Throws: `.invalid` naming the key of the settings.
  public func validate() throws(MedDINOError) {
    func whole(_ value: Int, _ range: ClosedRange<Int>, _ key: String) throws(MedDINOError) {
      guard range.contains(value) else {
        throw .invalid("\(key) is \(value), expected \(range.lowerBound) to \(range.upperBound)")
      }
    }
    func number(_ value: Double, _ holds: Bool, _ key: String, _ expected: String) throws(MedDINOError) {
      guard value.isFinite, holds else { throw .invalid("\(key) is \(value), expected \(expected)") }
    }
    try whole(epochs, 1...1_000_000, "epochs")
    try whole(iterations, 1...1_000_000, "iterations")
    try whole(validationIterations, 0...1_000_000, "validation_iterations")
    if let batchSize { try whole(batchSize, 1...4096, "batch_size") }
    try whole(accumulate, 1...4096, "accumulate")
    try whole(workers, 0...256, "workers")
    try whole(warmupEpochs, 0...epochs, "warmup_epochs")
    if let patience { try whole(patience, 1...1_000_000, "patience") }
    try number(decoderRate, decoderRate >= 0, "decoder_lr", "a rate of at least 0")
    try number(encoderRate, encoderRate >= 0, "encoder_lr", "a rate of at least 0")
    try number(weightDecay, weightDecay >= 0, "weight_decay", "at least 0")
    try number(beta1, (0..<1).contains(beta1), "beta1", "at least 0 and below 1")
    try number(beta2, (0..<1).contains(beta2), "beta2", "at least 0 and below 1")
    if let gradientClip { try number(gradientClip, gradientClip > 0, "clip", "above 0") }
    try number(decayPower, decayPower > 0 && decayPower <= 10, "decay_power", "above 0 and at most 10")
    if let layerDecay { try number(layerDecay, layerDecay > 0 && layerDecay <= 1, "layer_decay", "above 0 and at most 1") }
    try number(foregroundShare, (0...1).contains(foregroundShare), "oversample_foreground", "0 to 1")
    if let timeBudget { try number(timeBudget, timeBudget > 0, "time_budget", "seconds above 0") }
    try augmentation.validate()
  }
}
