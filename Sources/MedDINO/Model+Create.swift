internal import Networks
public import Platform
internal import Segmentation
internal import WeightFiles

extension Model {
  /// A fresh network with random weights; the same text and seed give the same weights.
  ///
  /// The text is a JSON object: "encoder" (a preset name or an object with the official constructor's keys), and for a segmenter
  /// "taps", "plans" and "dataset" (nnU-Net's JSON), "configuration". Without "dataset" it is a backbone.
  /// Throws: `.invalid` naming the key.
  public static func create(_ text: String, seed: UInt64, context: Context) throws(MedDINOError) -> Model {
    let json = try JSON.parse(text, source: "config")
    guard let object = json.objectValue else { throw .invalid("config is not a JSON object") }
    var reader = ConfigurationReader(object: object, what: "config")
    let encoder = try encoderConfiguration(reader.value("encoder"))
    let chosenTaps = try reader.integers("taps")
    let taps = chosenTaps ?? Primus.Configuration.evenTaps(depth: encoder.depth)
    let (plans, dataset) = (reader.value("plans"), reader.value("dataset"))
    let configuration = try reader.text("configuration")
    let licence = try reader.text("licence") ?? "unspecified"
    try reader.finish()
    var task: Task?
    if let dataset {
      guard let plans else { throw .invalid("config has a dataset but no plans") }
      task = try ModelText.task(
        plans: plans.text(indent: 4), dataset: dataset.text(indent: 4), configuration: configuration, taps: taps, mirrorAxes: [0, 1],
        in: context.budget)
    } else if plans != nil {
      throw .invalid("config has plans but no dataset")
    } else if chosenTaps != nil {
      throw .invalid("config has taps but no dataset: a backbone has no decoder that takes them")
    }
    if let task {
      try Primus.Configuration(encoder: encoder, taps: task.taps, classes: task.scheme.heads.count).validate()
      let channels = task.configuration.normalization.count
      guard channels == 1 || channels == encoder.inputChannels else {
        throw .invalid("in_chans is \(encoder.inputChannels), the plan has \(channels) channels; expected the same number, or one channel")
      }
    }
    let provenance = JSON.object(("created", .string(randomWeights)), ("seed", .string(String(seed)))).text()
    let model = Model(
      context: context, encoder: encoder, task: task, labels: try ModelText.labels(task, stored: nil),
      metadata: ModelText.metadata(encoder, task, layout: "created", licence: licence, provenance: provenance),
      members: [InitialParameters(seed: seed, configuration: encoder)])
    try model.checkFit()
    return model
  }

  /// What a created model's provenance says of its weights.
  private static let randomWeights = "random weights"

  /// Whether the weights, or those of a member, are as `create` made them, by what the provenance says.
  public var hasRandomWeights: Bool {
    guard let text = metadata["provenance"], let origin = try? JSON.parse(text, source: "provenance") else { return false }
    return Self.isRandom(origin)
  }

  private static func isRandom(_ origin: JSON) -> Bool {
    origin["created"]?.stringValue == randomWeights || (origin["ensemble"]?.arrayValue ?? []).contains(where: isRandom)
  }

  private static func encoderConfiguration(_ json: JSON?) throws(MedDINOError) -> EncoderConfiguration {
    guard let json else { return EncoderConfiguration() }
    if let name = json.stringValue { return try EncoderConfiguration.preset(name) }
    return try EncoderConfiguration(json)
  }

  /// One model whose members are those of all `models`. Throws: `.invalid`, `.shape` when plans, labels or networks differ.
  public static func combine(_ models: [Model]) throws(MedDINOError) -> Model {
    guard let first = models.first else { throw .invalid("count is 0, at least one model expected") }
    for (index, other) in models.enumerated().dropFirst() {
      guard other.encoder == first.encoder, other.primusConfiguration == first.primusConfiguration else {
        throw .shape("models[\(index)] has another network than models[0]")
      }
      guard other.labels.map(\.value) == first.labels.map(\.value), other.task?.scheme == first.task?.scheme,
        other.task?.configuration == first.task?.configuration, other.task?.plan.transposeForward == first.task?.plan.transposeForward,
        other.task?.plan.intensityProperties == first.task?.plan.intensityProperties
      else { throw .shape("models[\(index)] has another plan or other labels than models[0]") }
    }
    return Model(
      context: first.context, encoder: first.encoder, task: first.task, labels: first.labels, metadata: metadata(of: models),
      members: models.flatMap(\.members))
  }

  /// What is true of all: every licence, where each member comes from, the postprocessing if they share it, and no checksum.
  private static func metadata(of models: [Model]) -> [String: String] {
    guard var result = models.first?.metadata, models.count > 1 else { return models.first?.metadata ?? [:] }
    var licences: [String] = []
    for model in models { if let licence = model.metadata["licence"], !licences.contains(licence) { licences.append(licence) } }
    result["licence"] = licences.joined(separator: "; ")
    let origins = models.map { model in
      let text = model.metadata["provenance"] ?? ""
      return (try? JSON.parse(text, source: "provenance")) ?? JSON.string(text)
    }
    result["provenance"] = JSON.object(("ensemble", .array(origins))).text()
    let kept = models.map { $0.metadata[postprocessingKey] }
    if kept.contains(where: { $0 != kept[0] }) { result[postprocessingKey] = nil }
    result["sha256"] = nil
    return result
  }
}
