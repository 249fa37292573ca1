internal import Platform
public import Tensors

/// The parameters of a network in training, by official name and in official order, with the buffers of its state dict.
public final class TrainableParameters {
  /// Learned tensors in the order of the official code's `named_parameters`, low-rank factors after the weight they belong to.
  public private(set) var list: [Parameter] = []
  /// Everything of the state dict, buffers included, in its order. Low-rank factors are not part of it.
  private(set) var state: [(name: String, tensor: Tensor)] = []
  private var byName: [String: Parameter] = [:]

  init() {}

  func add(_ parameter: Parameter) {
    list.append(parameter)
    byName[parameter.name] = parameter
  }
  func addState(_ name: String, _ tensor: Tensor) { state.append((name, tensor)) }
  func append(_ other: TrainableParameters) {
    for parameter in other.list { add(parameter) }
    state += other.state
  }

  /// What the state dict holds besides learned tensors.
  public var buffers: [(name: String, tensor: Tensor)] { state.filter { byName[$0.name] == nil } }
  public subscript(name: String) -> Parameter? { byName[name] }
  /// What the optimiser changes.
  public var trainable: [Parameter] { list.filter(\.isTrainable) }
  public var trainableCount: Int { trainable.reduce(0) { $0 + $1.shape.count } }

  /// For the start of a step: no parameter has a gradient. The memory stays.
  public func zeroGradients() { for parameter in list { parameter.zeroGradient() } }
}

/// Reads parameters into memory of their own.
struct ParameterReader {
  let source: any ParameterSource
  let prefix: String
  let budget: MemoryBudget

  /// A source may hand out tensors that others use too. Throws: `.format`, `.outOfMemory`.
  func tensor(_ name: String, _ shape: Shape) throws(MedDINOError) -> Tensor {
    let given = try source.parameter(prefix + name, shape, in: budget)
    let own = try Tensor(shape, in: budget, name)
    own.copy(from: given)
    return own
  }
  func contains(_ name: String) -> Bool { source.contains(prefix + name) }
}
