public import Platform
public import Tensors

/// Where a network's tensors come from: a checkpoint, a model file, or a generator of initial values.
///
/// Names are the official state-dict keys (model specification 1.10, 3.1). Tensors come as float32.
public protocol ParameterSource {
  /// Throws: `.format` when the name is missing or its shape is another one.
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor
  func contains(_ name: String) -> Bool
}

/// Parameters held in memory, by official name.
public struct ParameterTable: ParameterSource, Sendable {
  public private(set) var tensors: [String: Tensor] = [:]
  public private(set) var names: [String] = []
  public init() {}

  public mutating func add(_ name: String, _ tensor: Tensor) {
    if tensors.updateValue(tensor, forKey: name) == nil { names.append(name) }
  }
  public func contains(_ name: String) -> Bool { tensors[name] != nil }
  public func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard let tensor = tensors[name] else { throw .format("parameter \(name) \(shape) is missing") }
    guard tensor.shape == shape else { throw .format("parameter \(name) has shape \(tensor.shape), expected \(shape)") }
    return try tensor.asFloat32(in: budget)
  }
}
