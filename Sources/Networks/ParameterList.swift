public import Tensors

/// One tensor of a network's state dict.
public struct ParameterSpec: Equatable, Sendable {
  public let name: String
  public let shape: Shape
  /// Not learned: follows from the configuration, but is part of a checkpoint.
  public let isBuffer: Bool
  public init(_ name: String, _ shape: Shape, isBuffer: Bool = false) {
    self.name = name
    self.shape = shape
    self.isBuffer = isBuffer
  }
}

extension EncoderConfiguration {
  /// The encoder's state dict in official order. Source: model specification 1.10.
  public var parameters: [ParameterSpec] {
    let d = embedDim
    var list: [ParameterSpec] = [.init("cls_token", [1, 1, d])]
    if storageTokens > 0 { list.append(.init("storage_tokens", [1, storageTokens, d])) }
    list.append(.init("mask_token", [1, d]))
    list.append(.init("patch_embed.proj.weight", [d, inputChannels, patchSize, patchSize]))
    list.append(.init("patch_embed.proj.bias", [d]))
    list.append(.init("rope_embed.periods", [headDim / 4], isBuffer: true))
    for index in 0..<depth { list += block("blocks.\(index).") }
    list += norm("norm.")
    if untieClassAndPatchNorms { list += norm("cls_norm.") }
    if untieGlobalAndLocalClassNorm { list += norm("local_cls_norm.") }
    return list
  }

  /// Learned values; buffers do not count.
  public var parameterCount: Int { parameters.reduce(0) { $0 + ($1.isBuffer ? 0 : $1.shape.count) } }

  private func norm(_ name: String) -> [ParameterSpec] {
    let weight = ParameterSpec(name + "weight", [embedDim])
    return normalization == .layerNorm ? [weight, .init(name + "bias", [embedDim])] : [weight]
  }

  private func linear(_ name: String, _ outputs: Int, _ inputs: Int, bias: Bool) -> [ParameterSpec] {
    let weight = ParameterSpec(name + ".weight", [outputs, inputs])
    return bias ? [weight, .init(name + ".bias", [outputs])] : [weight]
  }

  private func block(_ name: String) -> [ParameterSpec] {
    let d = embedDim
    let scaled = (layerScale ?? 0) != 0
    var list = norm(name + "norm1.") + linear(name + "attn.qkv", 3 * d, d, bias: qkvBias)
    if qkvBias, maskKeyBias { list.append(.init(name + "attn.qkv.bias_mask", [3 * d], isBuffer: true)) }
    list += linear(name + "attn.proj", d, d, bias: projectionBias)
    if scaled { list.append(.init(name + "ls1.gamma", [d])) }
    list += norm(name + "norm2.")
    switch feedForward {
    case .mlp:
      list += linear(name + "mlp.fc1", hiddenDim, d, bias: feedForwardBias) + linear(name + "mlp.fc2", d, hiddenDim, bias: feedForwardBias)
    case .swiGLU:
      list += linear(name + "mlp.w1", hiddenDim, d, bias: feedForwardBias) + linear(name + "mlp.w2", hiddenDim, d, bias: feedForwardBias)
      list += linear(name + "mlp.w3", d, hiddenDim, bias: feedForwardBias)
    }
    if scaled { list.append(.init(name + "ls2.gamma", [d])) }
    return list
  }
}

extension DecoderConfiguration {
  /// The decoder's state dict, `up_projection.decode.*`. Source: model specification 3.1.
  public var parameters: [ParameterSpec] {
    var list: [ParameterSpec] = []
    for stage in 0..<stages {
      let (inputs, outputs) = (channels[stage], channels[stage + 1])
      let name = "up_projection.decode.\(stage)."
      list += [
        .init(name + "0.weight", [inputs, outputs, 2, 2]), .init(name + "0.bias", [outputs]), .init(name + "1.weight", [outputs]),
        .init(name + "1.bias", [outputs]),
      ]
    }
    let name = "up_projection.decode.\(stages)."
    return list + [.init(name + "weight", [classes, channels[stages], 1, 1]), .init(name + "bias", [classes])]
  }
}
