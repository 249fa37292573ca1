public import Networks
public import Platform
internal import Tensors
public import WeightFiles

/// Settings as JSON, with the keys of the command line (`--batch-size` is `batch_size`).
extension FineTuningSettings {
  public var json: JSON {
    var object = recipe.json.objectValue ?? JSONObject()
    object["batch_size"] = batchSize.map(JSON.integer) ?? .null
    object["accumulate"] = .integer(accumulate)
    object["layer_decay"] = layerDecay.map(JSON.number) ?? .null
    object["augmentation"] = .bool(!augmentation.isNone)
    object["low_resolution"] = .bool(augmentation.lowResolution.isApplied)
    object["mirror"] = mirror.map(JSON.bool) ?? .null
    object["adapt"] = .string(adaptation.text)
    object["precision"] = .string(precision == .bfloat16 ? "bf16" : "f32")
    object["recompute"] = .bool(recompute)
    object["seed"] = .string(String(seed))
    object["workers"] = .integer(workers)
    object["save_every"] = .integer(saveEvery)
    object["patience"] = patience.map(JSON.integer) ?? .null
    object["time_budget"] = timeBudget.map(JSON.number) ?? .null
    object["feature_cache"] = .integer(featureCacheBytes)
    return .object(object)
  }

  /// Reads settings; keys that are left out have the recipe's values and the defaults.
  /// Throws: `.invalid` naming the key for unknown keys and wrong values.
  public init(_ json: JSON) throws(MedDINOError) {
    guard let object = json.objectValue else { throw .invalid("the settings are not a JSON object") }
    var reader = ConfigurationReader(object: object, what: "settings")
    self.init(recipe: try Recipe(&reader))
    var options = (batch: Int?.none, patience: Int?.none, mirror: Bool?.none)
    try reader.integer("batch_size") { options.batch = $0 }
    batchSize = options.batch
    try reader.integer("accumulate") { accumulate = $0 }
    layerDecay = try reader.number("layer_decay")
    try reader.flag("augmentation") { if !$0 { augmentation = .none } }
    try reader.flag("low_resolution") { augmentation.lowResolution.isApplied = $0 }
    try reader.flag("mirror") { options.mirror = $0 }
    mirror = options.mirror
    if let text = try reader.text("adapt") { adaptation = try Adaptation(text) }
    if let text = try reader.text("precision") {
      guard let named = Precision(named: text) else { throw .invalid("precision is \"\(text)\", expected f32 or bf16") }
      precision = named
    }
    try reader.flag("recompute") { recompute = $0 }
    if let value = reader.value("seed") {
      guard let number = value.stringValue.flatMap({ UInt64($0) }) ?? value.intValue.flatMap({ UInt64(exactly: $0) }) else {
        // JSON numbers of 2^63 and more are read as floating point, which no longer tells one from the next.
        throw .invalid("seed is \(value.text()), expected a whole number of 0 to 2^63 - 1, or one to 2^64 - 1 as text")
      }
      seed = number
    }
    try reader.integer("workers") { workers = $0 }
    try reader.integer("save_every") { saveEvery = $0 }
    try reader.integer("patience") { options.patience = $0 }
    patience = options.patience
    timeBudget = try reader.number("time_budget")
    if let value = reader.value("feature_cache") {
      guard let bytes = value.intValue ?? value.stringValue.flatMap(byteSize) else {
        throw .invalid("feature_cache is \(value.text()), expected bytes, or a size as \"20G\"")
      }
      featureCacheBytes = bytes
    }
    try reader.finish()
    try validate()
  }
}

extension Adaptation {
  /// "full", "frozen", "last:2", "lora:8", "lora:8:16" (rank and alpha), "decoder".
  public var text: String {
    switch self {
    case .full: "full"
    case .frozenEncoder: "frozen"
    case .lastBlocks(let count): "last:\(count)"
    case .lowRank(let rank, let alpha): "lora:\(rank):\(alpha)"
    case .decoderOnly: "decoder"
    }
  }

  /// Alpha is twice the rank where it is not given. Throws: `.invalid`.
  public init(_ text: String) throws(MedDINOError) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    switch (parts[0], parts.count) {
    case ("full", 1): self = .full
    case ("frozen", 1): self = .frozenEncoder
    case ("decoder", 1): self = .decoderOnly
    case ("last", 2):
      guard let count = Int(parts[1]) else { throw Self.unknown(text) }
      self = .lastBlocks(count)
    case ("lora", 2), ("lora", 3):
      guard let rank = Int(parts[1]), (1...65536).contains(rank), let alpha = parts.count == 3 ? Float(parts[2]) : Float(2 * rank) else {
        throw Self.unknown(text)
      }
      self = .lowRank(rank: rank, alpha: alpha)
    default: throw Self.unknown(text)
    }
  }
  private static func unknown(_ text: String) -> MedDINOError {
    .invalid("adapt is \"\(text)\", expected full, frozen, last:BLOCKS, lora:RANK, lora:RANK:ALPHA or decoder")
  }
}
