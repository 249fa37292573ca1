internal import Platform
internal import WeightFiles

/// What configurations of the official code say that this library has no use for. Source: model specification 10.3, 13 (item 17).
enum OfficialSettings {
  /// A key that the settings do not have, and the values with which nothing is lost; nil: any.
  private struct Key {
    let path: String
    let neutral: [JSON]?
    init(_ path: String, _ neutral: [JSON]? = nil) { (self.path, self.neutral) = (path, neutral) }
  }
  private static let foreign = [
    Key("MODEL.META_ARCHITECTURE", [.string("SSLMetaArch")]), Key("MODEL.DEVICE"), Key("MODEL.WEIGHTS", [.string("")]), Key("MODEL.DTYPE"),
    Key("compute_precision"), Key("distillation.enabled", [.bool(false)]), Key("distillation"),
    Key("multidistillation.enabled", [.bool(false)]), Key("multidistillation"), Key("hrft.enabled", [.bool(false)]), Key("hrft"),
    Key("evaluation.low_freq_every"), Key("evaluation.config_files"), Key("train.fsdp_reshard_after_forward"),
    Key("train.cell_augmentation", [.bool(false)]), Key("train.cell_augmentation_type"), Key("student.patch_drop", [.integer(0)]),
  ]
  /// Keys of the settings that change nothing.
  private static let idle = [
    "student.ffn_ratio", "student.pos_embed_rope_dtype", "student.fp8_filter", "teacher.in_chans", "dino.head_norm_last_layer",
    "dino.koleo_distributed_replicas", "dino.koleo_distributed_loss_group_data", "dino.force_weight_norm",
    "ibot.force_masking_even_with_zero_weight", "ibot.head_norm_last_layer", "optim.dino_head_wd_multiplier", "optim.multi_tensor_optim",
    "optim.dump_fsdp_weights_path", "train.dataset_path", "train.data_config", "train.output_dir", "train.saveckp_freq",
    "train.monitor_gradient_norm", "train.compile", "train.cudagraphs", "train.sharded_eval_checkpoint", "train.cache_dataset",
  ]

  /// The document without the keys that the settings do not have. `unused` gets those that asked for something, and keys of the settings
  /// that change nothing where they differ from the official default.
  /// Throws: `.invalid` for a value that would make another run than this library's.
  static func stripped(_ document: JSON, template: JSON, unused: inout [String]) throws(MedDINOError) -> JSON {
    var document = document
    for key in foreign {
      guard let value = value(key.path, in: document) else { continue }
      if let neutral = key.neutral {
        let isNeutral = value.isNull || neutral.contains { $0 == value || ($0.doubleValue != nil && $0.doubleValue == value.doubleValue) }
        guard isNeutral else {
          throw .invalid("\(key.path) is \(value.text().prefix(60)), expected \(neutral.map { $0.text() }.joined(separator: " or "))")
        }
      } else if let section = value.objectValue {
        unused += section.keys.map { key.path + "." + $0 }
      } else {
        unused.append(key.path)
      }
      document = removing(key.path, from: document)
    }
    for path in idle {
      guard let value = value(path, in: document), let standard = self.value(path, in: template), value != standard else { continue }
      if let a = value.doubleValue, let b = standard.doubleValue, a == b { continue }
      unused.append(path)
    }
    return document
  }

  /// Throws `.invalid` for a value of another kind than the template's: true or false, a number (or several of them), a text, a list.
  static func checkKinds(_ document: JSON, template: JSON, path: String = "") throws(MedDINOError) {
    for entry in template.objectValue?.entries ?? [] {
      guard let value = document[entry.key], !value.isNull else { continue }
      let place = path.isEmpty ? entry.key : path + "." + entry.key
      let expected: String?
      switch entry.value {
      case .object:
        try checkKinds(value, template: entry.value, path: place)
        continue
      case .bool: expected = value.boolValue == nil ? "true or false" : nil
      case .integer, .number: expected = (value.arrayValue ?? [value]).allSatisfy { $0.doubleValue != nil } ? nil : "a number"
      case .string: expected = value.stringValue == nil ? "a text" : nil
      case .array: expected = value.arrayValue == nil && value.doubleValue == nil ? "a list" : nil
      case .null: expected = nil
      }
      if let expected { throw .invalid("\(place) is \(value.text().prefix(60)), expected \(expected)") }
    }
  }

  private static func value(_ path: String, in document: JSON) -> JSON? {
    var at: JSON? = document
    for key in path.split(separator: ".") { at = at?[String(key)] }
    return at
  }

  /// A section that becomes empty and is none of the settings' goes too.
  private static func removing(_ path: String, from document: JSON) -> JSON {
    guard var object = document.objectValue else { return document }
    let parts = path.split(separator: ".").map(String.init)
    guard parts.count == 2, var section = object[parts[0]]?.objectValue else {
      object[parts[0]] = nil
      return .object(object)
    }
    section[parts[1]] = nil
    object[parts[0]] = section.entries.isEmpty ? nil : .object(section)
    return .object(object)
  }
}
