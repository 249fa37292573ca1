public import Platform
import Tensors
import WeightFiles

/// What a caller knows better than the defaults of a checkpoint's layout. Nil leaves the default.
public struct EncoderOverrides: Equatable, Sendable {
  public var heads: Int?
  public var normEpsilon: Float?
  public var ropePrecision: EncoderConfiguration.RopePrecision?
  /// Only where the checkpoint stores no periods.
  public var ropePeriods: EncoderConfiguration.RopePeriods?
  public var coordinateNormalization: EncoderConfiguration.CoordinateNormalization?
  public var maskKeyBias: Bool?
  public init() {}
}

extension EncoderConfiguration {
  /// The configuration that a checkpoint's names and shapes imply; what they do not say comes from its layout.
  ///
  /// MedDINOv3 and nnU-Net checkpoints get epsilon 1e-6 and bfloat16 RoPE, the released DINOv3 models 1e-5 and float32.
  /// Heads follow from the stored periods, else from config.json, else 64 channels per head (128 for the 7B).
  /// What an export of pretraining says of itself in its metadata wins over these defaults and must fit the shapes.
  /// Throws: `.format` when the shapes contradict each other, `.unsupported` for an activation that is not known.
  /// Source: model specification 1.10 to 1.12, 2.
  public init(inferredFrom contents: CheckpointContents, _ overrides: EncoderOverrides = .init()) throws(MedDINOError) {
    self.init()
    let label = contents.label
    guard let token = contents.entry("cls_token")?.shape, token.rank == 3, let patch = contents.entry("patch_embed.proj.weight")?.shape,
      patch.rank == 4, patch[2] == patch[3]
    else { throw .format("\(label): cls_token or patch_embed.proj.weight is missing or misshapen") }
    embedDim = token[2]
    inputChannels = patch[1]
    patchSize = patch[2]
    storageTokens = contents.entry("storage_tokens").map { $0.shape.rank == 3 ? $0.shape[1] : 0 } ?? 0
    depth = try Self.depth(contents)
    try inferBlocks(contents)
    untieClassAndPatchNorms = contents.entry("cls_norm.weight") != nil
    untieGlobalAndLocalClassNorm = contents.entry("local_cls_norm.weight") != nil
    if contents.entry("norm.weight") != nil, contents.entry("norm.bias") == nil { normalization = .rmsNorm }
    try applyDefaults(contents)
    if let declared = contents.declared { try take(declared, label) }
    if let given = overrides.heads { heads = given } else if contents.declared == nil { heads = try inferHeads(contents) }
    apply(overrides)
    do throws(MedDINOError) { try validate() } catch { throw MedDINOError(.format, "\(label): \(error.message)") }
  }

  private static func depth(_ contents: CheckpointContents) throws(MedDINOError) -> Int {
    var last = -1
    for entry in contents.encoder where entry.name.hasPrefix("blocks.") {
      guard let digits = entry.name.split(separator: ".").dropFirst().first, let index = Int(digits), (0..<1024).contains(index) else {
        throw .format("\(contents.label): \(entry.name) is no parameter of a block")
      }
      last = max(last, index)
    }
    return last + 1
  }

  private mutating func inferBlocks(_ contents: CheckpointContents) throws(MedDINOError) {
    func has(_ name: String) -> Bool { contents.entry("blocks.0." + name) != nil }
    qkvBias = has("attn.qkv.bias")
    maskKeyBias = !qkvBias || has("attn.qkv.bias_mask")
    projectionBias = has("attn.proj.bias")
    layerScale = has("ls1.gamma") ? 1e-5 : nil
    let isGated = has("mlp.w1.weight")
    let first = isGated ? "mlp.w1" : "mlp.fc1"
    guard let weight = contents.entry("blocks.0.\(first).weight")?.shape, weight.rank == 2 else {
      throw .format("\(contents.label): blocks.0.\(first).weight is missing or misshapen")
    }
    feedForward = isGated ? .swiGLU(alignment: embedDim == 4096 ? 64 : 8) : .mlp
    feedForwardBias = has(first + ".bias")
    hiddenDim = weight[0]
  }

  private mutating func applyDefaults(_ contents: CheckpointContents) throws(MedDINOError) {
    switch contents.layout {
    case .teacher, .nnUNet: (normEpsilon, ropePrecision) = (1e-6, .bfloat16)
    case .official, .huggingFace, .timm: (normEpsilon, ropePrecision) = (1e-5, .float32)
    }
    if normalization == .rmsNorm { normEpsilon = 1e-5 }
    guard contents.layout == .huggingFace, let configuration = contents.configuration else { return }
    if let epsilon = configuration["layer_norm_eps"]?.doubleValue { normEpsilon = Float(epsilon) }
    if let base = (configuration["rope_theta"] ?? configuration["rope_parameters"]?["rope_theta"])?.doubleValue {
      ropePeriods = .base(base)
    }
    let activation = configuration["hidden_act"]?.stringValue
    if let activation, activation != (feedForward == .mlp ? "gelu" : "silu") {
      throw .unsupported("\(contents.label): config.json asks for the activation \"\(activation)\"")
    }
  }

