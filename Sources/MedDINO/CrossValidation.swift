internal import FineTuning
public import Platform
internal import Segmentation
internal import WeightFiles

/// The validations of several folds taken together: one evaluation of all cases, the postprocessing that helps them, and the folds'
/// models as one ensemble.
///
/// Source: pipeline specification 11.1 (cross-validation), 11.3.
public struct CrossValidation: Sendable {
  public struct Options: Sendable {
    /// The prepared dataset; nil: where the runs found it.
    public var dataset: String?
    /// Leave out cases that no run has validated instead of refusing.
    public var allowsMissing = false
    /// Also NSD and HD95.
    public var measuresSurfaces = true
    public init() {}
  }
  /// In the order given.
  public let runs: [String]
  public let folds: [String]
  /// Of the predictions as they are.
  public let evaluation: Evaluation
  public let search: PostprocessingSearch
  /// Files of the models that were validated.
  public let models: [String]

  /// Gathers the label maps of every run's validation and evaluates them jointly.
  ///
  /// `runs`: folders of runs with whole-volume validations of one dataset. Into `output` go all label maps, `summary.json`, `metrics.csv`,
  /// `postprocessing.json` and the folder `postprocessed`; label maps of cases that are no longer part of it go.
  /// Throws: `.invalid` naming the run or case: no validation, two datasets, a fold or a case twice, a case that nobody validated, an
  /// output that is a run's or holds label maps of other cases; and what reading and comparing throw; `.cancelled`.
  public static func run(
    _ runs: [String], to output: String, options: Options = Options(), context: Context, control: RunControl = RunControl()
  ) throws(MedDINOError) -> CrossValidation {
    guard !runs.isEmpty else { throw .invalid("no run is given, expected the folder of each fold's run") }
    var records: [Record] = []
    for run in runs {
      let record = try Record(run)
      if let other = records.first(where: { $0.fold == record.fold }) {
        throw .invalid("\(run) is of fold \(record.fold), and so is \(other.run); expected each fold once")
      }
      if let first = records.first, options.dataset == nil, first.dataset != record.dataset {
        throw .invalid("\(run) was validated on \(record.dataset), \(first.run) on \(first.dataset); expected one dataset")
      }
      if let first = records.first, first.configuration != record.configuration {
        throw .invalid("\(run) has the configuration \(record.configuration), \(first.run) \(first.configuration); expected one")
      }
      records.append(record)
    }
    let prepared = try PreparedDataset(options.dataset ?? records[0].dataset)
    let pairs = try pairs(records, prepared, options)
    try clear(output, records, prepared, keeping: Set(pairs.map(\.name)))
    try control.begin("gather", from: 0, to: 0.05)
    let gathered = try CasePair.gather(pairs, into: output, control: control)
    var comparison = try EvaluationOptions(prepared.description)
    comparison.measuresSurfaces = options.measuresSurfaces
    let evaluation = try Evaluation.run(gathered, options: comparison, context: context, control: control.span(0.05, 0.6))
    try AtomicFile.write(Array(evaluation.summary.text(indent: 4).utf8), to: output + "/summary.json")
    try AtomicFile.write(Array(evaluation.metricsCSV.utf8), to: output + "/metrics.csv")
    let search = try PostprocessingSearch.run(
      gathered, options: comparison, output: output, context: context, control: control.span(0.6, 1))
    return CrossValidation(
      runs: runs, folds: records.map(\.fold), evaluation: evaluation, search: search, models: records.map { $0.run + "/" + $0.model })
  }

  /// The validated models as one, which carries the postprocessing that was found.
  /// Throws: `.shape` when plans, labels or networks differ, and what opening throws.
  public func ensemble(context: Context) throws(MedDINOError) -> Model {
    var members: [Model] = []
    for path in models { members.append(try Model.open(path, context: context)) }
    return try Model.combine(members).carrying(search.postprocessing)
  }

