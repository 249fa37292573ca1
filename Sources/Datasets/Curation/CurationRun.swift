import Glibc
internal import Imaging
internal import Platform
internal import Slices
internal import Tensors
internal import Training
internal import WeightFiles

/// One run of a curation.
final class CurationRun {
  /// A volume as it comes from the loader; faults of its file are no end of the run yet.
  enum Loaded: Sendable {
    case volume(Volume)
    case bad(MedDINOError)
  }
  let plan: CurationPlan
  let folder: PartFolder
  let options: CurationOptions
  let pool: ThreadPool
  let budget: MemoryBudget
  let control: RunControl
  let log: Log
  private let start = monotonicSeconds()

  /// Slices in the set or in earlier parts, and those that must stay out.
  var seen: DigestSet
  var excluded: DigestSet
  var earlier: [(name: String, sha256: String)] = []
  var shards: [SliceShardRecord] = []
  var cases: [SliceCase] = []
  /// Of `cases`, those since the last complete shard.
  var freshCases = 0
  var intensities: IntensityCounts
  var shardIntensities: IntensityCounts
  var writer: SliceShardWriter?
  var written = 0
  /// Where an earlier run was stopped: the volume, and the digests of its slices that are in shards.
  var resumeCase = 0
  var resumeDigests: [SliceDigest] = []
  private var resumed = 0
  private var seenSlices = 0
  private var doneBytes = 0

  init(
    _ plan: CurationPlan, _ folder: PartFolder, _ options: CurationOptions, _ pool: ThreadPool, _ budget: MemoryBudget,
    _ control: RunControl, _ log: Log
  ) throws(MedDINOError) {
    self.plan = plan
    self.folder = folder
    self.options = options
    self.pool = pool
    self.budget = budget
    self.control = control
    self.log = log
    seen = try DigestSet(in: budget)
    excluded = try DigestSet(in: budget)
    intensities = IntensityCounts(plan.rules.clip)
    shardIntensities = IntensityCounts(plan.rules.clip)
  }

  func execute(_ destination: String) throws(MedDINOError) -> CurationReport {
    try agreeOnPlan(destination)
    if folder.isFinished() {
      if let report = try finishedReport() { return report }
      try folder.reopen()
    }
    try loadEarlier(destination)
    let imageBytes = plan.excludedImages.reduce(0) { $0 + $1.bytes }
    let volumeBytes = plan.volumes.reduce(0) { $0 + $1.bytes }
    let share = Double(imageBytes) / Double(max(imageBytes + volumeBytes, 1))
    try control.begin("images to keep out", from: 0, to: share)
    try loadExcluded()
    try resume()
    resumed = written
    try control.begin("curating \(plan.source.name)", from: share, to: 1)
    try workThroughCases()
    let manifest = try finish()
    try control.update(1)
    return report(manifest)
  }

  private func workThroughCases() throws(MedDINOError) {
    let total = Double(max(plan.volumes.reduce(0) { $0 + $1.bytes }, 1))
    doneBytes = plan.volumes[..<resumeCase].reduce(0) { $0 + $1.bytes }
    let (volumes, reader, budget) = (plan.volumes, options.reader, budget)
    let jobs = jobs()
    let loader = try BatchLoader<Loaded>(from: resumeCase, to: volumes.count, workers: jobs, ahead: jobs) {
      (index, control) throws(MedDINOError) in
      do throws(MedDINOError) {
        return .volume(try reader.read(volumes[index].path, in: budget, control: control))
      } catch {
        guard error.kind != .cancelled, error.kind != .outOfMemory else { throw error }
        return .bad(error)
      }
    }
    var index = resumeCase
    while let loaded = try loader.next(control) {
      let bytes = volumes[index].bytes
      let (from, to) = (Double(doneBytes) / total, Double(doneBytes + bytes) / total)
      try control.update(from)
      let record = try cut(index, loaded, index == resumeCase ? resumeDigests : [], control.part(from, to))
      seenSlices += record.slices.seen
      cases.append(record)
      freshCases += 1
      doneBytes += bytes
      index += 1
      try control.update(to)
    }
  }

