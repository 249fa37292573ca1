public import Platform
public import WeightFiles

/// A configuration as JSON with the official constructor's names; what a model file and `meddino init` use.
extension EncoderConfiguration {
  public var json: JSON {
    var object = JSONObject([
      ("patch_size", .integer(patchSize)), ("in_chans", .integer(inputChannels)), ("embed_dim", .integer(embedDim)),
      ("depth", .integer(depth)), ("num_heads", .integer(heads)), ("ffn_layer", .string(feedForwardName)),
      ("ffn_hidden", .integer(hiddenDim)), ("qkv_bias", .bool(qkvBias)), ("proj_bias", .bool(projectionBias)),
      ("ffn_bias", .bool(feedForwardBias)), ("mask_k_bias", .bool(maskKeyBias)), ("n_storage_tokens", .integer(storageTokens)),
      ("layerscale_init", layerScale.map { .number($0) } ?? .null),
      ("norm_layer", .string(normalization == .rmsNorm ? "rmsnorm" : "layernorm")),
      ("norm_eps", .number(Double("\(normEpsilon)") ?? Double(normEpsilon))),
      ("untie_cls_and_patch_norms", .bool(untieClassAndPatchNorms)),
      ("untie_global_and_local_cls_norm", .bool(untieGlobalAndLocalClassNorm)),
    ])
    switch ropePeriods {
    case .base(let base): object["pos_embed_rope_base"] = .number(base)
    case .range(let low, let high):
      object["pos_embed_rope_min_period"] = .number(low)
      object["pos_embed_rope_max_period"] = .number(high)
    }
    object["pos_embed_rope_normalize_coords"] = .string(coordinateNormalization.rawValue)
    object["pos_embed_rope_dtype"] = .string(ropePrecision == .bfloat16 ? "bf16" : "fp32")
    return .object(object)
  }

  private var feedForwardName: String {
    switch feedForward {
    case .mlp: "mlp"
    case .swiGLU(let alignment): alignment == 8 ? "swiglu" : "swiglu\(alignment)"
    }
  }

  /// Reads a configuration; keys that are left out keep MedDINOv3's values.
  /// Throws: `.invalid` naming the key for unknown keys and wrong values.
  public init(_ json: JSON) throws(MedDINOError) {
    self.init()
    guard let object = json.objectValue else { throw .invalid("the encoder configuration is not a JSON object") }
    var reader = ConfigurationReader(object: object, what: "encoder")
    try reader.integer("patch_size") { patchSize = $0 }
    try reader.integer("in_chans") { inputChannels = $0 }
    try reader.integer("embed_dim") { embedDim = $0 }
    try reader.integer("depth") { depth = $0 }
    try reader.integer("num_heads") { heads = $0 }
    if let name = try reader.text("ffn_layer") { feedForward = try Self.feedForward(named: name) }
    hiddenDim = Self.hiddenDim(embedDim: min(max(embedDim, 0), 65536), ratio: 4, feedForward: feedForward)
    if let ratio = try reader.number("ffn_ratio") {
      guard ratio > 0, ratio <= 64 else { throw .invalid("ffn_ratio is \(ratio), expected a value above 0 and at most 64") }
      hiddenDim = Self.hiddenDim(embedDim: min(max(embedDim, 0), 65536), ratio: ratio, feedForward: feedForward)
    }
    try reader.integer("ffn_hidden") { hiddenDim = $0 }
    try reader.flag("qkv_bias") { qkvBias = $0 }
    try reader.flag("proj_bias") { projectionBias = $0 }
    try reader.flag("ffn_bias") { feedForwardBias = $0 }
    try reader.flag("mask_k_bias") { maskKeyBias = $0 }
    try reader.integer("n_storage_tokens") { storageTokens = $0 }
    if object["layerscale_init"] != nil { layerScale = try reader.number("layerscale_init") }
    if let name = try reader.text("norm_layer") {
      guard ["layernorm", "layernormbf16", "rmsnorm"].contains(name) else {
        throw .invalid("norm_layer is \"\(name)\", expected layernorm, layernormbf16 or rmsnorm")
      }
      normalization = name == "rmsnorm" ? .rmsNorm : .layerNorm
      normEpsilon = name == "layernorm" ? 1e-6 : 1e-5
    }
    if let epsilon = try reader.number("norm_eps") { normEpsilon = Float(epsilon) }
    try reader.flag("untie_cls_and_patch_norms") { untieClassAndPatchNorms = $0 }
    try reader.flag("untie_global_and_local_cls_norm") { untieGlobalAndLocalClassNorm = $0 }
    try readRope(&reader)
    try reader.finish()
    try validate()
  }