  /// Results among the files of a run would be taken for the run's own, and left label maps for ones of these folds.
  private static func clear(
    _ output: String, _ records: [Record], _ prepared: PreparedDataset, keeping names: Set<String>
  ) throws(MedDINOError) {
    if let record = records.first(where: { isSameFile(output, $0.run) }) {
      throw .invalid("output is \(output), the folder of a run (\(record.run)); expected a folder of its own")
    }
    for name in ["settings.json", FoldValidation.recordName] where FileKind.of(output + "/" + name) != .missing {
      throw .invalid("output is \(output), which holds the \(name) of a run; expected a folder of its own")
    }
    let ending = prepared.description.fileEnding
    let known = Set(try folderEntries(prepared.folder + "/" + PreparedDataset.groundTruthName))
    var old: [String] = []
    for folder in [output, output + "/postprocessed"] where FileKind.of(folder) == .directory {
      for name in try folderEntries(folder) where name.hasSuffix(ending) && !names.contains(name) {
        guard known.contains(name) else {
          throw .invalid("output holds \(folder)/\(name), no case of \(prepared.folder); expected a folder of its own")
        }
        old.append(folder + "/" + name)
      }
    }
    for path in old { try removeFile(path) }
  }

  private static func pairs(_ records: [Record], _ prepared: PreparedDataset, _ options: Options) throws(MedDINOError) -> [CasePair] {
    var home: [String: Record] = [:]
    for record in records {
      for identifier in record.cases {
        if let other = home[identifier] { throw .invalid("case \(identifier) was validated by \(other.run) and by \(record.run)") }
        home[identifier] = record
      }
    }
    let ending = prepared.description.fileEnding
    let known = try folderEntries(prepared.folder + "/" + PreparedDataset.groundTruthName).filter { $0.hasSuffix(ending) }
      .map { String($0.dropLast(ending.count)) }
    let missing = known.filter { home[$0] == nil }
    if !options.allowsMissing, let first = missing.first {
      throw .invalid(
        "case \(first)\(missing.count > 1 ? " and \(missing.count - 1) more" : "") of \(prepared.folder): no run has validated it; "
          + "the runs are of the folds \(records.map(\.fold).joined(separator: ", "))")
    }
    if let stranger = home.keys.filter({ !known.contains($0) }).sorted().first {
      throw .invalid("case \(stranger) was validated, \(prepared.folder) has no labels of it")
    }
    return known.compactMap { identifier in
      home[identifier].map {
        CasePair(
          name: identifier + ending, prediction: "\($0.run)/\(FoldValidation.folderName)/\(identifier)\(ending)",
          reference: prepared.groundTruth(identifier))
      }
    }
  }

  /// What a run's `validation.json` says.
  private struct Record {
    let run: String
    let dataset: String
    let configuration: String
    let fold: String
    let model: String
    let cases: [String]

    init(_ path: String) throws(MedDINOError) {
      var run = path
      while run.count > 1, run.hasSuffix("/") { run.removeLast() }
      let file = "\(run)/\(FoldValidation.folderName)/\(FoldValidation.recordName)"
      guard FileKind.of(file) == .regular else {
        throw .invalid(
          "\(run): no \(FoldValidation.folderName)/\(FoldValidation.recordName), the run's whole volumes have not been validated")
      }
      let json = try JSON.parse(InputFile.contents(file), source: file)
      func text(_ key: String) throws(MedDINOError) -> String {
        guard let value = json[key]?.stringValue else { throw .format("\(file): \(key) is missing") }
        return value
      }
      self.run = run
      (dataset, configuration, fold, model) = (try text("dataset"), try text("configuration"), try text("fold"), try text("model"))
      cases = (json["cases"]?.arrayValue ?? []).compactMap(\.stringValue)
      guard !cases.isEmpty, !model.contains("/"), cases.allSatisfy({ !$0.isEmpty && !$0.contains("/") }) else {
        throw .format("\(file): cases or model are no names")
      }
    }
  }
}
