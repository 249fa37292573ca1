public import Networks
public import Platform
internal import Training

/// Everything that a trainer of the MedDINOv3 paper fixes: the encoder, the taps of the decoder, optimiser and schedule.
///
/// Patch size and batch size are the plan's. Source: pipeline specification 9; model specification 1.12, 4.1, 4.2.
public struct Recipe: Equatable, Sendable {
  /// How the weights of a backbone file go into the encoder.
  public enum BackboneLoading: String, Sendable, CaseIterable {
    /// There is no backbone: random weights.
    case none
    /// What the encoder has no place for is left out (the register tokens and the k bias mask of a DINOv3 file).
    case lenient
    /// Every tensor must fit.
    case strict
  }
  /// Official class name of the trainer, or our own name.
  public var name: String
  /// Includes the rate of stochastic depth.
  public var encoder: EncoderConfiguration
  /// Blocks whose tokens go into the decoder, ascending.
  public var taps: [Int]
  public var backboneLoading: BackboneLoading
  /// Edge of the square patch that the recipe was published with; nil: any.
  public var patch: Int?
  /// Learning rates of epoch 0: all parameters but the encoder's, and the encoder's.
  public var decoderRate = 3e-4
  public var encoderRate = 3e-5
  /// Of every parameter, biases, norms and tokens included.
  public var weightDecay = 0.05
  public var beta1 = 0.9
  public var beta2 = 0.98
  public var epsilon = 1e-8
  /// Largest norm of the gradient of all parameters together.
  public var clip = FineTuningDefaults.gradientClip
  /// Epochs of linear warm-up before the linear decay.
  public var warmupEpochs = 0
  public var epochs = FineTuningDefaults.epochs
  public var iterations = FineTuningDefaults.trainingIterations
  public var validationIterations = FineTuningDefaults.validationIterations
  /// Share of a batch that must show foreground.
  public var oversampling = FineTuningDefaults.foregroundOversampling

  public init(name: String, encoder: EncoderConfiguration, taps: [Int], backboneLoading: BackboneLoading) {
    self.name = name
    self.encoder = encoder
    self.taps = taps
    self.backboneLoading = backboneLoading
  }

  /// Factor on both learning rates in an epoch, constant within it.
  ///
  /// Warm-up starts at a decoder rate of 1e-6 and ends at the full one; the decay is linear and ends one step before 0.
  /// Source: pipeline specification 9; model specification 4.2.
  public func rateFactor(epoch: Int) -> Double {
    PolynomialDecay(epochs: epochs, warmupEpochs: warmupEpochs, baseLearningRate: decoderRate).factor(epoch: epoch)
  }

  /// Throws: `.invalid` naming the key of a value that no run can have.
  public func validate() throws(MedDINOError) {
    func require(_ holds: Bool, _ text: @autoclosure () -> String) throws(MedDINOError) {
      if !holds { throw .invalid(text()) }
    }
    try encoder.validate()
    try require((0..<1).contains(encoder.dropPathRate), "drop_path is \(encoder.dropPathRate), expected 0 up to below 1")
    let ascending = zip(taps, taps.dropFirst()).allSatisfy { $0 < $1 }
    try require(
      !taps.isEmpty && ascending && taps.allSatisfy { (0..<encoder.depth).contains($0) },
      "taps is \(taps), expected ascending blocks from 0 to \(encoder.depth - 1)")
    if let patch { try require((16...4096).contains(patch), "patch is \(patch), expected 16 to 4096") }
    for (key, rate) in [("decoder_lr", decoderRate), ("encoder_lr", encoderRate)] {
      try require(rate > 0 && rate <= 1, "\(key) is \(rate), expected a value above 0 and at most 1")
    }
    try require((0...1).contains(weightDecay), "weight_decay is \(weightDecay), expected 0 to 1")
    try require((0..<1).contains(beta1) && (0..<1).contains(beta2), "betas is [\(beta1), \(beta2)], expected two values from 0 to below 1")
    try require(epsilon > 0 && epsilon <= 1, "adam_epsilon is \(epsilon), expected a value above 0 and at most 1")
    try require(clip > 0, "clip is \(clip), expected a value above 0")
    try require((1...1_000_000).contains(epochs), "epochs is \(epochs), expected 1 to 1000000")
    try require((0..<epochs).contains(warmupEpochs), "warmup_epochs is \(warmupEpochs), expected 0 to \(epochs - 1)")
    try require((1...1_000_000).contains(iterations), "iterations is \(iterations), expected 1 to 1000000")
    try require(
      (0...1_000_000).contains(validationIterations), "validation_iterations is \(validationIterations), expected 0 to 1000000")
    try require((0...1).contains(oversampling), "oversample is \(oversampling), expected 0 to 1")
  }
}
