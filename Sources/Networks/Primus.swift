public import Platform
public import Tensors

/// The segmentation network: encoder, the final norm on each tapped block, Primus decoder.
///
/// One tap (the last block) is the single-scale Primus; MedDINOv3 taps blocks 2, 5, 8, 11. Source: model specification 3.2, 3.3.
public final class Primus: Sendable {
  public struct Configuration: Equatable, Sendable {
    public var encoder: EncoderConfiguration
    /// Block indices; used in block order whatever their order here.
    public var taps: [Int]
    public var classes: Int
    public init(encoder: EncoderConfiguration = .init(), taps: [Int] = [2, 5, 8, 11], classes: Int) {
      self.encoder = encoder
      self.taps = taps
      self.classes = classes
    }

    public var decoder: DecoderConfiguration {
      .init(inputChannels: encoder.embedDim * taps.count, patchSize: encoder.patchSize, classes: classes)
    }

    /// Throws: `.invalid` naming the field.
    public func validate() throws(MedDINOError) {
      try encoder.validate()
      guard !taps.isEmpty, Set(taps).count == taps.count, taps.allSatisfy({ (0..<encoder.depth).contains($0) }) else {
        throw .invalid("taps (interaction_indices) are \(taps), expected distinct block numbers below \(encoder.depth)")
      }
      try decoder.validate()
    }
  }

  public let configuration: Configuration
  public let encoder: VisionTransformer
  public let decoder: PrimusDecoder
  static let encoderPrefix = "dino_encoder."

  /// Parameters are named as in nnU-Net checkpoints: `dino_encoder.*` and `up_projection.decode.*`.
  /// Throws: `.invalid`, `.format`, `.outOfMemory`.
  public init(
    _ configuration: Configuration, parameters: any ParameterSource, device: any Device, precision: Precision = .float32
  ) throws(MedDINOError) {
    try configuration.validate()
    self.configuration = configuration
    encoder = try VisionTransformer(
      configuration.encoder, parameters: PrefixedParameters(prefix: Self.encoderPrefix, base: parameters), device: device,
      precision: precision)
    decoder = try PrimusDecoder(
      configuration.decoder, taps: configuration.taps.count, parameters: parameters, device: device, precision: precision)
  }

  /// Logits [batch, classes, H / p * p, W / p * p] of images [batch, 1 or in_chans, H, W]. One channel is repeated to in_chans.
  /// Throws: `.shape`, `.outOfMemory`, `.cancelled`.
  public func logits(
    _ images: Tensor, device: any Device, workspace: Workspace, control: RunControl = RunControl()
  ) throws(MedDINOError) -> Tensor {
    let input = try repeated(images, workspace)
    let blocks = configuration.taps.sorted()
    var taps: [Tensor] = []
    // The encoder is most of the arithmetic; the decoder reports by groups of tokens.
    let encoderShare = 0.7
    let tokens = try encoder.tokens(
      input, blocks: Set(blocks), device: device, workspace: workspace, control: control, progressEnd: encoderShare)
    for block in blocks {
      guard let tap = tokens[block] else { continue }
      encoder.normalize(tap, device: device, into: tap)
      taps.append(tap)
    }
    let grid = encoder.grid(height: images.shape[2], width: images.shape[3])
    let p = configuration.encoder.patchSize
    let logits = try workspace.tensor("logits", [images.shape[0], configuration.classes, grid.rows * p, grid.columns * p])
    try decoder.decode(
      taps, prefixTokens: configuration.encoder.prefixTokens, rows: grid.rows, columns: grid.columns, into: logits, device: device,
      workspace: workspace, control: control, progress: encoderShare...1)
    return logits
  }

  private func repeated(_ images: Tensor, _ workspace: Workspace) throws(MedDINOError) -> Tensor {
    let channels = configuration.encoder.inputChannels
    guard images.shape.rank == 4, images.shape[1] == 1, channels != 1 else { return images }
    let plane = images.shape[2] * images.shape[3]
    let result = try workspace.tensor("repeated", [images.shape[0], channels, images.shape[2], images.shape[3]])
    for image in 0..<images.shape[0] {
      for channel in 0..<channels {
        let target = result.floats.baseAddress.map { $0 + (image * channels + channel) * plane }
        if let target, let source = images.floats.baseAddress { target.update(from: source + image * plane, count: plane) }
      }
    }
    return result
  }
}

/// Parameters under a name prefix.
struct PrefixedParameters: ParameterSource {
  let prefix: String
  let base: any ParameterSource
  func contains(_ name: String) -> Bool { base.contains(prefix + name) }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    try base.parameter(prefix + name, shape, in: budget)
  }
}
