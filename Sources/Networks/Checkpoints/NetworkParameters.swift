public import Platform
public import Tensors

/// The parameters of one network out of a checkpoint, matched name by name: nothing missing, nothing left over, every shape right.
///
/// Tensors are read when they are asked for. Buffers that a layout drops (RoPE periods, the key-bias mask) are made from the
/// configuration; stored ones win. Source: model specification 1.10, 2.
public struct NetworkParameters: ParameterSource, Sendable {
  /// In official order.
  public let names: [String]
  private let entries: [String: CheckpointEntry]
  private let buffers: [String: [Float]]

  /// The encoder alone, by bare official names.
  /// Throws: `.format` that lists what does not fit.
  public static func collect(_ configuration: EncoderConfiguration, from contents: CheckpointContents) throws(MedDINOError)
    -> NetworkParameters
  {
    try configuration.validate()
    return try .init(
      expected: configuration.parameters, found: contents.encoder.map { ($0.name, $0) }, label: contents.label,
      buffers: buffers(configuration))
  }

  /// Encoder and decoder, named as in nnU-Net checkpoints.
  /// Throws: `.format` that lists what does not fit.
  public static func collect(_ configuration: Primus.Configuration, from contents: CheckpointContents) throws(MedDINOError)
    -> NetworkParameters
  {
    try configuration.validate()
    let prefix = Primus.encoderPrefix
    let encoder = configuration.encoder.parameters.map { ParameterSpec(prefix + $0.name, $0.shape, isBuffer: $0.isBuffer) }
    let made = buffers(configuration.encoder).map { (prefix + $0.key, $0.value) }
    return try .init(
      expected: configuration.decoder.parameters + encoder,
      found: contents.decoder.map { ($0.name, $0) } + contents.encoder.map { (prefix + $0.name, $0) }, label: contents.label,
      buffers: Dictionary(uniqueKeysWithValues: made))
  }

  /// `buffers`: values of the expected buffers that the checkpoint may lack.
  init(
    expected: [ParameterSpec], found: [(String, CheckpointEntry)], label: String, buffers: [String: [Float]]
  ) throws(MedDINOError) {
    var problems: [String] = []
    var entries: [String: CheckpointEntry] = [:]
    for (name, entry) in found where entries.updateValue(entry, forKey: name) != nil { problems.append("\(name) appears twice") }
    var made: [String: [Float]] = [:]
    for spec in expected {
      if let entry = entries[spec.name] {
        if entry.shape != spec.shape {
          problems.append("\(spec.name) has shape \(entry.shape), expected \(spec.shape)")
        } else if !entry.dtype.isFloatingPoint {
          problems.append("\(spec.name) has type \(entry.dtype.rawValue)")
        }
      } else if spec.isBuffer, let values = buffers[spec.name] {
        made[spec.name] = values
      } else {
        problems.append("\(spec.name) \(spec.shape) is missing")
      }
    }
    let known = Set(expected.map(\.name))
    for (name, entry) in found where !known.contains(name) { problems.append("\(name) \(entry.shape) is unexpected") }
    guard problems.isEmpty else { throw .format("\(label): the weights do not fit the network: " + Self.listing(problems)) }
    names = expected.map(\.name)
    self.entries = entries
    self.buffers = made
  }

  private static func listing(_ problems: [String]) -> String {
    let shown = problems.prefix(10).joined(separator: "; ")
    return problems.count > 10 ? shown + "; and \(problems.count - 10) more" : shown
  }

  private static func buffers(_ configuration: EncoderConfiguration) -> [String: [Float]] {
    var exact = configuration
    exact.ropePrecision = .float32
    var values = ["rope_embed.periods": RopeTables.periods(exact)]
    guard configuration.qkvBias, configuration.maskKeyBias else { return values }
    let dim = configuration.embedDim
    let mask = (0..<3 * dim).map { dim..<2 * dim ~= $0 ? Float(0) : 1 }
    for index in 0..<configuration.depth { values["blocks.\(index).attn.qkv.bias_mask"] = mask }
    return values
  }

  public func contains(_ name: String) -> Bool { entries[name] != nil || buffers[name] != nil }

  /// As float32. Throws: `.format`, `.outOfMemory`, `.io`.
  public func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let tensor = try stored(name, in: budget)
    guard tensor.shape == shape else { throw .format("parameter \(name) has shape \(tensor.shape), expected \(shape)") }
    return try tensor.asFloat32(in: budget)
  }

  /// In the stored type. Throws: `.format` for an unknown name, `.outOfMemory`, `.io`.
  public func stored(_ name: String, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    if let entry = entries[name] { return try entry.load(in: budget) }
    guard let values = buffers[name] else { throw .format("parameter \(name) is missing") }
    return try Tensor(values, [values.count], in: budget, name)
  }
  /// The stored type of a parameter.
  public func dtype(of name: String) -> DType? { entries[name]?.dtype ?? (buffers[name] != nil ? .float32 : nil) }
}
