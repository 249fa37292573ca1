public import Segmentation
public import Tensors

/// How a run computes: beside what is segmented, the arithmetic and the limits.
public struct RunOptions: Sendable {
  public var segmentation = SegmentationOptions()
  /// nil: as the model was validated.
  public var mirrorAxes: [Int]?
  public var precision = Precision.float32
  /// Limit of this run's buffers in bytes; nil: the context's.
  public var maxBytes: Int?
  /// Apply the postprocessing that the model carries to the finished label map. Probabilities stay as they are.
  public var appliesPostprocessing = false
  public init() {}
}
