internal import Platform

/// How the backwards of operations put gradients where they belong.
extension Tape {
  /// What an operation adds to: zeros when nothing has come yet.
  func sum(_ target: GradientTarget) throws(MedDINOError) -> Tensor {
    if let parameter = target.slot.parameter { return try parameter.gradientSum(device).reshaped(target.shape) }
    if let held = target.slot.gradient { return held.reshaped(target.shape) }
    let fresh = try tensor(target.shape, "gradient")
    device.fill(fresh, 0)
    target.slot.gradient = fresh
    return fresh
  }
  func sum(_ target: GradientTarget?) throws(MedDINOError) -> Tensor? {
    guard let target else { return nil }
    return try sum(target)
  }

  /// What an operation writes to, or adds to when something has come already; new memory is not initialised.
  func place(_ target: GradientTarget) throws(MedDINOError) -> (tensor: Tensor, adds: Bool) {
    if let parameter = target.slot.parameter {
      let (tensor, adds) = try parameter.gradientPlace(device)
      return (tensor.reshaped(target.shape), adds)
    }
    if let held = target.slot.gradient { return (held.reshaped(target.shape), true) }
    let fresh = try tensor(target.shape, "gradient")
    target.slot.gradient = fresh
    return (fresh, false)
  }

  /// Hands a finished gradient over; nobody else may write to it afterwards.
  func hand(_ gradient: Tensor, to target: GradientTarget) throws(MedDINOError) {
    if target.slot.parameter == nil, target.slot.gradient == nil {
      target.slot.gradient = gradient.reshaped(target.shape)
    } else {
      device.add(gradient.reshaped(target.shape), factor: 1, to: try sum(target))
    }
  }
}
