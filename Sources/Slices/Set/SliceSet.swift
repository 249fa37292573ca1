public import Platform
internal import Synchronization
public import Tensors
internal import WeightFiles

/// One slice as crops are taken from it.
///
/// Shapes: `values` is height × width, row-major; row 0 is the front of the patient, column 0 the right side. Units: HU.
public struct Slice: Sendable {
  public let values: [Float]
  public let height: Int
  public let width: Int
}

/// Where a slice comes from.
public struct SliceOrigin: Equatable, Sendable {
  public let part: String
  public let caseName: String
  public let file: String
  public let slice: Int
  /// Units: mm.
  public let position: Float
}

/// A set of axial CT slices in shards, read by number in constant memory: neither slices nor index are held.
///
/// The set is a folder that `curate` made, or one with several of them (its parts, in the order of their names). Slices are numbered
/// through all parts. Every slice read is compared with its check sum. Safe to use from several threads.
public final class SliceSet: Sendable {
  /// What happens to a shard that is missing or damaged, and to a slice that is damaged.
  public enum Policy: String, Sendable, CaseIterable {
    /// An error that names it.
    case refuse
    /// Shards are left out and named in `skipped`; for a damaged slice the next whole one is given, and `faults` names it.
    case skip
  }
  /// Something that is not as the manifest says.
  public struct Fault: Equatable, Sendable {
    public let place: String
    public let reason: String
  }
  /// A finished part: one run of the curation.
  public struct Part: Sendable {
    public let folder: String
    public let manifest: SliceManifest
    /// SHA-256 of the manifest's file.
    public let sha256: String
  }
  struct Place: Sendable {
    let part: Int
    let record: SliceShardRecord
    /// Number of its first slice in the set.
    let start: Int
  }
  struct Cache {
    var open: [(place: Int, shard: SliceShard)] = []
    var faults: [Fault] = []
    var faulty: Set<Int> = []
  }

  public let path: String
  public let policy: Policy
  public let parts: [Part]
  /// Shards and parts that are left out; empty unless the policy is to skip.
  public let skipped: [Fault]
  /// Slices that can be read.
  public let count: Int
  let places: [Place]
  private let log: Log
  private let cache = Mutex(Cache())
  /// Files open at once: two for each shard.
  private static let openShards = 48
  /// Damaged slices in a row after which skipping gives up.
  private static let longestSkip = 10_000

  /// Throws: `.io`, `.format` for a part, shard or index that is not whole (unless skipped), `.invalid` when there is no set or no
  /// slice in it.
  public init(_ path: String, policy: Policy = .refuse, log: Log = .silent) throws(MedDINOError) {
    self.path = path
    self.policy = policy
    self.log = log
    var skipped: [Fault] = []
    parts = try Self.findParts(path, policy, &skipped)
    var places: [Place] = []
    var count = 0
    for (number, part) in parts.enumerated() {
      for record in part.manifest.shards {
        do throws(MedDINOError) { _ = try SliceShard(folder: part.folder, record) } catch {
          guard policy == .skip else { throw error }
          skipped.append(Fault(place: part.folder + "/" + record.file, reason: error.message))
          continue
        }
        places.append(Place(part: number, record: record, start: count))
        count = try Checked.sum(count, record.slices, path)
      }
    }
    for fault in skipped { log(.warning, "left out: \(fault.reason)") }
    guard count > 0 else {
      throw .invalid("\(path): no slice in it" + (skipped.first.map { "; \(skipped.count) left out: \($0.reason)" } ?? ""))
    }
    self.places = places
    self.skipped = skipped
    self.count = count
  }

  /// Damaged slices met so far, each once.
  public var faults: [Fault] { cache.withLock { $0.faults } }

  /// Changes when the slices or their numbers change: what a checkpoint keeps to know its data again. Hexadecimal SHA-256.
  public var fingerprint: String {
    let lines = parts.map(\.sha256) + places.map { "\($0.part) \($0.record.file) \($0.start)" }
    return hexadecimal(SHA256.of(Array(lines.joined(separator: "\n").utf8)))
  }

  /// Counts of all HU values of all parts, left-out shards included.
  public var intensities: IntensityCounts {
    let low = parts.map(\.manifest.rules.clip.lowerBound).min() ?? 0
    let high = parts.map(\.manifest.rules.clip.upperBound).max() ?? 0
    var total = IntensityCounts(low...max(low, high))
    for part in parts { total.add(part.manifest.intensities) }
    return total
  }

  /// Height and width of a slice. Throws: `.invalid` for a number outside, `.io`, `.format`.
  public func shape(at index: Int) throws(MedDINOError) -> (height: Int, width: Int) {
    let (place, number) = try find(index)
    let row = try shard(place).row(number)
    return (row.rows, row.columns)
  }

  /// The index row of a slice. Throws: as `shape`.
  public func row(at index: Int) throws(MedDINOError) -> SliceRow {
    let (place, number) = try find(index)
    return try shard(place).row(number)
  }