  /// Volumes in memory at once, besides the one that is cut.
  private func jobs() -> Int {
    if options.jobs > 0 { return options.jobs }
    // Gzipped CT takes about a third of its bytes; whole numbers of 32 bits and doubles take more, so count four times the file.
    let largest = plan.volumes.map(\.bytes).max() ?? 1
    let physical = Int(sysconf(Int32(_SC_PHYS_PAGES))) / 2 * Int(sysconf(Int32(_SC_PAGESIZE)))
    let left = min(max(physical, 0), budget.limit - min(budget.limit, budget.bytesInUse))
    return max(1, min(pool.width, left / max(4 * largest, 1) - 1, 256))
  }

  /// Adds a slice to the current shard; a full one is put in its place, with what a later run needs to go on.
  func keep(
    _ pixels: UnsafePointer<Int16>, _ sizing: SliceSizing, case caseNumber: Int, slice: Int, position: Float, digest: SliceDigest,
    keptOfCase: Int
  ) throws(MedDINOError) {
    let shard: SliceShardWriter
    if let writer {
      shard = writer
    } else {
      shard = try SliceShardWriter(folder: folder.path, part: plan.source.name, number: shards.count, firstNumber: written)
      writer = shard
    }
    try shard.append(
      pixels, rows: sizing.stored.rows, columns: sizing.stored.columns, caseNumber: caseNumber, slice: slice, position: position,
      digest: digest)
    shardIntensities.add(UnsafeBufferPointer(start: pixels, count: sizing.stored.area))
    written += 1
    guard shard.count == plan.shardSlices else { return }
    let record = try shard.commit()
    let step = ShardStep(
      record: record, cases: Array(cases.suffix(freshCases)), caseNumber: caseNumber, keptOfCase: keptOfCase,
      intensities: shardIntensities)
    try folder.write(step.json, folder.stepName(shards.count))
    endShard(record)
  }

  private func endShard(_ record: SliceShardRecord) {
    shards.append(record)
    intensities.add(shardIntensities)
    shardIntensities = IntensityCounts(plan.rules.clip)
    freshCases = 0
    writer = nil
  }

  private func finish() throws(MedDINOError) -> SliceManifest {
    if let writer { endShard(try writer.commit()) }
    var counts = SliceCounts()
    for one in cases { counts.add(one.slices) }
    let manifest = SliceManifest(
      name: plan.source.name, title: plan.source.title, licence: plan.source.licence, reference: plan.source.reference, rules: plan.rules,
      cases: cases.count, leftOut: cases.count { $0.leftOut != nil }, excludedNames: plan.excludedNames, excludedSlices: excluded.count,
      slices: counts, intensities: intensities, shards: shards, earlierParts: earlier)
    try folder.write(.array(cases.map(\.json)), SliceManifest.casesName, indent: 1)
    try AtomicFile.write(Array(CurationSummary.text(manifest, cases: cases).utf8), to: folder.path + "/summary.txt")
    try folder.write(manifest.json, SliceManifest.fileName, indent: 1)
    return manifest
  }

  private func report(_ manifest: SliceManifest) -> CurationReport {
    CurationReport(
      folder: folder.path, manifest: manifest, cases: cases, passedOver: plan.passedOver, unmatchedExclusions: plan.unmatched,
      resumedSlices: resumed, seenSlices: seenSlices, seconds: monotonicSeconds() - start, threads: pool.width)
  }

  /// What a finished part holds; nil when a file of it is missing or cut, which is then made again.
  private func finishedReport() throws(MedDINOError) -> CurationReport? {
    let manifest: SliceManifest
    do throws(MedDINOError) {
      manifest = try SliceManifest.read(folder.path).manifest
      cases = try SliceSet.cases(in: folder.path)
      for record in manifest.shards { try SliceSet.forEachRow(in: folder.path, record) { _ in } }
    } catch {
      guard [.format, .io].contains(error.kind) else { throw error }
      log(.warning, "made again from the first shard that is not whole: \(error.message)")
      cases = []
      return nil
    }
    resumed = manifest.slices.kept
    return report(manifest)
  }
}
