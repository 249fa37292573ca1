public import Platform
public import Tensors

/// The segmentation network in training: encoder, the final norm on each tapped block, Primus decoder.
///
/// Used by one thread at a time. Source: model specification 3.
public final class TrainablePrimus {
  public let configuration: Primus.Configuration
  public let encoder: TrainableEncoder
  /// The decoder's first, then the encoder's, as the official code lists them. Source: model specification 3.4.
  public let parameters = TrainableParameters()
  private let stages: [(weight: Parameter, bias: Parameter, normWeight: Parameter, normBias: Parameter)]
  private let head: (weight: Parameter, bias: Parameter)

  /// Parameters are named as in nnU-Net checkpoints: `dino_encoder.*` and `up_projection.decode.*`. `seed`: of low-rank factors.
  /// Throws: `.invalid`, `.format`, `.outOfMemory`.
  public init(
    _ configuration: Primus.Configuration, parameters source: any ParameterSource, device: any TrainingDevice,
    adaptation: Adaptation = .full, seed: UInt64 = 0
  ) throws(MedDINOError) {
    try configuration.validate()
    self.configuration = configuration
    let reader = ParameterReader(source: source, prefix: "", budget: device.budget)
    for spec in configuration.decoder.parameters {
      let parameter = Parameter(spec.name, try reader.tensor(spec.name, spec.shape))
      parameters.add(parameter)
      parameters.addState(spec.name, parameter.value)
    }
    let list = parameters.list
    let count = configuration.decoder.stages
    stages = (0..<count).map { (list[4 * $0], list[4 * $0 + 1], list[4 * $0 + 2], list[4 * $0 + 3]) }
    head = (list[4 * count], list[4 * count + 1])
    encoder = try TrainableEncoder(
      configuration.encoder, parameters: source, device: device, adaptation: adaptation, seed: seed, prefix: Primus.encoderPrefix)
    parameters.append(encoder.parameters)
  }

  /// Logits [batch, classes, H / p · p, W / p · p] of images [batch, 1 or in_chans, H, W]. One channel is repeated to in_chans.
  ///
  /// `draws`: nil for an evaluation forward. `recompute`: as in `TrainableEncoder.tokens` and `Tape.decode`.
  /// Throws: `.shape`, `.outOfMemory`, `.cancelled`.
  public func logits(
    _ images: Variable, draws: VisionTransformer.TrainingDraws? = nil, on tape: Tape, recompute: Bool = false
  ) throws(MedDINOError) -> Variable {
    let taps = try taps(images, draws: draws, on: tape, recompute: recompute)
    let grid = encoder.grid(height: images.shape[2], width: images.shape[3])
    let whole = tape.control
    tape.control = whole.part(Self.encoderShare, 1)
    defer { tape.control = whole }
    return try logits(taps: taps, rows: grid.rows, columns: grid.columns, on: tape, recompute: recompute)
  }

  /// The normalised taps, in block order, each [batch, prefix + patches, dim]. Of a frozen encoder they depend on the images alone, and
  /// may be kept and given to `logits(taps:)` in later steps with the same result, bit for bit.
  public func features(_ images: Tensor, on tape: Tape) throws(MedDINOError) -> [Tensor] {
    try tape.withoutRecording { () throws(MedDINOError) in try taps(Variable(images), on: tape) }.map(\.value)
  }

  /// The decoder alone, on normalised taps. `recompute`: as in `Tape.decode`.
  /// Throws: `.shape`, `.outOfMemory`, `.cancelled`.
  public func logits(
    taps: [Variable], rows: Int, columns: Int, on tape: Tape, recompute: Bool = false
  ) throws(MedDINOError) -> Variable {
    let (prefix, dim) = (configuration.encoder.prefixTokens, configuration.encoder.embedDim)
    guard taps.count == configuration.taps.count, let batch = taps.first?.shape[0],
      taps.allSatisfy({ $0.shape == [batch, prefix + rows * columns, dim] })
    else {
      throw .shape(
        "taps have shapes \(taps.map(\.shape)), expected \(configuration.taps.count) of [batch, \(prefix + rows * columns), \(dim)]")
    }
    let variables = DecoderVariables(
      stages: stages.map {
        .init(
          weight: tape.variable($0.weight), bias: tape.variable($0.bias), normWeight: tape.variable($0.normWeight),
          normBias: tape.variable($0.normBias))
      }, headWeight: tape.variable(head.weight), headBias: tape.variable(head.bias))
    return try tape.decode(taps, prefixTokens: prefix, rows: rows, columns: columns, variables, recompute: recompute)
  }

  private func taps(
    _ images: Variable, draws: VisionTransformer.TrainingDraws? = nil, on tape: Tape, recompute: Bool = false
  ) throws(MedDINOError) -> [Variable] {
    let channels = configuration.encoder.inputChannels
    guard images.shape.rank == 4 else { throw .shape("images have shape \(images.shape), expected [batch, channels, height, width]") }
    let input = images.shape[1] == 1 && channels != 1 ? try tape.repeatChannels(images, channels) : images
    let tokens = try encoder.tokens(
      [.init(input, draws: draws)], blocks: Set(configuration.taps), on: tape, recompute: recompute, progressEnd: Self.encoderShare)
    var taps: [Variable] = []
    for block in configuration.taps.sorted() {
      if let tap = tokens[0][block] { taps.append(try encoder.normalize(tap, on: tape)) }
    }
    return taps
  }
  /// The encoder is most of the arithmetic.
  private static let encoderShare = 0.7

  /// The state dict as it is now, low-rank factors merged; see `TrainableEncoder.exported`. Throws: `.outOfMemory`.
  public func exported() throws(MedDINOError) -> ParameterTable {
    var table = ParameterTable()
    for entry in parameters.state { table.add(entry.name, entry.tensor) }
    let encoded = try encoder.exported()
    for name in encoded.names { if let tensor = encoded.tensors[name] { table.add(name, tensor) } }
    return table
  }
}
