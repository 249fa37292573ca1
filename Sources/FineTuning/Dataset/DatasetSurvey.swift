internal import Imaging
public import Platform
internal import Synchronization
public import Tensors

/// One look at every file of a dataset: the integrity check and, when nothing is wrong, the fingerprint.
///
/// Source: pipeline specification 1.3 (integrity check), 2.
public struct DatasetSurvey: Sendable {
  public struct Options: Sendable {
    public var wantsFingerprint = true
    /// Cases in memory at once; 0 chooses by threads and memory.
    public var jobs = 0
    /// Foreground intensities drawn from all cases together. Other numbers than nnU-Net's change the plans a little.
    public var samples = 100_000_000
    public init() {}
  }
  /// All of them, those of the dataset first, then by case.
  public let problems: [DatasetProblem]
  /// One line each.
  public let warnings: [String]
  /// nil when there are problems or it was not asked for.
  public let fingerprint: DatasetFingerprint?

  /// Reads every case. Throws: only what is no fault of the dataset: `.outOfMemory`, `.cancelled`, `.invalid` options.
  public init(
    _ dataset: RawDataset, options: Options = Options(), pool: ThreadPool, in budget: MemoryBudget, control: RunControl = RunControl()
  ) throws(MedDINOError) {
    guard (1...1_000_000_000).contains(options.samples) else {
      throw .invalid("samples is \(options.samples), expected 1 to 1000000000")
    }
    try control.begin("checking", from: 0, to: 0.9)
    let lanes = try CaseLanes(jobs: options.jobs, bytesPerCase: Self.bytesPerCase(dataset), pool: pool, budget: budget)
    let extraction =
      options.wantsFingerprint
      ? try FingerprintExtraction(
        cases: dataset.cases.count, channels: dataset.description.channelNames.count, in: budget,
        samples: options.samples) : nil
    let found = Mutex([Found](repeating: Found(), count: dataset.cases.count))
    try lanes.run(dataset.cases.count, control) { (index, control) throws(MedDINOError) in
      let inspection = try CaseInspection(dataset.cases[index], dataset, pool: pool, in: budget, control: control)
      try control.update(0.8)
      if let extraction, let loaded = inspection.loaded, let box = inspection.box {
        try extraction.add(index, loaded, box: box, in: budget, control: control)
      }
      let result = Found(
        problems: inspection.problems, warnings: inspection.warnings, box: inspection.box, foreground: inspection.foreground)
      found.withLock { $0[index] = result }
    }
    let cases = found.withLock { $0 }
    let problems = Self.general(dataset, cases) + cases.flatMap(\.problems)
    self.problems = problems
    warnings = Self.warnings(dataset, cases)
    guard let extraction, problems.isEmpty else {
      fingerprint = nil
      return
    }
    if try extraction.needsRefinement() {
      try control.begin("measuring intensities", from: 0.9, to: 1)
      try lanes.run(dataset.cases.count, control) { (index, control) throws(MedDINOError) in
        let loaded = try LoadedCase(dataset.cases[index], reader: dataset.reader, in: budget, control: control)
        guard let box = cases[index].box else { return }
        try extraction.refine(loaded, box: box, in: budget, control: control)
      }
    }
    fingerprint = try extraction.result()
    try control.begin("checking", from: 1, to: 1)
  }

  /// Throws: `.format` naming up to `limit` problems in one line; nothing when there are none.
  public func requireNoProblems(_ dataset: String, limit: Int = 50) throws(MedDINOError) {
    try DatasetProblem.require(none: problems, dataset, limit: limit)
  }

  private struct Found {
    var problems: [DatasetProblem] = []
    var warnings: [String] = []
    var box: VoxelBox?
    var foreground = 0
  }

  /// Problems of the dataset as a whole.
  private static func general(_ dataset: RawDataset, _ cases: [Found]) -> [DatasetProblem] {
    let description = dataset.description
    var result = dataset.missingKeys.map { DatasetProblem(.description, "dataset.json: the key \($0) is missing") }
    for region in dataset.scheme.foreground where region.values.contains(0) {
      result.append(
        DatasetProblem(
          .description,
          "dataset.json: labels: \(region.name) is \(region.values), which no evaluation scores; expected labels above 0, "
            + "without the background"))
    }
    if let declared = description.trainingCases, declared != dataset.cases.count {
      result.append(
        DatasetProblem(.trainingCount, "dataset.json: numTraining is \(declared), found \(dataset.cases.count) training cases"))
    } else if description.trainingCases == nil, !dataset.missingKeys.contains("numTraining") {
      result.append(DatasetProblem(.trainingCount, "dataset.json: numTraining is no whole number"))
    }
    if dataset.cases.isEmpty {
      result.append(
        DatasetProblem(.noCases, "no training case found, expected files <case>_0000\(description.fileEnding) in imagesTr"))
    } else if dataset.cases.count == 1 {
      result.append(
        DatasetProblem(
          .singleCase, "only one training case (\(dataset.cases[0].identifier)), expected at least 2: one to train on, one to validate"))
    }
    if !cases.isEmpty, cases.allSatisfy({ $0.problems.isEmpty && $0.foreground == 0 }) {
      result.append(
        DatasetProblem(.emptyForeground, "no case has foreground: the labels of all \(cases.count) cases hold nothing above 0"))
    }
    return result
  }

  private static func warnings(_ dataset: RawDataset, _ cases: [Found]) -> [String] {
    var result = cases.flatMap(\.warnings)
    for (files, found) in zip(dataset.cases, cases) where found.problems.isEmpty && found.foreground == 0 {
      result.append("case \(files.identifier): no foreground, the labels hold nothing above 0")
    }
    if !dataset.strayLabels.isEmpty {
      let list = dataset.strayLabels.prefix(5).joined(separator: ", ")
      result.append("labelsTr holds \(dataset.strayLabels.count) files without an image: \(list)")
    }
    if (2..<DatasetSplits.standardCount).contains(dataset.cases.count) {
      result.append("\(dataset.cases.count) training cases make \(dataset.cases.count) folds, nnU-Net wants at least 5 cases")
    }
    return result
  }

  /// A guess from the sizes of the files, for choosing how many cases to hold at once.
  private static func bytesPerCase(_ dataset: RawDataset) -> Int {
    let packed = dataset.description.fileEnding == ".nii" ? 1 : 4
    let sizes = dataset.cases.map { files in
      (files.images + [files.label]).reduce(0) { $0 + ((try? FileStamp($1).size) ?? 0) }
    }
    return (sizes.max() ?? 0) * packed * 2
  }
}
