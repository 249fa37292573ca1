public import Platform

/// Everything that fixes the shape and the arithmetic of a DINOv3 vision transformer.
///
/// Defaults are MedDINOv3's ViT-B/16. Source: model specification 1.1, 1.11, 1.12.
public struct EncoderConfiguration: Equatable, Sendable {
  public enum FeedForward: Equatable, Sendable {
    /// fc1, exact GELU, fc2.
    case mlp
    /// w3(silu(w1 x) * w2 x); the hidden width is 2/3 of the ratio's, rounded up to a multiple of `alignment`.
    case swiGLU(alignment: Int)
  }
  public enum Normalization: String, Sendable {
    case layerNorm, rmsNorm
  }
  /// How patch coordinates are divided before they are mapped to [-1, 1].
  public enum CoordinateNormalization: String, Sendable {
    case separate, min, max
  }
  /// Arithmetic of the rotary position embedding. `bfloat16` rounds every elementary operation, as the official class default does.
  public enum RopePrecision: String, Sendable {
    case float32, bfloat16
  }
  public enum RopePeriods: Equatable, Sendable {
    case base(Double)
    case range(min: Double, max: Double)
  }

  public var patchSize = 16
  public var inputChannels = 3
  public var embedDim = 768
  public var depth = 12
  public var heads = 12
  public var feedForward = FeedForward.mlp
  /// Hidden width of the feed-forward layer.
  public var hiddenDim = 3072
  public var qkvBias = false
  public var projectionBias = true
  public var feedForwardBias = true
  /// The k third of the qkv bias is multiplied by zero. Without `qkvBias` it has no effect.
  public var maskKeyBias = true
  /// "Register" tokens between the class token and the patches.
  public var storageTokens = 4
  /// Initial value of the LayerScale vectors; nil: no LayerScale parameters at all.
  public var layerScale: Double? = 1e-5
  public var normalization = Normalization.layerNorm
  public var normEpsilon: Float = 1e-6
  public var untieClassAndPatchNorms = false
  public var untieGlobalAndLocalClassNorm = false
  public var ropePeriods = RopePeriods.base(100)
  public var coordinateNormalization = CoordinateNormalization.separate
  public var ropePrecision = RopePrecision.bfloat16
  /// Training only: coordinate augmentation, and the rate of stochastic depth.
  public var ropeShift: Double?
  public var ropeJitter: Double?
  public var ropeRescale: Double?
  public var dropPathRate = 0.0

  public init() {}

  public var headDim: Int { embedDim / heads }
  /// Tokens before the patches: the class token and the storage tokens.
  public var prefixTokens: Int { 1 + storageTokens }

  /// Hidden width from the official `ffn_ratio`. Source: model specification 1.7.
  public static func hiddenDim(embedDim: Int, ratio: Double, feedForward: FeedForward) -> Int {
    let wide = Int(Double(embedDim) * ratio)
    switch feedForward {
    case .mlp: return wide
    case .swiGLU(let alignment):
      let narrow = Int(Double(wide) * 2 / 3)
      return (narrow + alignment - 1) / alignment * alignment
    }
  }

  /// Throws: `.invalid` naming the field, for values no network can have (also guards every size computed from a file).
  public func validate() throws(MedDINOError) {
    func require(_ holds: Bool, _ text: @autoclosure () -> String) throws(MedDINOError) {
      if !holds { throw .invalid(text()) }
    }
    try require((1...256).contains(patchSize), "patch_size is \(patchSize), expected 1 to 256")
    try require((1...1024).contains(inputChannels), "in_chans is \(inputChannels), expected 1 to 1024")
    try require((4...65536).contains(embedDim), "embed_dim is \(embedDim), expected 4 to 65536")
    try require((1...1024).contains(depth), "depth is \(depth), expected 1 to 1024")
    try require((1...1024).contains(heads), "num_heads is \(heads), expected 1 to 1024")
    try require(embedDim % (4 * heads) == 0, "embed_dim \(embedDim) is not a multiple of 4 * num_heads = \(4 * heads)")
    try require(headDim <= 128, "embed_dim / num_heads is \(headDim), heads of at most 128 are supported")
    try require((1...(1 << 20)).contains(hiddenDim), "ffn_hidden (the feed-forward width) is \(hiddenDim), expected 1 to 1048576")
    try require((0...4096).contains(storageTokens), "n_storage_tokens is \(storageTokens), expected 0 to 4096")
    try require(normEpsilon > 0 && normEpsilon < 1, "norm_eps is \(normEpsilon), expected a value in (0, 1)")
    switch ropePeriods {
    case .base(let base): try require(base > 0 && base.isFinite, "pos_embed_rope_base is \(base), expected a positive number")
    case .range(let low, let high):
      try require(low > 0 && high > 0 && low.isFinite && high.isFinite, "rope periods \(low) to \(high), expected positive numbers")
    }
  }
}
