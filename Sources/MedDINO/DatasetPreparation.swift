public import FineTuning
public import Platform

/// Makes a raw dataset in nnU-Net's layout ready for training: check, fingerprint, plans, splits, preprocessing.
public enum DatasetPreparation {
  public typealias Options = DatasetPlanning.Options
  public typealias Report = DatasetPlanning.Report

  /// `dataset`: the raw dataset's folder; `output`: the folder that gets a folder of the same name.
  ///
  /// Problems of the dataset are in the report, and then nothing was written. What an earlier run left and is still valid is kept.
  /// Throws: `.invalid` for options, `.io`, `.format`, `.unsupported`, `.outOfMemory`, `.cancelled`.
  public static func run(
    _ dataset: String, to output: String, options: Options = Options(), context: Context, control: RunControl = RunControl()
  ) throws(MedDINOError) -> Report {
    let report = try DatasetPlanning.run(dataset, to: output, options: options, pool: context.pool, in: context.budget, control: control)
    for problem in report.problems { context.log(.error, problem.description) }
    for warning in report.warnings { context.log(.warning, warning) }
    return report
  }

  /// The folder of a dataset given by path, or by number or name under `raw`.
  ///
  /// `others`: folders that a number is looked up in as well (preprocessed, results). Throws: `.invalid` when there is none or several.
  public static func locate(_ reference: String, raw: String? = nil, others: [String] = []) throws(MedDINOError) -> String {
    if FileKind.of(reference) == .directory { return reference }
    guard let raw else { throw .invalid("dataset \"\(reference)\": no such folder, and no folder of raw datasets to look it up in") }
    return try RawDataset.locate(reference, raw: raw, others: others)
  }
}
