public import Networks
public import Platform
public import WeightFiles

/// A recipe as JSON, with the keys of the command line (`--decoder-lr` is `decoder_lr`).
extension Recipe {
  public var json: JSON {
    .object(
      ("recipe", .string(name)), ("encoder", encoder.json), ("drop_path", .number(encoder.dropPathRate)), ("taps", .integers(taps)),
      ("backbone_loading", .string(backboneLoading.rawValue)), ("patch", patch.map(JSON.integer) ?? .null),
      ("decoder_lr", .number(decoderRate)), ("encoder_lr", .number(encoderRate)), ("weight_decay", .number(weightDecay)),
      ("betas", .numbers([beta1, beta2])), ("adam_epsilon", .number(epsilon)), ("clip", .number(clip)),
      ("warmup_epochs", .integer(warmupEpochs)), ("epochs", .integer(epochs)), ("iterations", .integer(iterations)),
      ("validation_iterations", .integer(validationIterations)), ("oversample", .number(oversampling)))
  }

  /// Reads a recipe: the one that `recipe` names (MedDINOv3's without it), changed by the other keys.
  /// Throws: `.invalid` naming the key for unknown keys and wrong values.
  public init(_ json: JSON) throws(MedDINOError) {
    guard let object = json.objectValue else { throw .invalid("the recipe is not a JSON object") }
    var reader = ConfigurationReader(object: object, what: "recipe")
    try self.init(&reader)
    try reader.finish()
  }

  /// The same from an object that holds other settings too; the caller finishes the reader.
  public init(_ reader: inout ConfigurationReader) throws(MedDINOError) {
    self = try Self.preset(try reader.text("recipe") ?? "meddinov3")
    let isMultiScale = taps.count > 1
    let depth = encoder.depth
    if let value = reader.value("encoder") { encoder = try Self.encoder(value, over: encoder) }
    if let rate = try reader.number("drop_path") { encoder.dropPathRate = rate }
    if let blocks = try reader.integers("taps") {
      taps = blocks
    } else if encoder.depth != depth {
      taps = isMultiScale ? Primus.Configuration.evenTaps(depth: encoder.depth) : [encoder.depth - 1]
    }
    if let text = try reader.text("backbone_loading") {
      guard let loading = BackboneLoading(rawValue: text) else {
        let names = BackboneLoading.allCases.map(\.rawValue).joined(separator: ", ")
        throw .invalid("backbone_loading is \"\(text)\", expected one of \(names)")
      }
      backboneLoading = loading
    }
    try reader.integer("patch") { patch = $0 }
    decoderRate = try reader.number("decoder_lr") ?? decoderRate
    encoderRate = try reader.number("encoder_lr") ?? encoderRate
    weightDecay = try reader.number("weight_decay") ?? weightDecay
    if let value = reader.value("betas") {
      let pair = value.arrayValue?.compactMap(\.doubleValue) ?? []
      guard pair.count == 2, value.arrayValue?.count == 2 else { throw .invalid("betas is \(value.text()), expected two numbers") }
      (beta1, beta2) = (pair[0], pair[1])
    }
    epsilon = try reader.number("adam_epsilon") ?? epsilon
    clip = try reader.number("clip") ?? clip
    try reader.integer("warmup_epochs") { warmupEpochs = $0 }
    try reader.integer("epochs") { epochs = $0 }
    try reader.integer("iterations") { iterations = $0 }
    try reader.integer("validation_iterations") { validationIterations = $0 }
    oversampling = try reader.number("oversample") ?? oversampling
    try validate()
  }

  /// An encoder by preset name, or the recipe's with some keys changed. What follows from a changed key (the hidden width, the epsilon)
  /// follows again unless it is given too.
  private static func encoder(_ value: JSON, over base: EncoderConfiguration) throws(MedDINOError) -> EncoderConfiguration {
    var result: EncoderConfiguration
    if let name = value.stringValue {
      result = try EncoderConfiguration.preset(name)
    } else {
      guard let given = value.objectValue, var merged = base.json.objectValue else {
        throw .invalid("encoder is \(value.text()), expected an object or the name of a preset")
      }
      let derived = [
        "ffn_hidden": ["embed_dim", "ffn_layer", "ffn_ratio"], "norm_eps": ["norm_layer"],
        "pos_embed_rope_base": ["pos_embed_rope_min_period", "pos_embed_rope_max_period"],
      ]
      for (key, causes) in derived where causes.contains(where: { given[$0] != nil }) { merged[key] = nil }
      for (key, value) in given.entries { merged[key] = value }
      result = try EncoderConfiguration(.object(merged))
    }
    result.dropPathRate = base.dropPathRate
    return result
  }
}
