public import FineTuning
public import Imaging
public import Platform
public import Segmentation
internal import Slices
internal import Synchronization
internal import WeightFiles

/// Cases that a trainer draws from, prepared as one configuration of a plan says: those of a folder, or added one by one from memory.
///
/// Cases may be added between the steps of a trainer that was made later; a trainer keeps the cases that were there when it was made.
public final class TrainingDataset: Sendable {
  public let context: Context
  public let plan: Plan
  public let configuration: Plan.Configuration
  public let description: DatasetDescription
  public let scheme: LabelScheme
  /// nil for a dataset in memory.
  public let folder: PreparedDataset?
  let plansText: String
  let datasetText: String
  private let held = Mutex<[any TrainingCase]>([])

  /// A prepared folder. `configuration`: nil takes the only 2D configuration that is preprocessed.
  /// Throws: `.io`, `.format`, `.invalid` when the configuration must be named.
  public init(_ folder: String, configuration: String? = nil, context: Context) throws(MedDINOError) {
    guard !SliceSet.isSet(folder) else { throw .invalid("\(folder): slices without labels, expected a prepared dataset folder") }
    let prepared = try PreparedDataset(folder)
    let chosen: String
    if let configuration { chosen = configuration } else { chosen = try Self.only(prepared) }
    let store = try prepared.store(chosen)
    var cases: [any TrainingCase] = []
    for identifier in try store.identifiers() { cases.append(try store.open(identifier, in: context.budget)) }
    guard !cases.isEmpty else { throw .invalid("\(store.folder): no preprocessed case") }
    self.context = context
    self.folder = prepared
    plan = prepared.plan
    self.configuration = store.configuration
    description = prepared.description
    scheme = prepared.scheme
    plansText = prepared.plansJSON.text(indent: 4)
    datasetText = prepared.descriptionJSON.text(indent: 4)
    held.withLock { [cases] in $0 = cases }
  }

  private static func only(_ prepared: PreparedDataset) throws(MedDINOError) -> String {
    var found: [String] = []
    for name in prepared.plan.configurationNames {
      guard let store = try? prepared.store(name), FileKind.of(store.folder) == .directory else { continue }
      found.append(name)
    }
    guard found.count == 1 else {
      throw .invalid(
        found.isEmpty
          ? "\(prepared.folder): no configuration is preprocessed"
          : "configuration is not named, expected one of those that are preprocessed: \(found.joined(separator: ", "))")
    }
    return found[0]
  }

  /// An empty dataset with the plan and labels of a segmenter. Throws: `.unsupported` for a backbone.
  public init(like model: Model) throws(MedDINOError) {
    guard let task = model.task else { throw model.noDecoder }
    context = model.context
    folder = nil
    plan = task.plan
    configuration = task.configuration
    description = task.dataset
    scheme = task.scheme
    plansText = task.plansText
    datasetText = task.datasetText
  }

  public var cases: [any TrainingCase] { held.withLock { $0 } }
  /// In training order.
  public var identifiers: [String] { cases.map(\.identifier) }

  /// Preprocesses and keeps one case; one of the same identifier is replaced.
  ///
  /// channels: volumes on one grid. labels: whole numbers that the dataset knows, on the same dims. budget: what the case's memory comes
  /// from, nil for the context's.
  /// Throws: `.state` for a dataset of a folder, `.shape`, `.invalid` naming the value, `.outOfMemory`, `.cancelled`.
  public func add(
    _ identifier: String, _ channels: [Volume], labels: Volume, in budget: MemoryBudget? = nil, control: RunControl = RunControl()
  ) throws(MedDINOError) {
    guard folder == nil else { throw .state("the dataset is a folder, cases can be added to a dataset in memory") }
    guard !identifier.isEmpty, identifier.utf8.count <= 4096 else {
      throw .invalid("identifier has \(identifier.utf8.count) bytes, expected 1 to 4096")
    }
    try checkValues(labels, identifier, control)
    try control.begin("prepare", from: 0, to: 0.3)
    let contents: PreprocessedCase
    do {
      contents = try PreprocessedCase(
        channels, labels: labels, plan: plan, configuration: configuration, scheme: scheme, pool: context.pool,
        in: budget ?? context.budget, control: control)
      try control.begin("prepare", from: 1, to: 1)
    } catch { throw error.within("case \(identifier)") }
    let added = try MemoryTrainingCase(identifier: identifier, contents)
    held.withLock { cases in
      if let place = cases.firstIndex(where: { $0.identifier == identifier }) {
        cases[place] = added
      } else {
        cases.append(added)
      }
    }
    for warning in contents.warnings { context.log(.warning, "case \(identifier): \(warning)") }
  }

  /// Every value is one that the labels declare. Throws: `.invalid`.
  private func checkValues(_ labels: Volume, _ identifier: String, _ control: RunControl) throws(MedDINOError) {
    let known = Set(scheme.allLabels + (scheme.ignoreLabel.map { [$0] } ?? []))
    let d = labels.geometry.dims
    var piece = [Float](repeating: 0, count: min(d[0], 1 << 16))  // a caller's row may be longer than memory
    for z in 0..<d[2] {
      try control.check()
      for y in 0..<d[1] {
        for x in stride(from: 0, to: d[0], by: piece.count) {
          let columns = x..<min(x + piece.count, d[0])
          piece.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            labels.readPlane(
              axis: 2, index: z, rowAxis: 1, rows: y..<y + 1, columnAxis: 0, columns: columns, channel: 0, into: base)
          }
          for value in piece[..<columns.count] {
            guard let whole = Int(exactly: value), known.contains(whole) else {
              throw .invalid(
                "case \(identifier): labels hold the value \(value), expected \(known.sorted().map(String.init).joined(separator: ", "))")
            }
          }
        }
        if d[0] > 1 << 20 { try control.check() }
      }
    }
  }

  /// How many folds the splits of the folder have; 0 for a dataset from memory. Throws: `.io`, `.format`.
  public var foldCount: Int {
    get throws(MedDINOError) { try folder?.splits(cases: cases.map(\.identifier)).folds.count ?? 0 }
  }

  /// The cases of a fold; in a dataset from memory every case trains and validates.
  /// Throws: `.invalid` for an empty dataset or a fold that does not fit, `.io`, `.format`.
  func split(_ fold: DatasetSplits.Fold) throws(MedDINOError) -> (train: [any TrainingCase], validation: [any TrainingCase]) {
    let cases = cases
    guard !cases.isEmpty else { throw .invalid("the dataset has no cases, expected at least one") }
    guard let folder else { return (cases, cases) }
    let names = cases.map(\.identifier)
    let split =
      try fold == .all ? DatasetSplits.Split(train: names, validation: names) : folder.splits(cases: names).split(fold, cases: names)
    let byName = Dictionary(cases.map { ($0.identifier, $0) }, uniquingKeysWith: { first, _ in first })
    return (split.train.compactMap { byName[$0] }, split.validation.compactMap { byName[$0] })
  }
}