  private mutating func readRope(_ reader: inout ConfigurationReader) throws(MedDINOError) {
    let base = try reader.number("pos_embed_rope_base")
    let low = try reader.number("pos_embed_rope_min_period")
    let high = try reader.number("pos_embed_rope_max_period")
    switch (base, low, high) {
    case (nil, nil, nil): break
    case (let base?, nil, nil): ropePeriods = .base(base)
    case (nil, let low?, let high?): ropePeriods = .range(min: low, max: high)
    default: throw .invalid("give either pos_embed_rope_base or both pos_embed_rope_min_period and pos_embed_rope_max_period")
    }
    if let name = try reader.text("pos_embed_rope_normalize_coords") {
      guard let mode = CoordinateNormalization(rawValue: name) else {
        throw .invalid("pos_embed_rope_normalize_coords is \"\(name)\", expected separate, min or max")
      }
      coordinateNormalization = mode
    }
    if let name = try reader.text("pos_embed_rope_dtype") {
      guard ["bf16", "fp32"].contains(name) else { throw .invalid("pos_embed_rope_dtype is \"\(name)\", expected bf16 or fp32") }
      ropePrecision = name == "bf16" ? .bfloat16 : .float32
    }
  }

  /// Throws: `.invalid`.
  public static func feedForward(named name: String) throws(MedDINOError) -> FeedForward {
    switch name {
    case "mlp": return .mlp
    case "swiglu": return .swiGLU(alignment: 8)
    case "swiglu32": return .swiGLU(alignment: 32)
    case "swiglu64": return .swiGLU(alignment: 64)
    case "swiglu128": return .swiGLU(alignment: 128)
    default: throw .invalid("ffn_layer is \"\(name)\", expected mlp, swiglu, swiglu32, swiglu64 or swiglu128")
    }
  }
}

/// Reads the keys of a configuration object and notices those that nobody asked for.
public struct ConfigurationReader {
  private let object: JSONObject
  private let what: String
  private var seen: Set<String> = []
  public init(object: JSONObject, what: String) {
    self.object = object
    self.what = what
  }

  /// The value of a key; nil when it is absent or null.
  public mutating func value(_ key: String) -> JSON? {
    seen.insert(key)
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }
  public mutating func number(_ key: String) throws(MedDINOError) -> Double? {
    guard let value = value(key) else { return nil }
    guard let number = value.doubleValue else { throw .invalid("\(key) is \(value.text()), expected a number") }
    return number
  }
  public mutating func text(_ key: String) throws(MedDINOError) -> String? {
    guard let value = value(key) else { return nil }
    guard let text = value.stringValue else { throw .invalid("\(key) is \(value.text()), expected a text") }
    return text
  }
  public mutating func integer(_ key: String, _ store: (Int) -> Void) throws(MedDINOError) {
    guard let value = value(key) else { return }
    guard let number = value.intValue else { throw .invalid("\(key) is \(value.text()), expected a whole number") }
    store(number)
  }
  public mutating func flag(_ key: String, _ store: (Bool) -> Void) throws(MedDINOError) {
    guard let value = value(key) else { return }
    guard let flag = value.boolValue else { throw .invalid("\(key) is \(value.text()), expected true or false") }
    store(flag)
  }
  public mutating func integers(_ key: String) throws(MedDINOError) -> [Int]? {
    guard let value = value(key) else { return nil }
    let numbers = value.arrayValue?.compactMap(\.intValue) ?? []
    guard let list = value.arrayValue, list.count == numbers.count else {
      throw .invalid("\(key) is \(value.text()), expected whole numbers")
    }
    return numbers
  }
  /// Throws: `.invalid` listing keys that were not asked for.
  public func finish() throws(MedDINOError) {
    let unknown = object.keys.filter { !seen.contains($0) }
    guard unknown.isEmpty else { throw .invalid("unknown \(what) key \(unknown.map { "\"\($0)\"" }.joined(separator: ", "))") }
  }
}
