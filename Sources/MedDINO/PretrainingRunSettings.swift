public import Platform
public import Pretraining
internal import WeightFiles

/// The stages of pretraining. Source: Siméoni et al., DINOv3, arXiv:2508.10104; model specification 6, 10.3.
public enum PretrainingStage: Int, Sendable, CaseIterable {
  /// Self-distillation.
  case distillation = 1
  /// Gram anchoring to an earlier teacher.
  case anchoring
  /// High resolution, with the anchor kept.
  case highResolution

  /// Where its settings start from.
  public var preset: String {
    switch self {
    case .distillation: "ct-base"
    case .anchoring: "ct-gram"
    case .highResolution: "ct-highres"
    }
  }
}

/// Settings of a run with what belongs to this machine: where to write.
public struct PretrainingRunSettings: Sendable {
  public var loop: PretrainingSettings
  /// Folder for checkpoints, metrics and exported teachers; nil: nothing is written.
  public var output: String?

  public init(_ loop: PretrainingSettings, output: String? = nil) {
    self.loop = loop
    self.output = output
  }

  /// From one JSON text with the keys of `meddino pretrain --print-config`, and "preset" and "output"; nil: the stage's preset.
  ///
  /// Throws: `.invalid` naming the key, also where the settings anchor nothing in a later stage or something in the first; `.format` for
  /// text that is no JSON.
  public init(_ text: String?, stage: PretrainingStage) throws(MedDINOError) {
    let json = try text.map { text throws(MedDINOError) in try JSON.parse(text, source: "settings_json") } ?? .object(JSONObject())
    guard var object = json.objectValue else { throw .invalid("settings_json is not a JSON object") }
    func take(_ key: String, _ what: String) throws(MedDINOError) -> String? {
      defer { object[key] = nil }
      guard let value = object[key], !value.isNull else { return nil }
      guard let text = value.stringValue, !text.isEmpty else { throw .invalid("\(key) is \(value.text()), expected \(what)") }
      return text
    }
    let preset = try take("preset", "one of \(PretrainingSettings.presetNames.joined(separator: ", "))")
    let output = try take("output", "a folder")
    self.init(try PretrainingSettings(preset: preset ?? stage.preset, .object(object)), output: output)
    guard (loop.losses.gram != nil) == (stage != .distillation) else {
      throw .invalid(
        stage == .distillation
          ? "gram.use_loss is true, expected false in the first stage of pretraining"
          : "gram.use_loss is false, expected true in stage \(stage.rawValue) of pretraining")
    }
  }
}
