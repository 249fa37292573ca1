internal import Platform
internal import Tensors

/// The encoder's parameters where the forward uses them.
struct TrainableEncoderLayers {
  struct Norm {
    let weight: Parameter
    let bias: Parameter?
    func variables(_ configuration: EncoderConfiguration, _ tape: Tape) -> NormVariables {
      NormVariables(
        configuration.normalization == .layerNorm ? .layerNorm : .rmsNorm, weight: tape.variable(weight), bias: bias.map(tape.variable),
        epsilon: configuration.normEpsilon)
    }
  }
  indirect enum FeedForward {
    case mlp(first: TrainableLinear, second: TrainableLinear)
    case swiGLU(gate: TrainableLinear, up: TrainableLinear, down: TrainableLinear)
  }
  struct Block {
    let norm1: Norm
    let qkv: TrainableLinear
    let projection: TrainableLinear
    let scale1: Parameter?
    let norm2: Norm
    let feedForward: FeedForward
    let scale2: Parameter?
  }
  let classToken: Parameter
  let storageTokens: Parameter?
  let maskToken: Parameter
  let patchEmbedding: TrainableLinear
  let periods: [Float]
  let blocks: [Block]
  let norm: Norm
  let classNorm: Norm?
  let localClassNorm: Norm?

  /// Every linear layer of the blocks.
  var linears: [TrainableLinear] {
    blocks.flatMap { block in
      switch block.feedForward {
      case .mlp(let first, let second): [block.qkv, block.projection, first, second]
      case .swiGLU(let gate, let up, let down): [block.qkv, block.projection, gate, up, down]
      }
    }
  }
}

/// Makes the parameters of an encoder in the order of its state dict.
struct TrainableEncoderLoader {
  let configuration: EncoderConfiguration
  let adaptation: Adaptation
  let seed: UInt64
  let device: any TrainingDevice
  let prefix: String
  let reader: ParameterReader
  let parameters: TrainableParameters
  private var byName: [String: Parameter] = [:]
  private var factors: [String: LowRankFactors] = [:]
  private var buffers: [String: Tensor] = [:]

  init(
    configuration: EncoderConfiguration, adaptation: Adaptation, seed: UInt64, device: any TrainingDevice, prefix: String,
    reader: ParameterReader, parameters: TrainableParameters
  ) {
    self.configuration = configuration
    self.adaptation = adaptation
    self.seed = seed
    self.device = device
    self.prefix = prefix
    self.reader = reader
    self.parameters = parameters
  }

  mutating func load() throws(MedDINOError) -> TrainableEncoderLayers {
    for spec in configuration.parameters {
      if spec.isBuffer {
        let buffer = try buffer(spec)
        buffers[spec.name] = buffer
        parameters.addState(prefix + spec.name, buffer)
      } else {
        try addParameter(spec)
      }
    }
    var blocks: [TrainableEncoderLayers.Block] = []
    for index in 0..<configuration.depth { blocks.append(try block("blocks.\(index).")) }
    return TrainableEncoderLayers(
      classToken: try parameter("cls_token"), storageTokens: byName["storage_tokens"], maskToken: try parameter("mask_token"),
      patchEmbedding: try linear("patch_embed.proj"), periods: buffers["rope_embed.periods"]?.floatArray() ?? [], blocks: blocks,
      norm: try norm("norm"), classNorm: configuration.untieClassAndPatchNorms ? try norm("cls_norm") : nil,
      localClassNorm: configuration.untieGlobalAndLocalClassNorm ? try norm("local_cls_norm") : nil)
  }

  private mutating func addParameter(_ spec: ParameterSpec) throws(MedDINOError) {
    let trains = adaptation.trains(spec.name, depth: configuration.depth)
    let parameter = Parameter(prefix + spec.name, try reader.tensor(spec.name, spec.shape), isTrainable: trains)
    byName[spec.name] = parameter
    parameters.add(parameter)
    parameters.addState(parameter.name, parameter.value)
    guard case .lowRank(let rank, let alpha) = adaptation, spec.name.hasPrefix("blocks."), spec.shape.rank == 2 else { return }
    let layer = String(spec.name.dropLast(".weight".count))
    let made = try LowRankFactors(
      prefix + layer, outputs: spec.shape[0], inputs: spec.shape[1], rank: rank, alpha: alpha, seed: seed, in: device.budget)
    factors[layer] = made
    parameters.add(made.down)
    parameters.add(made.up)
  }

  /// Stored buffers win over what the configuration says. Source: model specification 1.3, 1.6.
  private func buffer(_ spec: ParameterSpec) throws(MedDINOError) -> Tensor {
    let tensor: Tensor
    if reader.contains(spec.name) {
      tensor = try reader.tensor(spec.name, spec.shape)
    } else if spec.name.hasSuffix("periods") {
      tensor = try Tensor(RopeTables.periods(configuration), spec.shape, in: device.budget, spec.name)
    } else {
      let third = configuration.embedDim
      tensor = try Tensor((0..<3 * third).map { third..<2 * third ~= $0 ? 0 : 1 }, spec.shape, in: device.budget, spec.name)
    }
    let values = tensor.floats
    if spec.name.hasSuffix("periods") {
      guard values.allSatisfy({ $0.isFinite && $0 != 0 }) else {
        throw .format("\(prefix + spec.name) holds zero or a non-finite value")
      }
      if configuration.ropePrecision == .bfloat16 { for index in values.indices { values[index] = roundedToBFloat16(values[index]) } }
    }
    return tensor
  }

  private func parameter(_ name: String) throws(MedDINOError) -> Parameter {
    guard let parameter = byName[name] else { throw .format("parameter \(prefix + name) is missing") }
    return parameter
  }
  private func norm(_ name: String) throws(MedDINOError) -> TrainableEncoderLayers.Norm {
    .init(weight: try parameter(name + ".weight"), bias: byName[name + ".bias"])
  }
  private func linear(_ name: String) throws(MedDINOError) -> TrainableLinear {
    TrainableLinear(
      weight: try parameter(name + ".weight"), bias: byName[name + ".bias"], biasMask: buffers[name + ".bias_mask"],
      factors: factors[name])
  }

  private func block(_ name: String) throws(MedDINOError) -> TrainableEncoderLayers.Block {
    let feedForward: TrainableEncoderLayers.FeedForward
    switch configuration.feedForward {
    case .mlp: feedForward = .mlp(first: try linear(name + "mlp.fc1"), second: try linear(name + "mlp.fc2"))
    case .swiGLU:
      feedForward = .swiGLU(gate: try linear(name + "mlp.w1"), up: try linear(name + "mlp.w2"), down: try linear(name + "mlp.w3"))
    }
    return .init(
      norm1: try norm(name + "norm1"), qkv: try linear(name + "attn.qkv"), projection: try linear(name + "attn.proj"),
      scale1: byName[name + "ls1.gamma"], norm2: try norm(name + "norm2"), feedForward: feedForward, scale2: byName[name + "ls2.gamma"])
  }
}
