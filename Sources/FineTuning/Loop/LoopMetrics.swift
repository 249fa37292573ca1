public import Tensors

/// What one optimiser update was like.
public struct StepMetrics: Equatable, Sendable {
  /// Updates made so far, this one included.
  public var step: Int
  public var epoch: Int
  /// Mean over the accumulated batches.
  public var loss: SegmentationLoss
  /// Before clipping.
  public var gradientNorm: Double
  /// Of the decoder's group.
  public var learningRate: Double
  /// False when a gradient was not finite and the weights were left as they were.
  public var isUpdated: Bool
  public var seconds: Double
}

/// Loss and pseudo Dice of validation batches.
public struct ValidationMetrics: Equatable, Sendable {
  /// Mean over the batches; NaN without batches.
  public var loss: Double
  /// Per foreground output.
  public var dice: [Double]
  public var meanDice: Double
}

/// One whole epoch.
public struct EpochMetrics: Equatable, Sendable {
  public var epoch: Int
  /// Updates made so far.
  public var step: Int
  /// Means over the epoch's updates.
  public var trainingLoss: SegmentationLoss
  public var gradientNorm: Double
  public var learningRate: Double
  /// nil when the run has no validation cases.
  public var validation: ValidationMetrics?
  /// Moving average of the mean Dice; NaN without validation.
  public var movingDice: Double
  public var bestMovingDice: Double
  public var isBest: Bool
  /// Nothing is left to do: all epochs are done, or the score has not improved for long enough.
  public var isFinished: Bool
  public var seconds: Double
}
