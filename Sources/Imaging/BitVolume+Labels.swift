public import Platform
public import Tensors

extension BitVolume {
  /// The voxels of a box of a label volume that hold one of `values`.
  ///
  /// Shapes: dims are those of the box. Throws: `.invalid` for a value that is no label, `.shape`, `.outOfMemory`, `.cancelled`.
  public init(
    _ labels: Volume, in box: VoxelBox, values: [Int], pool: ThreadPool, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) {
    let dims = box.dims
    let inside = (0..<3).allSatisfy { box.lower[$0] >= 0 && box.upper[$0] <= labels.geometry.dims[$0] }
    guard inside, labels.channels == 1 else {
      throw .shape("box \(box.lower) to \(box.upper) of a label volume with dims \(labels.geometry.dims), \(labels.channels) channels")
    }
    try self.init(dims: dims, in: budget, "label mask")
    let mask = self
    let set = LabelMembership(values)
    let bytes = try Checked.product([dims[0], MemoryLayout<Int32>.size], "label row")
    let groups = try SliceGroups(dims[2], scratchBytes: bytes, pool: pool, in: budget, control: control, "label row")
    let faults = GroupSlots<Double?>(repeating: nil)
    try groups.run { z, scratch in
      guard let line = scratch?.bindMemory(to: Int32.self, capacity: dims[0]) else { return }
      for y in 0..<dims[1] {
        let xs = box.lower[0]..<box.upper[0]
        if let bad = labels.readLabels(xs, y: box.lower[1] + y, z: box.lower[2] + z, into: line) {
          return faults.withSlot(z) { $0 = bad }
        }
        mask.setRow(z * dims[1] + y, line, set)
      }
    }
    if let bad = faults.values.compactMap({ $0 }).first { throw .invalid("the label volume holds \(bad), expected whole numbers") }
  }

  private func setRow(_ index: Int, _ line: UnsafePointer<Int32>, _ set: LabelMembership) {
    let target = row(index)
    for word in 0..<wordsPerRow {
      var bits: UInt64 = 0
      for bit in 0..<min(64, dims[0] - word * 64) where set.contains(line[word * 64 + bit]) { bits |= 1 << UInt64(bit) }
      target[word] = bits
    }
  }

  /// Calls `body` for the runs of set bits of a row, ascending, as half-open ranges of x.
  func forRuns(ofRow index: Int, _ body: (Range<Int>) -> Void) {
    var x = 0
    while let begin = next(true, ofRow: index, from: x) {
      let end = next(false, ofRow: index, from: begin) ?? dims[0]
      body(begin..<end)
      x = end
    }
  }

  /// The first x from `x` on whose bit is `value`; nil when there is none in the row.
  private func next(_ value: Bool, ofRow index: Int, from x: Int) -> Int? {
    if x >= dims[0] { return nil }
    let words = row(index)
    var word = x >> 6
    var bits = (value ? words[word] : ~words[word]) & (~0 << UInt64(x & 63))
    while bits == 0 {
      word += 1
      if word == wordsPerRow { return nil }
      bits = value ? words[word] : ~words[word]
    }
    let found = word * 64 + bits.trailingZeroBitCount
    return found < dims[0] ? found : nil
  }
}

/// Membership of label values, quick for the small ones that label maps hold.
struct LabelMembership {
  private let small: [Bool]
  private let large: [Int32]

  init(_ values: [Int]) {
    var small = [Bool](repeating: false, count: 256)
    var large: [Int32] = []
    for value in values {
      if small.indices.contains(value) { small[value] = true } else if let value = Int32(exactly: value) { large.append(value) }
    }
    self.small = small
    self.large = large
  }

  func contains(_ value: Int32) -> Bool { value >= 0 && value < 256 ? small[Int(value)] : large.contains(value) }
}
