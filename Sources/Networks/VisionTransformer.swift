public import Platform
public import Tensors

/// The DINOv3 vision transformer: patch embedding, class and storage tokens, rotary attention blocks, final norm.
///
/// Immutable after it is made, so threads may share it; each run brings its own workspace. Source: model specification 1.
public final class VisionTransformer: Sendable {
  public let configuration: EncoderConfiguration
  public let precision: Precision
  let weights: EncoderWeights

  /// Loads and packs the parameters. Throws: `.invalid` for a configuration no network can have, `.format` for missing or
  /// misshapen parameters, `.outOfMemory`.
  public init(
    _ configuration: EncoderConfiguration, parameters: any ParameterSource, device: any Device, precision: Precision = .float32
  ) throws(MedDINOError) {
    try configuration.validate()
    self.configuration = configuration
    self.precision = precision
    weights = try EncoderLoader(configuration: configuration, source: parameters, device: device, precision: precision).load()
  }

  /// Patch rows and columns of an input; surplus pixels at the bottom and right are dropped.
  public func grid(height: Int, width: Int) -> (rows: Int, columns: Int) {
    (height / configuration.patchSize, width / configuration.patchSize)
  }

  /// Which random choices a training forward makes; inference makes none.
  public struct TrainingDraws {
    /// Per block and branch (0 attention, 1 feed-forward): the images kept, and the factor of their residual. nil keeps all.
    public var kept: (_ block: Int, _ branch: Int) -> (indices: [Int], scale: Float)?
    /// Coordinate augmentation, drawn anew for every block.
    public var rope: (_ block: Int) -> RopeAugmentation?
    /// The second entry of a crop list uses `local_cls_norm` where the model has it.
    public var isLocalCrop: Bool
    public init(
      kept: @escaping (Int, Int) -> (indices: [Int], scale: Float)? = { _, _ in nil },
      rope: @escaping (Int) -> RopeAugmentation? = { _ in nil }, isLocalCrop: Bool = false
    ) {
      self.kept = kept
      self.rope = rope
      self.isLocalCrop = isLocalCrop
    }
  }

  /// Token tensors [batch, prefix + patches, dim] after each block of `blocks` (in block order), before the final norm.
  /// Shapes: images [batch, channels, H, W]; mask [batch, patches] uint8 or nil.
  /// Progress is reported before every block, up to `progressEnd` of the control's current part.
  /// Throws: `.shape`, `.outOfMemory`, `.cancelled`. The results live in memory of their own, not in the workspace.
  public func tokens(
    _ images: Tensor, mask: Tensor? = nil, blocks: Set<Int>, draws: TrainingDraws? = nil, device: any Device, workspace: Workspace,
    control: RunControl = RunControl(), progressEnd: Double = 1
  ) throws(MedDINOError) -> [Int: Tensor] {
    let run = try EncoderRun(self, images, device: device, workspace: workspace, control: control)
    try run.embed(images, mask: mask)
    var results: [Int: Tensor] = [:]
    let last = blocks.max() ?? -1
    guard last < configuration.depth else { throw .invalid("block \(last) asked for, the network has \(configuration.depth)") }
    for index in 0...max(last, 0) where last >= 0 {
      try control.update(progressEnd * Double(index) / Double(last + 1))
      try run.block(index, draws: draws)
      if blocks.contains(index) { results[index] = try run.snapshot("block \(index)") }
    }
    return results
  }

  /// The final norm on every token; with untied norms the prefix has its own. Source: model specification 1.8.
  /// `draws`: a training forward, where the second crop group uses `local_cls_norm`. Output may be the input.
  public func normalize(_ tokens: Tensor, draws: TrainingDraws? = nil, device: any Device, into output: Tensor) {
    var prefixNorm: EncoderWeights.Norm?
    if let local = weights.localClassNorm, draws?.isLocalCrop == true {
      prefixNorm = local
    } else {
      prefixNorm = weights.classNorm
    }
    guard let prefixNorm else { return apply(weights.norm, tokens, device, into: output) }
    let prefix = configuration.prefixTokens
    for image in 0..<tokens.shape[0] {
      let (source, target) = (imageTokens(tokens, image), imageTokens(output, image))
      apply(prefixNorm, source.rows(0..<prefix), device, into: target.rows(0..<prefix))
      apply(weights.norm, source.rows(prefix..<source.shape[0]), device, into: target.rows(prefix..<source.shape[0]))
    }
  }

  private func imageTokens(_ tokens: Tensor, _ image: Int) -> Tensor {
    tokens.rows(image..<image + 1).reshaped([tokens.shape[1], tokens.shape[2]])
  }

  func apply(_ norm: EncoderWeights.Norm, _ input: Tensor, _ device: any Device, into output: Tensor) {
    switch configuration.normalization {
    case .layerNorm:
      device.layerNorm(input, weight: norm.weight, bias: norm.bias, epsilon: configuration.normEpsilon, into: output)
    case .rmsNorm:
      device.rmsNorm(input, weight: norm.weight, epsilon: configuration.normEpsilon, into: output)
    }
  }
}
