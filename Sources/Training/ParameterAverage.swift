public import Platform
public import Tensors

/// Exponential moving average of parameters: average = m · average + (1 − m) · value. Buffers are not its business.
///
/// Source: model specification 6, item 6.
public final class ParameterAverage {
  /// In the order of the parameters.
  public let tensors: [(name: String, tensor: Tensor)]
  private let parameters: [Parameter]
  private let device: any TrainingDevice

  /// An average that starts as a copy of the parameters. Throws: `.outOfMemory`.
  public init(of parameters: [Parameter], device: any TrainingDevice) throws(MedDINOError) {
    var tensors: [(name: String, tensor: Tensor)] = []
    for parameter in parameters {
      let tensor = try Tensor(parameter.value.shape, in: device.budget, "average of \(parameter.name)")
      tensor.copy(from: parameter.value)
      tensors.append((parameter.name, tensor))
    }
    self.tensors = tensors
    self.parameters = parameters
    self.device = device
  }

  /// An average that lives in tensors of the caller, such as a teacher's. Throws: `.shape` when they do not match in order and shape.
  public init(of parameters: [Parameter], in tensors: [(name: String, tensor: Tensor)], device: any TrainingDevice) throws(MedDINOError) {
    guard tensors.count == parameters.count else {
      throw .shape("the average has \(tensors.count) tensors, expected \(parameters.count), one per parameter")
    }
    for (parameter, entry) in zip(parameters, tensors) where entry.tensor.shape != parameter.value.shape || entry.tensor.dtype != .float32 {
      throw .shape("average \"\(entry.name)\" is \(entry.tensor.shape) \(entry.tensor.dtype), expected \(parameter.value.shape) float32")
    }
    self.tensors = tensors
    self.parameters = parameters
    self.device = device
  }

  public func update(momentum: Double) {
    for (parameter, entry) in zip(parameters, tensors) {
      device.interpolate(parameter.value, momentum: Float(momentum), into: entry.tensor)
    }
  }
}
