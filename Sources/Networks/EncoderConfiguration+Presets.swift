public import Platform

extension EncoderConfiguration {
  /// Released DINOv3 networks, the factory functions of the official model file, and MedDINOv3's.
  public static let presetNames = factories.map(\.name) + released.map(\.name) + ["meddinov3_vitb16"]

  /// A configuration by name. Source: model specification 1.11, 1.12. Throws: `.invalid` listing the names.
  public static func preset(_ name: String) throws(MedDINOError) -> EncoderConfiguration {
    if name == "meddinov3_vitb16" { return EncoderConfiguration() }
    if let entry = factories.first(where: { $0.name == name }) { return factory(entry) }
    if let entry = released.first(where: { $0.name == name }) { return hub(entry) }
    throw .invalid("encoder preset is \"\(name)\", expected one of \(presetNames.joined(separator: ", "))")
  }

  private struct Size {
    let name: String
    let dim: Int
    let depth: Int
    let heads: Int
    let ratio: Double
    var feedForward = FeedForward.mlp
    var qkvBias = true
  }
  private static let factories: [Size] = [
    .init(name: "vit_small", dim: 384, depth: 12, heads: 6, ratio: 4), .init(name: "vit_base", dim: 768, depth: 12, heads: 12, ratio: 4),
    .init(name: "vit_large", dim: 1024, depth: 24, heads: 16, ratio: 4),
    .init(name: "vit_so400m", dim: 1152, depth: 27, heads: 18, ratio: 3.777777778),
    .init(name: "vit_huge2", dim: 1280, depth: 32, heads: 20, ratio: 4),
    .init(name: "vit_giant2", dim: 1536, depth: 40, heads: 24, ratio: 4), .init(name: "vit_7b", dim: 4096, depth: 40, heads: 32, ratio: 3),
  ]
  private static let released: [Size] = [
    .init(name: "dinov3_vits16", dim: 384, depth: 12, heads: 6, ratio: 4),
    .init(name: "dinov3_vits16plus", dim: 384, depth: 12, heads: 6, ratio: 6, feedForward: .swiGLU(alignment: 8)),
    .init(name: "dinov3_vitb16", dim: 768, depth: 12, heads: 12, ratio: 4),
    .init(name: "dinov3_vitl16", dim: 1024, depth: 24, heads: 16, ratio: 4),
    .init(name: "dinov3_vitl16plus", dim: 1024, depth: 24, heads: 16, ratio: 6, feedForward: .swiGLU(alignment: 8)),
    .init(name: "dinov3_vith16plus", dim: 1280, depth: 32, heads: 20, ratio: 6, feedForward: .swiGLU(alignment: 8)),
    .init(name: "dinov3_vit7b16", dim: 4096, depth: 40, heads: 32, ratio: 3, feedForward: .swiGLU(alignment: 64), qkvBias: false),
  ]

  private static func sized(_ size: Size) -> EncoderConfiguration {
    var c = EncoderConfiguration()
    (c.embedDim, c.depth, c.heads) = (size.dim, size.depth, size.heads)
    c.feedForward = size.feedForward
    c.hiddenDim = hiddenDim(embedDim: size.dim, ratio: size.ratio, feedForward: size.feedForward)
    c.qkvBias = size.qkvBias
    return c
  }
  /// The factory functions fix only the size; everything else is the class default.
  private static func factory(_ size: Size) -> EncoderConfiguration {
    var c = sized(size)
    (c.maskKeyBias, c.storageTokens, c.layerScale) = (false, 0, nil)
    return c
  }
  /// Four storage tokens, masked k bias, LayerScale 1e-5, epsilon 1e-5, float32 RoPE.
  private static func hub(_ size: Size) -> EncoderConfiguration {
    var c = sized(size)
    c.normEpsilon = 1e-5
    c.ropePrecision = .float32
    c.untieGlobalAndLocalClassNorm = size.name == "dinov3_vit7b16"
    return c
  }
}
