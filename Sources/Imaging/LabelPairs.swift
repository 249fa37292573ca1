public import Platform
public import Tensors

/// Which reference label meets which predicted label, how often, and where: everything that overlap measures of any label or region
/// need, from one pass over both volumes.
public struct LabelPairs: Sendable {
  /// Voxels where the reference holds one label and the prediction another (or the same), and the smallest box around them.
  public struct Entry: Equatable, Sendable {
    public let reference: Int
    public let prediction: Int
    public internal(set) var voxels: Int
    public internal(set) var box: VoxelBox
  }
  /// Ascending by reference, then prediction.
  public let entries: [Entry]

  /// More different pairs than this is no segmentation.
  static let limit = 65536

  /// Throws: `.shape` when the grids differ or a volume has several channels, `.invalid` when a value is not a whole number of 32 bits
  /// or there are more than 65536 different pairs; `.outOfMemory`, `.cancelled`.
  public init(
    reference: Volume, prediction: Volume, pool: ThreadPool, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) {
    let dims = reference.geometry.dims
    guard prediction.geometry.dims == dims else {
      throw .shape("the prediction has dims \(prediction.geometry.dims), the reference \(dims)")
    }
    for (name, volume) in [("reference", reference), ("prediction", prediction)] where volume.channels != 1 {
      throw .shape("the \(name) has \(volume.channels) channels, expected 1")
    }
    let line = try Checked.product([dims[0], MemoryLayout<Int32>.size], "label rows")
    let groups = try SliceGroups(dims[2], scratchBytes: 2 * line, pool: pool, in: budget, control: control, "label rows")
    let slots = GroupSlots(repeating: PairCounter())
    try groups.run { z, scratch in
      guard let lines = scratch?.bindMemory(to: Int32.self, capacity: 2 * dims[0]) else { return }
      slots.withSlot(z) { $0.count(z, reference, prediction, lines) }
    }
    var total = PairCounter()
    var fault: MedDINOError?
    for slot in slots.values {
      if fault == nil { fault = slot.fault }
      total.add(slot)
    }
    if let fault = fault ?? total.fault { throw fault }
    entries = total.entries.sorted { ($0.reference, $0.prediction) < ($1.reference, $1.prediction) }
  }

  /// Labels present in the reference, ascending.
  public var referenceLabels: [Int] { Set(entries.map(\.reference)).sorted() }
  /// Labels present in the prediction, ascending.
  public var predictionLabels: [Int] { Set(entries.map(\.prediction)).sorted() }

  /// Counts for the union of `values`. Voxels whose reference is `ignoring` are left out.
  public func overlap(_ values: [Int], ignoring: Int? = nil) -> OverlapCounts {
    let members = Set(values)
    var counts = OverlapCounts()
    for entry in entries where entry.reference != ignoring {
      switch (members.contains(entry.reference), members.contains(entry.prediction)) {
      case (true, true): counts.truePositives += entry.voxels
      case (false, true): counts.falsePositives += entry.voxels
      case (true, false): counts.falseNegatives += entry.voxels
      case (false, false): counts.trueNegatives += entry.voxels
      }
    }
    return counts
  }

  /// The smallest box around the union of `values` in both volumes; nil when neither holds any.
  public func box(_ values: [Int]) -> VoxelBox? {
    let members = Set(values)
    var result: VoxelBox?
    for entry in entries where members.contains(entry.reference) || members.contains(entry.prediction) {
      result = result.map { $0.union(entry.box) } ?? entry.box
    }
    return result
  }
}

extension VoxelBox {
  /// The smallest box around both.
  func union(_ other: VoxelBox) -> VoxelBox {
    VoxelBox(
      lower: zip(lower, other.lower).map { min($0, $1) }, upper: zip(upper, other.upper).map { max($0, $1) })
  }
}

/// Counts pairs of some slices. Runs of equal pairs are the rule, so the table is touched once per run.
private struct PairCounter {
  private(set) var entries: [LabelPairs.Entry] = []
  private(set) var fault: MedDINOError?
  private var places: [UInt64: Int] = [:]
  private var lastKey: UInt64 = 0
  private var lastPlace = -1

  mutating func count(_ z: Int, _ reference: Volume, _ prediction: Volume, _ lines: UnsafeMutablePointer<Int32>) {
    let dims = reference.geometry.dims
    let (a, b) = (lines, lines + dims[0])
    for y in 0..<dims[1] where fault == nil {
      for (name, volume, line) in [("reference", reference, a), ("prediction", prediction, b)] {
        if let bad = volume.readLabels(0..<dims[0], y: y, z: z, into: line) {
          fault = .invalid("the \(name) holds \(bad) at voxel [\(y), \(z)] of y, z, expected whole numbers as labels")
          return
        }
      }
      var x = 0
      while x < dims[0] {
        let (label, predicted, begin) = (a[x], b[x], x)
        repeat { x += 1 } while x < dims[0] && a[x] == label && b[x] == predicted
        add(label, predicted, begin..<x, y, z)
      }
    }
  }

  private mutating func add(_ reference: Int32, _ prediction: Int32, _ xs: Range<Int>, _ y: Int, _ z: Int) {
    let place = place(UInt64(UInt32(bitPattern: reference)) << 32 | UInt64(UInt32(bitPattern: prediction)))
    guard place < entries.count else {
      let box = VoxelBox(lower: [xs.lowerBound, y, z], upper: [xs.upperBound, y + 1, z + 1])
      return append(.init(reference: Int(reference), prediction: Int(prediction), voxels: xs.count, box: box))
    }
    entries[place].voxels += xs.count
    entries[place].box.include(xs, y, z)
  }

  mutating func add(_ other: PairCounter) {
    for entry in other.entries {
      let key = UInt64(UInt32(truncatingIfNeeded: entry.reference)) << 32 | UInt64(UInt32(truncatingIfNeeded: entry.prediction))
      let place = place(key)
      guard place < entries.count else {
        append(entry)
        continue
      }
      entries[place].voxels += entry.voxels
      entries[place].box = entries[place].box.union(entry.box)
    }
  }

  /// Where a pair's entry is, or will be.
  private mutating func place(_ key: UInt64) -> Int {
    if key == lastKey, lastPlace >= 0 { return lastPlace }
    lastKey = key
    lastPlace = places[key] ?? entries.count
    if lastPlace == entries.count { places[key] = lastPlace }
    return lastPlace
  }

  private mutating func append(_ entry: LabelPairs.Entry) {
    entries.append(entry)
    if entries.count > LabelPairs.limit {
      fault = .invalid("the volumes hold more than \(LabelPairs.limit) different pairs of labels, expected label maps")
    }
  }
}

extension VoxelBox {
  fileprivate mutating func include(_ xs: Range<Int>, _ y: Int, _ z: Int) {
    if xs.lowerBound < lower[0] { lower[0] = xs.lowerBound }
    if xs.upperBound > upper[0] { upper[0] = xs.upperBound }
    if y < lower[1] { lower[1] = y }
    if y >= upper[1] { upper[1] = y + 1 }
    if z < lower[2] { lower[2] = z }
    if z >= upper[2] { upper[2] = z + 1 }
  }
}
