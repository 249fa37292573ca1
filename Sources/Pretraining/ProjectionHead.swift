public import Networks
public import Platform
public import Tensors

/// Sizes of a projection head. Defaults: both heads of `ct_base`. Source: model specification 6.1, 10.3.
public struct HeadConfiguration: Equatable, Sendable {
  public var prototypes = 65536
  public var bottleneck = 256
  public var hidden = 2048
  /// Linear layers before the normalisation.
  public var layers = 3
  public init() {}

  /// Throws: `.invalid` naming the value; `name` is the head's.
  func validate(_ name: String) throws(MedDINOError) {
    for (key, value) in [("prototypes", prototypes), ("bottleneck", bottleneck), ("hidden", hidden)] where !(1...(1 << 20) ~= value) {
      throw .invalid("\(name) \(key) is \(value), expected 1 to 1048576")
    }
    guard (1...16).contains(layers) else { throw .invalid("\(name) layers are \(layers), expected 1 to 16") }
  }

  /// Width of the output of layer `index`.
  func outputs(_ index: Int) -> Int { index == layers - 1 ? bottleneck : hidden }

  /// The state dict of a head on tokens of `dim` values, in official order.
  public func parameters(dim: Int) -> [ParameterSpec] {
    var list: [ParameterSpec] = []
    for index in 0..<layers {
      let name = layerName(index)
      list.append(.init(name + ".weight", [outputs(index), index == 0 ? dim : hidden]))
      list.append(.init(name + ".bias", [outputs(index)]))
    }
    return list + [.init("last_layer.weight", [prototypes, bottleneck])]
  }

  /// Activations have odd numbers in the official sequence; a single layer is no sequence.
  func layerName(_ index: Int) -> String { layers == 1 ? "mlp" : "mlp.\(2 * index)" }
}

/// A head of self-distillation: linear layers with GELU between them, unit length, one linear layer without bias to the prototypes.
///
/// Shapes: tokens [rows, dim] to logits [rows, prototypes]. Source: Caron et al., arXiv:2104.14294; model specification 6.1.
public final class ProjectionHead {
  public let configuration: HeadConfiguration
  /// In official order, the last layer's weight at the end.
  public let parameters: [Parameter]
  private let layers: [(weight: Parameter, bias: Parameter)]
  private let lastLayer: Parameter

  /// Reads every parameter as `prefix` + name into memory of its own.
  /// Throws: `.invalid`, `.format` for missing or misshapen parameters, `.outOfMemory`.
  public init(
    _ configuration: HeadConfiguration, dim: Int, parameters source: any ParameterSource, prefix: String, isTrainable: Bool = true,
    in budget: MemoryBudget
  ) throws(MedDINOError) {
    try configuration.validate(prefix.isEmpty ? "head" : String(prefix.dropLast()))
    var list: [Parameter] = []
    for spec in configuration.parameters(dim: dim) {
      let name = prefix + spec.name
      let own = try Tensor(spec.shape, in: budget, name)
      own.copy(from: try source.parameter(name, spec.shape, in: budget))
      list.append(Parameter(name, own, isTrainable: isTrainable))
    }
    self.configuration = configuration
    parameters = list
    layers = (0..<configuration.layers).map { (list[2 * $0], list[2 * $0 + 1]) }
    lastLayer = list[list.count - 1]
  }

  /// The unit vectors before the last layer, [rows, bottleneck]. Throws: `.outOfMemory`.
  public func bottleneck(_ tokens: Variable, on tape: Tape) throws(MedDINOError) -> Variable {
    var x = tokens
    for (index, layer) in layers.enumerated() {
      if index > 0 { x = try tape.gelu(x) }
      x = try tape.linear(x, weight: tape.variable(layer.weight), bias: tape.variable(layer.bias))
    }
    return try tape.normalizeRows(x)
  }

  /// Throws: `.outOfMemory`.
  public func logits(_ tokens: Variable, on tape: Tape) throws(MedDINOError) -> Variable {
    try tape.linear(try bottleneck(tokens, on: tape), weight: tape.variable(lastLayer))
  }
}
