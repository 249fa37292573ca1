internal import Platform
internal import Tensors

/// One forward pass: the residual stream and the buffers around it.
struct EncoderRun {
  private let network: VisionTransformer
  private let device: any Device
  private let workspace: Workspace
  private let control: RunControl
  private let batch: Int
  private let rows: Int
  private let columns: Int
  private let stream: Tensor
  private let fixedRope: RopeTable
  private var configuration: EncoderConfiguration { network.configuration }
  private var count: Int { configuration.prefixTokens + rows * columns }
  private var dim: Int { configuration.embedDim }
  /// What a linear layer reads: rounded once, where the norm writes it.
  private var inputType: DType { network.precision == .bfloat16 ? .bfloat16 : .float32 }

  init(_ network: VisionTransformer, _ images: Tensor, device: any Device, workspace: Workspace, control: RunControl) throws(MedDINOError) {
    let c = network.configuration
    guard images.shape.rank == 4, images.shape[1] == c.inputChannels else {
      throw .shape("images have shape \(images.shape), expected [batch, \(c.inputChannels), height, width]")
    }
    let grid = network.grid(height: images.shape[2], width: images.shape[3])
    guard grid.rows > 0, grid.columns > 0, images.shape[0] > 0 else {
      throw .shape("images have shape \(images.shape), at least one \(c.patchSize) × \(c.patchSize) patch expected")
    }
    self.network = network
    self.device = device
    self.workspace = workspace
    self.control = control
    (batch, rows, columns) = (images.shape[0], grid.rows, grid.columns)
    stream = try workspace.tensor("stream", [batch, c.prefixTokens + grid.rows * grid.columns, c.embedDim])
    fixedRope = try workspace.ropeTable(owner: network, rows: grid.rows, columns: grid.columns) { () throws(MedDINOError) in
      try RopeTables.make(
        rows: grid.rows, columns: grid.columns, periods: network.weights.periods, configuration: network.configuration, in: device.budget)
    }
  }

  func embed(_ images: Tensor, mask: Tensor?) throws(MedDINOError) {
    let p = configuration.patchSize
    let patches = try workspace.tensor("patches", [batch * rows * columns, configuration.inputChannels * p * p])
    device.gatherPatches(images, size: p, into: patches)
    let embedded = try workspace.tensor("embedded", [batch * rows * columns, dim])
    try device.linear(patches, network.weights.patchEmbedding, into: embedded, .none)
    if let mask, mask.shape != [batch, rows * columns] {
      throw .shape("masks have shape \(mask.shape), expected [\(batch), \(rows * columns)]")
    }
    device.assembleTokens(
      prefix: network.weights.prefix, patches: embedded, mask: mask, maskToken: network.weights.maskToken, into: stream)
  }

  func block(_ index: Int, draws: VisionTransformer.TrainingDraws?) throws(MedDINOError) {
    let block = network.weights.blocks[index]
    let rope =
      try draws?.rope(index).map { (augmentation) throws(MedDINOError) in
        try RopeTables.make(
          rows: rows, columns: columns, periods: network.weights.periods, configuration: configuration, augmentation: augmentation,
          in: device.budget)
      } ?? fixedRope
    try branch(draws?.kept(index, 0), gamma: block.scale1) { (input, output, epilogue) throws(MedDINOError) in
      try attention(block, input, rope, into: output, epilogue)
    }
    try branch(draws?.kept(index, 1), gamma: block.scale2) { (input, output, epilogue) throws(MedDINOError) in
      try feedForward(block, input, into: output, epilogue)
    }
  }

  /// stream += gamma * body(stream), on all images or, with stochastic depth, on the kept ones with a larger factor.
  private func branch(
    _ kept: (indices: [Int], scale: Float)?, gamma: Tensor?,
    _ body: (_ input: Tensor, _ output: Tensor, _ epilogue: LinearEpilogue) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    guard let kept else { return try body(stream, stream, .residual(gamma: gamma)) }
    guard kept.indices.allSatisfy({ (0..<batch).contains($0) }) else { throw .invalid("stochastic depth keeps an image outside the batch") }
    let shape: Shape = [kept.indices.count, count, dim]
    let input = try workspace.tensor("kept", shape)
    let output = try workspace.tensor("kept branch", shape)
    device.gatherImages(stream, kept.indices, into: input)
    try body(input, output, .none)
    device.scatterResidual(output, kept.indices, scale: kept.scale, gamma: gamma, onto: stream)
  }

  private func attention(
    _ block: EncoderWeights.Block, _ input: Tensor, _ rope: RopeTable, into output: Tensor, _ epilogue: LinearEpilogue
  ) throws(MedDINOError) {
    let normed = try workspace.tensor("normed", input.shape, inputType)
    network.apply(block.norm1, input, device, into: normed)
    let qkv = try workspace.tensor("wide", [input.shape[0], count, 3 * dim])
    try device.linear(normed, block.qkv, into: qkv, .none)
    let mixed = try workspace.tensor("mixed", input.shape)
    try device.attention(
      qkv, heads: configuration.heads, prefixTokens: configuration.prefixTokens, rope: rope, precision: network.precision, into: mixed,
      workspace: workspace, control: control)
    try device.linear(mixed, block.projection, into: output, epilogue)
  }

  private func feedForward(
    _ block: EncoderWeights.Block, _ input: Tensor, into output: Tensor, _ epilogue: LinearEpilogue
  ) throws(MedDINOError) {
    let normed = try workspace.tensor("normed", input.shape, inputType)
    network.apply(block.norm2, input, device, into: normed)
    let shape: Shape = [input.shape[0], count, configuration.hiddenDim]
    switch block.feedForward {
    case .mlp(let first, let second):
      let hidden = try workspace.tensor("wide", shape, inputType)
      try device.linear(normed, first, into: hidden, .gelu)
      try device.linear(hidden, second, into: output, epilogue)
    case .swiGLU(let gate, let up, let down):
      let gated = try workspace.tensor("wide", shape)
      let lifted = try workspace.tensor("wide 2", shape)
      try device.linear(normed, gate, into: gated, .none)
      try device.linear(normed, up, into: lifted, .none)
      device.swiGLU(gate: gated, up: lifted, into: gated)
      try device.linear(gated, down, into: output, epilogue)
    }
  }

  /// A copy of the residual stream as it stands.
  func snapshot(_ name: String) throws(MedDINOError) -> Tensor {
    let copy = try Tensor(stream.shape, in: device.budget, name)
    device.gatherImages(stream, Array(0..<batch), into: copy)
    return copy
  }
}
