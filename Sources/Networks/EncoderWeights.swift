internal import Platform
internal import Tensors

/// The encoder's parameters as the device computes with them.
struct EncoderWeights: Sendable {
  struct Norm: Sendable {
    let weight: Tensor
    let bias: Tensor?
  }
  enum FeedForward: Sendable {
    case mlp(first: any PackedLinear, second: any PackedLinear)
    case swiGLU(gate: any PackedLinear, up: any PackedLinear, down: any PackedLinear)
  }
  struct Block: Sendable {
    let norm1: Norm
    let qkv: any PackedLinear
    let projection: any PackedLinear
    let scale1: Tensor?
    let norm2: Norm
    let feedForward: FeedForward
    let scale2: Tensor?
  }
  /// Class and storage tokens [prefix, dim].
  let prefix: Tensor
  let maskToken: Tensor
  let patchEmbedding: any PackedLinear
  let periods: [Float]
  let blocks: [Block]
  let norm: Norm
  let classNorm: Norm?
  let localClassNorm: Norm?
}

/// Reads parameters by official name and packs them for one device.
struct EncoderLoader {
  let configuration: EncoderConfiguration
  let source: any ParameterSource
  let device: any Device
  let precision: Precision
  private var dim: Int { configuration.embedDim }

  func load() throws(MedDINOError) -> EncoderWeights {
    let c = configuration
    let prefix = try Tensor([c.prefixTokens, dim], in: device.budget, "prefix tokens")
    try copy("cls_token", [1, 1, dim], to: prefix.rows(0..<1))
    if c.storageTokens > 0 { try copy("storage_tokens", [1, c.storageTokens, dim], to: prefix.rows(1..<c.prefixTokens)) }
    let maskToken = try tensor("mask_token", [1, dim])
    let p = c.patchSize
    let patch = try tensor("patch_embed.proj.weight", [dim, c.inputChannels, p, p])
    let embedding = try device.pack(
      weight: patch.reshaped([dim, c.inputChannels * p * p]), bias: try tensor("patch_embed.proj.bias", [dim]), precision: precision)
    var blocks: [EncoderWeights.Block] = []
    for index in 0..<c.depth { blocks.append(try block("blocks.\(index).")) }
    return EncoderWeights(
      prefix: prefix, maskToken: maskToken, patchEmbedding: embedding, periods: try periods(), blocks: blocks,
      norm: try norm("norm."),
      classNorm: c.untieClassAndPatchNorms ? try norm("cls_norm.") : nil,
      localClassNorm: c.untieGlobalAndLocalClassNorm ? try norm("local_cls_norm.") : nil)
  }

  private func tensor(_ name: String, _ shape: Shape) throws(MedDINOError) -> Tensor {
    try source.parameter(name, shape, in: device.budget)
  }
  private func copy(_ name: String, _ shape: Shape, to target: Tensor) throws(MedDINOError) {
    target.copy(from: try tensor(name, shape))
  }

  /// A stored periods buffer wins over the formula: trained models were trained with theirs.
  private func periods() throws(MedDINOError) -> [Float] {
    guard source.contains("rope_embed.periods") else { return RopeTables.periods(configuration) }
    let stored = try tensor("rope_embed.periods", [configuration.headDim / 4]).floatArray()
    guard stored.allSatisfy({ $0.isFinite && $0 != 0 }) else { throw .format("rope_embed.periods holds zero or a non-finite value") }
    return configuration.ropePrecision == .bfloat16 ? stored.map(roundedToBFloat16) : stored
  }

  private func norm(_ name: String) throws(MedDINOError) -> EncoderWeights.Norm {
    let hasBias = configuration.normalization == .layerNorm
    return .init(weight: try tensor(name + "weight", [dim]), bias: hasBias ? try tensor(name + "bias", [dim]) : nil)
  }

  private func linear(_ name: String, _ outputs: Int, _ inputs: Int, bias: Bool) throws(MedDINOError) -> any PackedLinear {
    let weight = try tensor(name + ".weight", [outputs, inputs])
    return try device.pack(weight: weight, bias: bias ? try tensor(name + ".bias", [outputs]) : nil, precision: precision)
  }

  private func block(_ name: String) throws(MedDINOError) -> EncoderWeights.Block {
    let c = configuration
    let feedForward: EncoderWeights.FeedForward
    switch c.feedForward {
    case .mlp:
      feedForward = .mlp(
        first: try linear(name + "mlp.fc1", c.hiddenDim, dim, bias: c.feedForwardBias),
        second: try linear(name + "mlp.fc2", dim, c.hiddenDim, bias: c.feedForwardBias))
    case .swiGLU:
      feedForward = .swiGLU(
        gate: try linear(name + "mlp.w1", c.hiddenDim, dim, bias: c.feedForwardBias),
        up: try linear(name + "mlp.w2", c.hiddenDim, dim, bias: c.feedForwardBias),
        down: try linear(name + "mlp.w3", dim, c.hiddenDim, bias: c.feedForwardBias))
    }
    let scaled = (c.layerScale ?? 0) != 0
    return EncoderWeights.Block(
      norm1: try norm(name + "norm1."), qkv: try qkv(name + "attn.qkv"),
      projection: try linear(name + "attn.proj", dim, dim, bias: c.projectionBias),
      scale1: scaled ? try tensor(name + "ls1.gamma", [dim]) : nil,
      norm2: try norm(name + "norm2."), feedForward: feedForward,
      scale2: scaled ? try tensor(name + "ls2.gamma", [dim]) : nil)
  }

  /// The bias that acts is bias * bias_mask; the mask comes from the file where it has one, else zeroes the k third.
  private func qkv(_ name: String) throws(MedDINOError) -> any PackedLinear {
    let weight = try tensor(name + ".weight", [3 * dim, dim])
    guard configuration.qkvBias else { return try device.pack(weight: weight, bias: nil, precision: precision) }
    let bias = try tensor(name + ".bias", [3 * dim])
    guard configuration.maskKeyBias else { return try device.pack(weight: weight, bias: bias, precision: precision) }
    let masked = try Tensor([3 * dim], in: device.budget, "masked qkv bias")
    let mask = source.contains(name + ".bias_mask") ? try tensor(name + ".bias_mask", [3 * dim]) : nil
    for i in 0..<3 * dim {
      let factor: Float = mask.map { $0.floats[i] } ?? (dim..<2 * dim ~= i ? 0 : 1)
      masked.floats[i] = bias.floats[i] * factor
    }
    return try device.pack(weight: weight, bias: masked, precision: precision)
  }
}