  /// What shapes do not tell, from a configuration that came with the weights.
  private mutating func take(_ declared: EncoderConfiguration, _ label: String) throws(MedDINOError) {
    let shapes: [(String, Int, Int)] = [
      ("embed_dim", declared.embedDim, embedDim), ("depth", declared.depth, depth), ("patch_size", declared.patchSize, patchSize),
      ("in_chans", declared.inputChannels, inputChannels), ("n_storage_tokens", declared.storageTokens, storageTokens),
      ("ffn_hidden", declared.hiddenDim, hiddenDim),
    ]
    if let (key, said, found) = shapes.first(where: { $0.1 != $0.2 }) {
      throw .format("\(label): metadata \"architecture\" says \(key) \(said), the tensors have \(found)")
    }
    (heads, normEpsilon, ropePrecision) = (declared.heads, declared.normEpsilon, declared.ropePrecision)
    (ropePeriods, coordinateNormalization) = (declared.ropePeriods, declared.coordinateNormalization)
  }

  private func inferHeads(_ contents: CheckpointContents) throws(MedDINOError) -> Int {
    if let periods = contents.entry("rope_embed.periods")?.shape {
      guard periods.rank == 1, (1...65536).contains(periods[0]), embedDim % (4 * periods[0]) == 0 else {
        throw .format("\(contents.label): \(periods) RoPE periods do not divide the width \(embedDim)")
      }
      return embedDim / (4 * periods[0])
    }
    if contents.layout == .huggingFace, let heads = contents.configuration?["num_attention_heads"]?.intValue { return heads }
    let headDim = embedDim == 4096 ? 128 : 64
    guard embedDim % headDim == 0 else {
      throw .format("\(contents.label): the number of heads is not in the file; give it (width \(embedDim))")
    }
    return embedDim / headDim
  }

  private mutating func apply(_ overrides: EncoderOverrides) {
    if let value = overrides.normEpsilon { normEpsilon = value }
    if let value = overrides.ropePrecision { ropePrecision = value }
    if let value = overrides.ropePeriods { ropePeriods = value }
    if let value = overrides.coordinateNormalization { coordinateNormalization = value }
    if let value = overrides.maskKeyBias { maskKeyBias = value }
  }
}

extension Primus.Configuration {
  /// The segmentation network of an nnU-Net checkpoint.
  ///
  /// The file does not say which blocks are tapped: they are taken evenly spaced up to the last (2, 5, 8, 11 of MedDINOv3's 12).
  /// Throws: `.format` when there is no decoder or its shapes do not fit the encoder.
  public init(inferredFrom contents: CheckpointContents, _ overrides: EncoderOverrides = .init(), taps: [Int]? = nil) throws(MedDINOError) {
    let encoder = try EncoderConfiguration(inferredFrom: contents, overrides)
    var shapes: [String: Shape] = [:]
    for entry in contents.decoder { shapes[entry.name] = entry.shape }
    guard let first = shapes[DecoderLoader.prefix + "0.0.weight"], first.rank == 4 else {
      throw .format("\(contents.label): no decoder (up_projection.decode.*): this is a backbone")
    }
    let stages = encoder.patchSize.trailingZeroBitCount
    guard let last = shapes[DecoderLoader.prefix + "\(stages).weight"], last.rank == 4 else {
      throw .format("\(contents.label): the decoder does not have the \(stages) stages of patch size \(encoder.patchSize)")
    }
    let (taken, rest) = first[0].quotientAndRemainder(dividingBy: encoder.embedDim)
    guard taken > 0, rest == 0, taps != nil || encoder.depth % taken == 0 else {
      throw .format("\(contents.label): a decoder of \(first[0]) channels does not follow an encoder of width \(encoder.embedDim)")
    }
    guard taps == nil || taps?.count == taken else {
      throw .invalid("interaction_indices has \(taps?.count ?? 0) entries, the decoder of \(contents.label) takes \(taken)")
    }
    self.init(encoder: encoder, taps: taps ?? (1...taken).map { encoder.depth / taken * $0 - 1 }, classes: last[0])
    do throws(MedDINOError) { try validate() } catch { throw MedDINOError(.format, "\(contents.label): \(error.message)") }
  }
}
