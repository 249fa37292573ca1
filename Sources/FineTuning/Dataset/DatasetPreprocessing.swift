internal import Imaging
public import Platform
internal import Segmentation
public import Tensors

/// Preprocesses the cases of a dataset for one configuration, several at a time, and leaves out those that are there already.
///
/// A case is done when its file names the same source files (size and time) and the same plan. A run that was stopped goes on
/// where it was: files appear whole or not at all.
/// Source: pipeline specification 4.
public struct DatasetPreprocessing: Sendable {
  public struct Result: Equatable, Sendable {
    public var made = 0
    public var kept = 0
    /// One line each.
    public var warnings: [String] = []
  }
  let dataset: RawDataset
  let prepared: PreparedDataset
  let store: PreprocessedStore
  private let planHash: String

  /// Throws: `.invalid` for an unknown configuration.
  public init(_ dataset: RawDataset, _ prepared: PreparedDataset, configuration: String? = nil) throws(MedDINOError) {
    self.dataset = dataset
    self.prepared = prepared
    store = try prepared.store(configuration)
    planHash = CaseStamp.planHash(prepared.plan, store.configuration, prepared.scheme)
  }

  /// Throws: `.io`, `.format`, `.shape`, `.invalid` naming the case, `.outOfMemory`, `.cancelled`.
  public func run(jobs: Int = 0, pool: ThreadPool, in budget: MemoryBudget, control: RunControl = RunControl())
    throws(MedDINOError) -> Result
  {
    try makeFolder(store.folder)
    var result = Result()
    var wanted: [Int] = []
    for (index, files) in dataset.cases.enumerated() {
      try control.check()
      let stamp = try CaseStamp(files, planHash: planHash)
      if CaseStamp(of: store.path(of: files.identifier)) == stamp { result.kept += 1 } else { wanted.append(index) }
    }
    let lanes = try CaseLanes(jobs: jobs, bytesPerCase: bytesPerCase(), pool: pool, budget: budget)
    let order = wanted
    try lanes.run(order.count, control) { (place, control) throws(MedDINOError) in
      let files = dataset.cases[order[place]]
      do throws(MedDINOError) { try preprocess(files, pool, budget, control) } catch {
        throw error.kind == .cancelled ? error : error.within("case \(files.identifier)")
      }
    }
    result.made = wanted.count
    let known = Set(dataset.cases.map(\.identifier))
    let strangers = try store.identifiers().filter { !known.contains($0) }
    if !strangers.isEmpty {
      let list = strangers.prefix(5).joined(separator: ", ")
      result.warnings.append("\(store.folder) holds \(strangers.count) cases that the dataset does not have: \(list)")
    }
    return result
  }

  private func preprocess(_ files: RawDataset.Case, _ pool: ThreadPool, _ budget: MemoryBudget, _ control: RunControl)
    throws(MedDINOError)
  {
    let stamp = try CaseStamp(files, planHash: planHash)
    let loaded = try LoadedCase(files, reader: dataset.reader, in: budget, control: control)
    try control.begin("preprocessing", from: 0.3, to: 0.3)
    guard let geometry = loaded.images.first?.geometry else { throw .shape("no image") }
    let contents = try PreprocessedCase(
      loaded.images, labels: loaded.labels, plan: prepared.plan, configuration: store.configuration, scheme: prepared.scheme,
      pool: pool, in: budget, control: control)
    try control.begin("writing", from: 0.9, to: 1)
    try StoredCase.write(
      contents, identifier: files.identifier, geometry: geometry, plan: prepared.plan, configuration: store.configuration,
      scheme: prepared.scheme, stamp: stamp, to: store.path(of: files.identifier), in: budget)
  }

  /// What the largest case needs, for choosing how many to hold at once.
  private func bytesPerCase() -> Int {
    let fingerprint = prepared.fingerprint
    let target = store.configuration.spacing
    let axes = prepared.plan.transposeForward
    let channels = Double(store.configuration.normalization.count)
    var largest = 0.0
    for (spacing, shape) in zip(fingerprint.spacings, fingerprint.shapesAfterCrop) {
      let cropped = shape.reduce(1.0) { $0 * Double($1) }
      let resampled = cropped * (spacing[axes[1]] / target[0]) * (spacing[axes[2]] / target[1])
      largest = max(largest, cropped * (8 * channels + 4) + resampled * (4 * channels + 6))
    }
    return largest < 1e18 ? Int(largest) : Int.max / 2
  }
}
