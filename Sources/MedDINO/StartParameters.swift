internal import Networks
internal import Platform
internal import Tensors

/// Where a new run's weights come from: a model as far as it fits, random initial values for the rest.
struct StartParameters: ParameterSource {
  /// nil: everything starts random.
  let model: (any ParameterSource)?
  /// A backbone names its tensors without the encoder's prefix.
  let isBackbone: Bool
  /// Decoder tensors that are taken over.
  let keptDecoder: Set<String>
  let initial: InitialParameters
  private static let encoder = "dino_encoder."

  func contains(_ name: String) -> Bool { stored(name).map { $0.source.contains($0.name) } ?? initial.contains(name) }

  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    if let stored = stored(name), stored.source.contains(stored.name) {
      return try stored.source.parameter(stored.name, shape, in: budget)
    }
    return try initial.parameter(name, shape, in: budget)
  }

  private func stored(_ name: String) -> (source: any ParameterSource, name: String)? {
    guard let model else { return nil }
    if name.hasPrefix(Self.encoder) { return (model, isBackbone ? String(name.dropFirst(Self.encoder.count)) : name) }
    return keptDecoder.contains(name) ? (model, name) : nil
  }
}