  /// A slice in HU. Throws: `.invalid` for a number outside; `.format`, `.io` for a damaged one (with the policy to skip, only when ten
  /// thousand follow each other).
  public func slice(at index: Int) throws(MedDINOError) -> Slice {
    try withPixels(at: index) { pixels, rows, columns in
      Slice(values: pixels.map { Float(Int16(littleEndian: $0)) }, height: rows, width: columns)
    }
  }

  /// A slice in memory of the budget. Shapes: float32 [1, height, width], as `Slice.values`. Units: HU. Throws: as `slice`, and
  /// `.outOfMemory`.
  public func tensor(at index: Int, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let (bytes, row) = try whole(index)
    let tensor = try Tensor([1, row.rows, row.columns], .float32, in: budget, "slice")
    let start = row.bytes - row.rows * row.columns * 2
    let values = tensor.floats
    bytes.withUnsafeBytes { raw in
      for place in 0..<row.rows * row.columns {
        values[place] = Float(Int16(littleEndian: raw.loadUnaligned(fromByteOffset: start + 2 * place, as: Int16.self)))
      }
    }
    return tensor
  }

  /// Calls `body` with the stored pixels: whole HU, 16 bits, little endian, rows × columns. Throws: as `slice`.
  func withPixels<Result>(
    at index: Int, _ body: (UnsafeBufferPointer<Int16>, _ rows: Int, _ columns: Int) -> Result
  ) throws(MedDINOError) -> Result {
    let (bytes, row) = try whole(index)
    let start = row.bytes - row.rows * row.columns * 2
    return bytes.withUnsafeBytes { raw in
      UnsafeRawBufferPointer(rebasing: raw[start...]).withMemoryRebound(to: Int16.self) { body($0, row.rows, row.columns) }
    }
  }

  /// Where a slice comes from. Reads `cases.json` of its part. Throws: as `slice`.
  public func origin(at index: Int) throws(MedDINOError) -> SliceOrigin {
    let (place, number) = try find(index)
    let row = try shard(place).row(number)
    let part = parts[places[place].part]
    let cases = try Self.cases(in: part.folder)
    guard row.caseNumber < cases.count else {
      throw .format("\(part.folder): slice \(index) is of case \(row.caseNumber), \(SliceManifest.casesName) has \(cases.count)")
    }
    let origin = cases[row.caseNumber]
    return SliceOrigin(part: part.manifest.name, caseName: origin.name, file: origin.file, slice: row.slice, position: row.position)
  }

  /// All volumes of the part in a folder. Throws: `.io`, `.format`.
  public static func cases(in folder: String) throws(MedDINOError) -> [SliceCase] {
    let path = folder + "/" + SliceManifest.casesName
    guard let list = try JSON.parse(try InputFile.contents(path), source: path).arrayValue else {
      throw .format("\(path): expected a list")
    }
    var cases: [SliceCase] = []
    for entry in list { cases.append(try SliceCase(entry, path)) }
    return cases
  }

  private func whole(_ index: Int) throws(MedDINOError) -> (bytes: [UInt8], row: SliceRow) {
    for step in 0..<min(count, Self.longestSkip) {
      let wanted = (index + step) < count ? index + step : index + step - count
      let (place, number) = try find(step == 0 ? index : wanted)
      do throws(MedDINOError) {
        let shard = try shard(place)
        let row = try shard.row(number)
        return (try shard.file(row, number), row)
      } catch {
        guard policy == .skip else { throw error }
        note(wanted, error)
      }
    }
    throw .format("\(path): slice \(index) and \(min(count, Self.longestSkip) - 1) after it are damaged")
  }

  private func note(_ index: Int, _ error: MedDINOError) {
    let isNew = cache.withLock { cache in
      guard cache.faulty.insert(index).inserted else { return false }
      cache.faults.append(Fault(place: "slice \(index)", reason: error.message))
      return true
    }
    if isNew { log(.warning, "slice \(index) is passed over: \(error.message)") }
  }

  /// The shard that holds a slice, and the slice's number in it.
  private func find(_ index: Int) throws(MedDINOError) -> (place: Int, number: Int) {
    guard (0..<count).contains(index) else { throw .invalid("slice is \(index), expected 0 to \(count - 1)") }
    var (low, high) = (0, places.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if places[middle].start <= index { low = middle } else { high = middle }
    }
    return (low, index - places[low].start)
  }

  /// The open files of a shard; the longest unused are closed.
  private func shard(_ place: Int) throws(MedDINOError) -> SliceShard {
    let known: SliceShard? = cache.withLock { cache in
      guard let at = cache.open.lastIndex(where: { $0.place == place }) else { return nil }
      if at < cache.open.count - 1 { cache.open.append(cache.open.remove(at: at)) }
      return cache.open[cache.open.count - 1].shard
    }
    if let known { return known }
    let opened = try SliceShard(folder: parts[places[place].part].folder, places[place].record)
    cache.withLock { cache in
      if cache.open.contains(where: { $0.place == place }) { return }
      cache.open.append((place, opened))
      if cache.open.count > Self.openShards { cache.open.removeFirst() }
    }
    return opened
  }
}
