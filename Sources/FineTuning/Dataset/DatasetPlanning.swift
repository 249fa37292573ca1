public import Platform
public import Tensors
internal import WeightFiles

/// From a raw dataset to one that can be trained on: integrity check, fingerprint, plans, splits, preprocessing.
///
/// Source: pipeline specification 1.5, 2 to 5.
public struct DatasetPlanning: Sendable {
  public struct Options: Sendable {
    /// Adds "2d_<size>": patches of size × size pixels with the field of view of "2d". A multiple of 16.
    public var upscale: Int?
    /// Configurations to preprocess; empty: the upscaled one when there is one, else "2d".
    public var configurations: [String] = []
    public var gpuGigabytes = 8.0
    /// Only checks the dataset and writes nothing.
    public var verifyOnly = false
    public var preprocess = true
    /// Cases in memory at once; 0 chooses by threads and memory.
    public var jobs = 0
    /// Foreground intensities drawn for the fingerprint. Other numbers than nnU-Net's change the plans a little.
    public var samples = 100_000_000
    public init() {}
  }
  public struct Report: Sendable {
    /// Empty after a check alone.
    public var folder = ""
    public var cases = 0
    /// When not empty nothing was written.
    public var problems: [DatasetProblem] = []
    public var warnings: [String] = []
    /// All of the plans, as names.
    public var configurations: [String] = []
    public var preprocessed: [(configuration: String, result: DatasetPreprocessing.Result)] = []
  }
  private let dataset: RawDataset
  private let options: Options
  private let pool: ThreadPool
  private let budget: MemoryBudget

  private init(_ dataset: RawDataset, _ options: Options, _ pool: ThreadPool, _ budget: MemoryBudget) {
    self.dataset = dataset
    self.options = options
    self.pool = pool
    self.budget = budget
  }

  /// `output`: the folder that gets a folder named as the dataset.
  ///
  /// A dataset with problems is no error here: the report lists them (`Report.requireNoProblems`).
  /// Throws: `.invalid` for options, `.io`, `.format`, `.unsupported`, `.outOfMemory`, `.cancelled`.
  public static func run(
    _ dataset: String, to output: String, options: Options, pool: ThreadPool, in budget: MemoryBudget, control: RunControl = RunControl()
  ) throws(MedDINOError) -> Report {
    if let size = options.upscale { try PlansDocument.checkUpscaled(size) }
    guard (0...1024).contains(options.jobs) else { throw .invalid("jobs is \(options.jobs), expected 0 (auto) to 1024") }
    let raw = try RawDataset(dataset)
    return try DatasetPlanning(raw, options, pool, budget).run(to: output, control)
  }

  private func run(to output: String, _ control: RunControl) throws(MedDINOError) -> Report {
    var report = Report()
    report.cases = dataset.cases.count
    let folder = (output.isEmpty ? "." : output) + "/" + dataset.name
    // Before the long look at the images, which a broken file would make in vain.
    for place in [folder, dataset.folder] where FileKind.of(place + "/" + PreparedDataset.splitsName) == .regular {
      _ = try DatasetSplits(file: place + "/" + PreparedDataset.splitsName)
    }
    let share = options.verifyOnly || !options.preprocess ? 1.0 : 0.4
    let (fingerprint, survey) = try fingerprint(folder, control.span(0, share), &report)
    guard let fingerprint, survey else { return report }
    report.folder = folder
    try makeFolder(folder)
    try AtomicFile.write(dataset.descriptionText, to: folder + "/" + PreparedDataset.descriptionName)
    try Self.write(.object(("folder", .string(try absolutePath(dataset.folder)))), folder + "/" + PreparedDataset.rawName)
    let chosen = try plan(fingerprint, folder, &report)
    try splits(folder)
    try copyLabels(folder, control)
    guard options.preprocess else { return report }
    let prepared = try PreparedDataset(folder)
    for (index, name) in chosen.enumerated() {
      let step = (1 - share) / Double(chosen.count)
      let begin = share + step * Double(index)
      let stage = control.span(begin, begin + step)
      try stage.begin("preprocessing \(name)", from: 0, to: 1)
      let result = try DatasetPreprocessing(dataset, prepared, configuration: name)
        .run(jobs: options.jobs, pool: pool, in: budget, control: stage)
      report.warnings += result.warnings
      report.preprocessed.append((name, result))
    }
    return report
  }

