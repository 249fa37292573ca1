public import FineTuning
internal import Networks
public import Platform
internal import WeightFiles

/// Makes a raw dataset in nnU-Net's layout ready for training: check, fingerprint, plans, splits, preprocessing.
public enum DatasetPreparation {
  public typealias Options = DatasetPlanning.Options
  public typealias Report = DatasetPlanning.Report

  /// `dataset`: the raw dataset's folder; `output`: the folder that gets a folder of the same name.
  ///
  /// Problems of the dataset are in the report, and then nothing was written. What an earlier run left and is still valid is kept.
  /// Throws: `.invalid` for options, `.io`, `.format`, `.unsupported`, `.outOfMemory`, `.cancelled`.
  public static func run(
    _ dataset: String, to output: String, options: Options = Options(), context: Context, maxBytes: Int? = nil,
    control: RunControl = RunControl()
  ) throws(MedDINOError) -> Report {
    let budget = MemoryBudget(limit: maxBytes, parent: context.budget)
    let report = try DatasetPlanning.run(dataset, to: output, options: options, pool: context.pool, in: budget, control: control)
    for problem in report.problems { context.log(.error, problem.description) }
    for warning in report.warnings { context.log(.warning, warning) }
    return report
  }

  /// The folder of a dataset given by path, or by number or name in `folder`.
  ///
  /// `variable`: where `folder` comes from, for the message when it is nil. `others`: folders that a number is looked up in as well
  /// (preprocessed, results). Throws: `.invalid` when there is none or several.
  public static func locate(
    _ reference: String, in folder: String?, named variable: String, others: [String] = []
  ) throws(MedDINOError) -> String {
    if FileKind.of(reference) == .directory { return reference }
    guard let folder else {
      throw .invalid("dataset \"\(reference)\": no such folder, and \(variable) is not set, in which a number or name is looked up")
    }
    return try RawDataset.locate(reference, raw: folder, others: others)
  }
}

extension DatasetPlanning.Options {
  /// From one JSON text; nil: the defaults. Keys: upscale (a size or null), configuration (a name or a list), gpu_memory_target (GB),
  /// preprocess, verify_only, jobs. Throws: `.invalid` naming the key, `.format` for text that is no JSON.
  public init(_ text: String?) throws(MedDINOError) {
    self.init()
    guard let text else { return }
    guard let object = try JSON.parse(text, source: "settings_json").objectValue else {
      throw .invalid("settings_json is not a JSON object")
    }
    var reader = ConfigurationReader(object: object, what: "settings")
    var size: Int?
    try reader.integer("upscale") { size = $0 }
    upscale = size
    if let value = reader.value("configuration") {
      let names = value.stringValue.map { [$0] } ?? value.arrayValue?.compactMap(\.stringValue) ?? []
      guard !names.isEmpty, value.stringValue != nil || value.arrayValue?.count == names.count else {
        throw .invalid("configuration is \(value.text()), expected a name or a list of names")
      }
      configurations = names
    }
    if let target = try reader.number("gpu_memory_target") {
      guard target > 0, target.isFinite else { throw .invalid("gpu_memory_target is \(target), expected gigabytes above 0") }
      gpuGigabytes = target
    }
    try reader.flag("preprocess") { preprocess = $0 }
    try reader.flag("verify_only") { verifyOnly = $0 }
    try reader.integer("jobs") { jobs = $0 }
    try reader.finish()
  }
}
