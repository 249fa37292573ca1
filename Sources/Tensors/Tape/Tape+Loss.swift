public import Platform

extension Tape {
  /// Dice + cross entropy of logits. The gradient, multiplied by `scale`, is seeded at once: `backward()` walks it back.
  ///
  /// Shapes: logits [batch, heads, H, W]; targets int16, see `TrainingDevice.segmentationLoss`.
  /// Throws: `.outOfMemory`, `.format` for a target that no label has. Source: pipeline specification 8.
  public func segmentationLoss(
    _ logits: Variable, targets: Tensor, _ options: SegmentationLossOptions, scale: Float = 1
  ) throws(MedDINOError) -> SegmentationLoss {
    guard logits.needsGradient, isRecording else {
      return try device.segmentationLoss(logits.value, targets: targets, options, scale: scale, gradient: nil)
    }
    let gradient = try tensor(logits.shape, "gradient of the logits")
    let loss = try device.segmentationLoss(logits.value, targets: targets, options, scale: scale, gradient: gradient)
    try seed(logits, gradient)
    return loss
  }
}
