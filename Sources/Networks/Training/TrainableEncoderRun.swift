internal import Platform
internal import Tensors

/// One group of images on its way through the encoder.
struct TrainableEncoderRun {
  private let network: TrainableEncoder
  private let tape: Tape
  private let draws: VisionTransformer.TrainingDraws?
  private let batch: Int
  private let rows: Int
  private let columns: Int
  private let fixedRope: RopeTable
  private(set) var stream: Variable
  private var configuration: EncoderConfiguration { network.configuration }

  /// Which images each branch of a block keeps, and the block's rotation: fixed, so that the block can run twice.
  struct Choices {
    var attention: (indices: [Int], scale: Float)?
    var feedForward: (indices: [Int], scale: Float)?
    var rope: RopeTable
  }

  init(_ network: TrainableEncoder, _ group: TrainableEncoder.Group, _ tape: Tape) throws(MedDINOError) {
    let (c, shape) = (network.configuration, group.images.shape)
    guard shape.rank == 4, shape[1] == c.inputChannels else {
      throw .shape("images have shape \(shape), expected [batch, \(c.inputChannels), height, width]")
    }
    let grid = network.grid(height: shape[2], width: shape[3])
    guard grid.rows > 0, grid.columns > 0, shape[0] > 0 else {
      throw .shape("images have shape \(shape), at least one \(c.patchSize) × \(c.patchSize) patch expected")
    }
    if let mask = group.mask, mask.shape != [shape[0], grid.rows * grid.columns] || mask.dtype.byteCount != 1 {
      throw .shape("masks have shape \(mask.shape), expected [\(shape[0]), \(grid.rows * grid.columns)] bytes")
    }
    self.network = network
    self.tape = tape
    draws = group.draws
    (batch, rows, columns) = (shape[0], grid.rows, grid.columns)
    let layers = network.layers
    fixedRope = try network.ropeTable(rows: grid.rows, columns: grid.columns)
    let patches = try tape.patchEmbedding(
      group.images, weight: tape.variable(layers.patchEmbedding.weight), bias: layers.patchEmbedding.bias.map(tape.variable),
      size: c.patchSize)
    let prefix = [layers.classToken, layers.storageTokens].compactMap { $0.map(tape.variable) }
    stream = try tape.assembleTokens(
      prefix: prefix, patches: patches, mask: group.mask, maskToken: tape.variable(layers.maskToken), batch: batch)
  }

  mutating func block(_ index: Int, recompute: Bool) throws(MedDINOError) {
    let (network, choices) = (network, try choices(index))
    if recompute {
      stream = try tape.checkpoint(stream) { (tape, stream) throws(MedDINOError) in
        try network.block(index, stream, choices, on: tape)
      }
    } else {
      stream = try network.block(index, stream, choices, on: tape)
    }
  }

  /// Frozen blocks give the same features in every step: no draws.
  private func choices(_ index: Int) throws(MedDINOError) -> Choices {
    guard let draws, network.adaptation.trainsBlock(index, of: configuration.depth) else { return Choices(rope: fixedRope) }
    var choices = Choices(attention: draws.kept(index, 0), feedForward: draws.kept(index, 1), rope: fixedRope)
    for kept in [choices.attention, choices.feedForward] {
      guard let kept else { continue }
      guard Set(kept.indices).count == kept.indices.count, kept.indices.allSatisfy({ (0..<batch).contains($0) }) else {
        throw .invalid("stochastic depth keeps images \(kept.indices) of a batch of \(batch), expected distinct indices")
      }
    }
    if let augmentation = draws.rope(index) {
      choices.rope = try RopeTables.make(
        rows: rows, columns: columns, periods: network.layers.periods, configuration: configuration, augmentation: augmentation,
        in: tape.device.budget)
    }
    return choices
  }
}

extension TrainableEncoder {
  /// x1 = x + g1 · Attn(LN1(x)); x2 = x1 + g2 · FFN(LN2(x1)). Source: model specification 1.4, 1.5.
  func block(_ index: Int, _ stream: Variable, _ choices: TrainableEncoderRun.Choices, on tape: Tape) throws(MedDINOError) -> Variable {
    let block = layers.blocks[index]
    let middle = try branch(stream, choices.attention, gamma: block.scale1, tape) { (input) throws(MedDINOError) in
      try attention(block, input, choices.rope, tape)
    }
    return try branch(middle, choices.feedForward, gamma: block.scale2, tape) { (input) throws(MedDINOError) in
      try feedForward(block, input, tape)
    }
  }

  /// stream + scale · gamma · body(kept images of the stream).
  private func branch(
    _ stream: Variable, _ kept: (indices: [Int], scale: Float)?, gamma: Parameter?, _ tape: Tape,
    _ body: (Variable) throws(MedDINOError) -> Variable
  ) throws(MedDINOError) -> Variable {
    let input = if let kept { try tape.gather(stream, kept.indices) } else { stream }
    return try tape.residual(
      stream, try body(input), indices: kept?.indices, scale: kept?.scale ?? 1, gamma: gamma.map(tape.variable))
  }

  private func attention(
    _ block: TrainableEncoderLayers.Block, _ input: Variable, _ rope: RopeTable, _ tape: Tape
  ) throws(MedDINOError) -> Variable {
    let normed = try tape.norm(input, block.norm1.variables(configuration, tape))
    let mixed = try tape.attention(
      try block.qkv(normed, tape), heads: configuration.heads, prefixTokens: configuration.prefixTokens, rope: rope)
    return try block.projection(mixed, tape)
  }

  private func feedForward(
    _ block: TrainableEncoderLayers.Block, _ input: Variable, _ tape: Tape
  ) throws(MedDINOError) -> Variable {
    let normed = try tape.norm(input, block.norm2.variables(configuration, tape))
    switch block.feedForward {
    case .mlp(let first, let second): return try second(try tape.gelu(try first(normed, tape)), tape)
    case .swiGLU(let gate, let up, let down):
      return try down(try tape.swiGLU(gate: try gate(normed, tape), up: try up(normed, tape)), tape)
    }
  }
}
