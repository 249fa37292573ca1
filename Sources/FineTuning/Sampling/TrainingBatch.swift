public import Tensors

/// Input of one training or validation step.
public struct TrainingBatch: Sendable {
  public let step: UInt64
  /// Shapes: float32 [batch, channels, rows, columns].
  public let images: Tensor
  /// Shapes: int16 [batch, 1, rows, columns], label values; or [batch, regions, rows, columns] of 0 and 1, with one more channel for the
  /// ignored pixels when there is an ignore label.
  public let targets: Tensor
}
