public import Platform

/// One learned tensor of a network: its float32 value, and the gradient that backward passes add to.
///
/// Used by one thread at a time. The memory of the gradient comes from the device's budget at the first backward that reaches the
/// parameter, and is kept for the steps that follow.
public final class Parameter {
  /// The official name in the state dict.
  public let name: String
  /// float32; the optimiser changes it in place.
  public let value: Tensor
  /// Frozen parameters get no gradient and cost no backward.
  public var isTrainable: Bool
  private var storage: Tensor?
  private var isReached = false

  public init(_ name: String, _ value: Tensor, isTrainable: Bool = true) {
    precondition(value.dtype == .float32)
    self.name = name
    self.value = value
    self.isTrainable = isTrainable
  }

  public var shape: Shape { value.shape }
  /// The sum of all backwards since `zeroGradient`; nil when none reached the parameter, which is not the same as zeros: the optimiser
  /// leaves a parameter without a gradient alone, and decays one whose gradient is zero.
  public var gradient: Tensor? { isReached ? storage : nil }
  /// Bytes that the gradient holds, reached or not.
  public var gradientByteCount: Int { storage?.byteCount ?? 0 }

  /// Forgets the gradient; its memory stays for the next step.
  public func zeroGradient() { isReached = false }

  /// What a backward adds to: zeros when nothing has been added since `zeroGradient`. Throws: `.outOfMemory`.
  public func gradientSum(_ device: any TrainingDevice) throws(MedDINOError) -> Tensor {
    let (sum, adds) = try gradientPlace(device)
    if !adds { device.fill(sum, 0) }
    return sum
  }

  /// The same for a backward that can write what it would add to zeros: `adds` is false when nothing has been added since `zeroGradient`,
  /// and the elements then are no numbers of any use. Throws: `.outOfMemory`.
  func gradientPlace(_ device: any TrainingDevice) throws(MedDINOError) -> (tensor: Tensor, adds: Bool) {
    if isReached, let storage { return (storage, true) }
    let place = if let storage { storage } else { try Tensor(value.shape, in: device.budget, "gradient of " + name) }
    storage = place
    isReached = true
    return (place, false)
  }
}
