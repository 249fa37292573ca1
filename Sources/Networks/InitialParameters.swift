public import Platform
public import Tensors

/// Random initial values of a network, by official name; the same seed gives the same bits on every machine.
///
/// Source: model specification 1.9 (encoder), 3.1 (decoder: Kaiming normal, leaky slope 0.01, fan_in of a transposed convolution is
/// outputs × 4).
public struct InitialParameters: ParameterSource, Sendable {
  public let seed: UInt64
  private let layerScale: Float
  /// Bound of the patch embedding's weight and bias.
  private let patchBound: Float
  public init(seed: UInt64, configuration: EncoderConfiguration) {
    self.seed = seed
    layerScale = Float(configuration.layerScale ?? 0)
    let volume = configuration.inputChannels * configuration.patchSize * configuration.patchSize
    patchBound = (1 / Float(volume)).squareRoot()
  }

  /// Buffers that follow from the configuration are not stored.
  public func contains(_ name: String) -> Bool { !name.hasSuffix(".periods") && !name.hasSuffix(".bias_mask") }

  public func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let tensor = try Tensor(shape, in: budget, name)
    switch rule(name, shape) {
    case .constant(let value): tensor.floats.update(repeating: value)
    case .uniform(let bound):
      fill(tensor, name) { random in (2 * random.uniformFloat() - 1) * bound }
    case .normal(let deviation):
      fill(tensor, name) { random in Float(random.normal()) * deviation }
    case .truncatedNormal(let deviation):
      fill(tensor, name) { random in
        while true {
          let value = Float(random.normal()) * deviation
          if abs(value) <= 2 { return value }
        }
      }
    }
    return tensor
  }

  private enum Rule {
    case constant(Float)
    case uniform(Float)
    case normal(Float)
    case truncatedNormal(Float)
  }

  private func rule(_ name: String, _ shape: Shape) -> Rule {
    let parts = name.split(separator: ".").map(String.init)
    let (last, owner) = (parts.last ?? "", parts.dropLast().last ?? "")
    if name.contains("decode.") { return decoderRule(last, shape) }
    if last == "cls_token" || last == "storage_tokens" { return .normal(0.02) }
    if last == "mask_token" { return .constant(0) }
    if last == "gamma" { return .constant(layerScale) }
    if name.contains("patch_embed.") { return .uniform(patchBound) }
    if owner.hasPrefix("norm") || owner.hasSuffix("norm") { return .constant(last == "weight" ? 1 : 0) }
    return last == "weight" ? .truncatedNormal(0.02) : .constant(0)
  }

  private func decoderRule(_ last: String, _ shape: Shape) -> Rule {
    guard last == "weight" else { return .constant(0) }
    if shape.rank == 1 { return .constant(1) }
    let fanIn = shape[1] * shape[2] * shape[3]
    return .normal((2 / (1 + 0.0001) / Float(fanIn)).squareRoot())
  }

  private func fill(_ tensor: Tensor, _ name: String, _ draw: (inout CounterRandom) -> Float) {
    var random = CounterRandom(seed: seed, purpose: .init(name))
    let values = tensor.floats
    for index in values.indices { values[index] = draw(&random) }
  }
}
