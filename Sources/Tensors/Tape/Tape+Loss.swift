public import Platform

extension Tape {
  /// Dice + cross entropy of logits. The gradient, multiplied by `scale`, is seeded at once: `backward()` walks it back.
  ///
  /// Shapes: logits [batch, heads, H, W]; targets int16, see `TrainingDevice.segmentationLoss`, which also says what `ranks` do.
  /// Throws: `.outOfMemory`, `.state`, `.format` for a target that no label has. Source: pipeline specification 8.
  public func segmentationLoss(
    _ logits: Variable, targets: Tensor, _ options: SegmentationLossOptions, scale: Float = 1,
    ranks: any Communicator = SoloCommunicator()
  ) throws(MedDINOError) -> SegmentationLoss {
    guard logits.needsGradient, isRecording else {
      return try device.segmentationLoss(logits.value, targets: targets, options, scale: scale, gradient: nil, ranks: ranks)
    }
    let gradient = try tensor(logits.shape, "gradient of the logits")
    let loss = try device.segmentationLoss(logits.value, targets: targets, options, scale: scale, gradient: gradient, ranks: ranks)
    try seed(logits, gradient)
    return loss
  }
}