  /// The fingerprint, from an earlier run over the very same files where there is one.
  private func fingerprint(_ folder: String, _ control: RunControl, _ report: inout Report) throws(MedDINOError)
    -> (DatasetFingerprint?, Bool)
  {
    let path = folder + "/" + PreparedDataset.fingerprintName
    let statePath = folder + "/dataset_survey.json"
    let stamp = sourceStamp()
    if !options.verifyOnly, let stamp, let known = earlier(path, statePath, stamp) {
      report.warnings += known.warnings
      return (known.fingerprint, true)
    }
    var surveying = DatasetSurvey.Options()
    surveying.wantsFingerprint = !options.verifyOnly
    surveying.jobs = options.jobs
    surveying.samples = options.samples
    let survey = try DatasetSurvey(dataset, options: surveying, pool: pool, in: budget, control: control)
    report.problems = survey.problems
    report.warnings += survey.warnings
    guard let fingerprint = survey.fingerprint, survey.problems.isEmpty else { return (nil, false) }
    try makeFolder(folder)
    try Self.write(fingerprint.json, path)
    if let stamp {
      let text = (try? InputFile.contents(path)).map { hash(String(decoding: $0, as: UTF8.self)) } ?? ""
      let state = JSON.object(
        ("source", .string(stamp)), ("fingerprint", .string(text)), ("warnings", .array(survey.warnings.map(JSON.string))))
      try Self.write(state, statePath)
    }
    return (fingerprint, true)
  }

  private func earlier(_ path: String, _ statePath: String, _ stamp: String) -> (fingerprint: DatasetFingerprint, warnings: [String])? {
    guard FileKind.of(statePath) == .regular, let bytes = try? InputFile.contents(path), let text = try? InputFile.contents(statePath),
      let state = try? JSON.parse(text, source: statePath), state["source"]?.stringValue == stamp,
      state["fingerprint"]?.stringValue == hash(String(decoding: bytes, as: UTF8.self)),
      let fingerprint = try? DatasetFingerprint(file: path)
    else { return nil }
    return (fingerprint, (state["warnings"]?.arrayValue ?? []).compactMap(\.stringValue))
  }

  /// Changes when any file of the dataset does; nil when one is missing.
  private func sourceStamp() -> String? {
    var text = String(decoding: dataset.descriptionText, as: UTF8.self) + "\n\(options.samples)"
    for files in dataset.cases {
      guard let stamp = try? CaseStamp(files, planHash: "") else { return nil }
      text += "\n\(files.identifier) \(stamp.source)"
    }
    return hash(text)
  }

  /// Writes the plans and returns the configurations to preprocess.
  private func plan(_ fingerprint: DatasetFingerprint, _ folder: String, _ report: inout Report) throws(MedDINOError) -> [String] {
    let path = folder + "/" + PlansDocument.fileName
    let previous = FileKind.of(path) == .regular ? try JSON.parse(InputFile.contents(path), source: path) : nil
    let planner = try ExperimentPlanner(fingerprint, dataset, gpuGigabytes: options.gpuGigabytes)
    var document = PlansDocument(
      planner, fingerprint: fingerprint, datasetName: dataset.name, reader: dataset.reader.rawValue, previous: previous)
    let upscaled = try options.upscale.map { (size) throws(MedDINOError) in try document.addUpscaled(size) }
    let names = document.json["configurations"]?.objectValue?.keys ?? []
    let chosen = options.configurations.isEmpty ? [upscaled ?? "2d"] : options.configurations
    for name in chosen where !names.contains(name) {
      throw .invalid("configuration \"\(name)\" is not in the plans, which have: \(names.joined(separator: ", "))")
    }
    if document.json != previous { try Self.write(document.json, path) }
    report.configurations = names
    return chosen
  }

  /// An existing file stays; the dataset's own comes next; else nnU-Net's folds.
  private func splits(_ folder: String) throws(MedDINOError) {
    let path = folder + "/" + PreparedDataset.splitsName
    let own = dataset.folder + "/" + PreparedDataset.splitsName
    if FileKind.of(path) == .regular { return }
    if FileKind.of(own) == .regular {
      try AtomicFile.write(InputFile.contents(own), to: path)
    } else {
      try Self.write(DatasetSplits(cases: dataset.cases.map(\.identifier)).json, path)
    }
  }

  /// Copies the labels, which validation compares whole volumes with.
  private func copyLabels(_ folder: String, _ control: RunControl) throws(MedDINOError) {
    let target = folder + "/" + PreparedDataset.groundTruthName
    try makeFolder(target)
    for files in dataset.cases {
      try control.check()
      let path = "\(target)/\(files.identifier)\(dataset.description.fileEnding)"
      let source = try FileStamp(files.label)
      // Labels may be replaced by older ones of the same size, so a copy has the time of what it was made from.
      if let copy = try? FileStamp(path), copy == source { continue }
      try AtomicFile.copy(files.label, to: path)
      try source.setTime(of: path)
    }
  }

  private static func write(_ json: JSON, _ path: String) throws(MedDINOError) {
    try AtomicFile.write(Array(json.text(indent: 4).utf8), to: path)
  }
}

extension DatasetPlanning.Report {
  /// Throws: `.format` naming up to `limit` problems in one line; nothing when there are none.
  public func requireNoProblems(_ dataset: String, limit: Int = 50) throws(MedDINOError) {
    try DatasetProblem.require(none: problems, dataset, limit: limit)
  }
}
