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
    if let places = group.places {
      let count = shape[0] * (grid.rows * grid.columns + c.prefixTokens)
      guard !places.isEmpty, Set(places).count == places.count, places.allSatisfy({ (0..<count).contains($0) }) else {
        throw .invalid("\(places.count) places asked for, expected distinct ones of \(count) tokens")
      }
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

  /// `places`: the tokens that are wanted; the stream then holds those alone, and no block can follow.
  mutating func block(_ index: Int, places: [Int]?, recompute: Bool) throws(MedDINOError) {
    let (network, choices) = (network, try choices(index))
    func run(_ tape: Tape, _ stream: Variable) throws(MedDINOError) -> Variable {
      if let places { return try network.block(index, stream, choices, places, on: tape) }
      return try network.block(index, stream, choices, on: tape)
    }
    stream = recompute ? try tape.checkpoint(stream, run) : try run(tape, stream)
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
    let attended = try attention(block, stream, choices, tape)
    let middle = try tape.residual(
      stream, try block.projection(attended, tape), indices: choices.attention?.indices, scale: choices.attention?.scale ?? 1,
      gamma: block.scale1.map(tape.variable))
    let kept = choices.feedForward
    let input = if let kept { try tape.gather(middle, kept.indices) } else { middle }
    // Nobody keeps what lies between the branches where nothing is walked back.
    return try tape.residual(
      middle, try feedForward(block, input, tape), indices: kept?.indices, scale: kept?.scale ?? 1,
      gamma: block.scale2.map(tape.variable), inPlace: !middle.needsGradient)
  }

  /// The same for the tokens at some places, [places, dim]: all others are needed up to attention alone.
  func block(
    _ index: Int, _ stream: Variable, _ choices: TrainableEncoderRun.Choices, _ places: [Int], on tape: Tape
  ) throws(MedDINOError) -> Variable {
    let block = layers.blocks[index]
    let (tokens, dim) = (stream.shape[1], stream.shape[2])
    func rows(_ x: Variable) -> Variable { x.reshaped([x.value.count / dim, dim]) }
    /// Of the places that a branch keeps: their rows in the branch, and where they come among all of them.
    func kept(_ choice: (indices: [Int], scale: Float)?) -> (sources: [Int], targets: [Int]?) {
      guard let choice else { return (places, nil) }
      let positions = Dictionary(uniqueKeysWithValues: zip(choice.indices, choice.indices.indices))
      var (sources, targets): ([Int], [Int]) = ([], [])
      for (target, place) in places.enumerated() {
        guard let position = positions[place / tokens] else { continue }
        sources.append(position * tokens + place % tokens)
        targets.append(target)
      }
      return (sources, targets)
    }
    func residual(
      _ stream: Variable, _ branch: Variable, _ targets: [Int]?, _ scale: Float?, _ gamma: Parameter?, inPlace: Bool
    ) throws(MedDINOError) -> Variable {
      func images(_ x: Variable) -> Variable { x.reshaped(targets == nil ? [1, x.shape[0], dim] : [x.shape[0], 1, dim]) }
      return rows(
        try tape.residual(
          images(stream), images(branch), indices: targets, scale: scale ?? 1, gamma: gamma.map(tape.variable), inPlace: inPlace))
    }
    let attended = try attention(block, stream, choices, tape)
    var result = try tape.gather(rows(stream), places)
    let (sources, targets) = kept(choices.attention)
    if !sources.isEmpty {
      let branch = try block.projection(try tape.gather(rows(attended), sources), tape)
      result = try residual(result, branch, targets, choices.attention?.scale, block.scale1, inPlace: true)
    }
    let fed = kept(choices.feedForward).targets
    if fed?.isEmpty != true {
      let input = if let fed { try tape.gather(result, fed) } else { result }
      let branch = try feedForward(block, input, tape)
      result = try residual(result, branch, fed, choices.feedForward?.scale, block.scale2, inPlace: !result.needsGradient)
    }
    return result
  }

  /// Attention of the kept images, before its projection.
  private func attention(
    _ block: TrainableEncoderLayers.Block, _ stream: Variable, _ choices: TrainableEncoderRun.Choices, _ tape: Tape
  ) throws(MedDINOError) -> Variable {
    let input = if let kept = choices.attention { try tape.gather(stream, kept.indices) } else { stream }
    let normed = try tape.norm(input, block.norm1.variables(configuration, tape))
    return try tape.attention(
      try block.qkv(normed, tape), heads: configuration.heads, prefixTokens: configuration.prefixTokens, rope: choices.rope)
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
