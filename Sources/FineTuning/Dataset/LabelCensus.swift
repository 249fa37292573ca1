internal import Imaging
internal import Platform
internal import Tensors

/// How many voxels have each label, and which values are none.
struct LabelCensus {
  /// By label value, 0 to the largest declared one.
  let counts: [Int]
  /// Values that are not declared, ascending; at most `unknownLimit`.
  let unknown: [(value: Float, voxels: Int)]
  let isCut: Bool
  let nonFinite: Int
  private static let unknownLimit = 8

  /// Throws: `.outOfMemory`, `.cancelled`.
  init(_ labels: Volume, largest: Int, in budget: MemoryBudget, _ control: RunControl) throws(MedDINOError) {
    let dims = labels.geometry.dims
    let scratch = try Tensor([dims[1], dims[0]], in: budget, "label slice")
    let plane = scratch.floats
    var counts = [Int](repeating: 0, count: largest + 1)
    var others: [Float: Int] = [:]
    var broken = 0
    var isCut = false
    for z in 0..<dims[2] {
      try control.check()
      if let base = plane.baseAddress { labels.readSlice(z, in: VoxelBox(dims: dims), into: base) }
      for value in plane {
        if value >= 0, value <= Float(largest), value == value.rounded() {
          counts[Int(value)] += 1
        } else if !value.isFinite {
          broken += 1
        } else if others.count < Self.unknownLimit || others[value] != nil {
          others[value, default: 0] += 1
        } else {
          isCut = true
        }
      }
    }
    withExtendedLifetime(scratch) {}
    self.counts = counts
    nonFinite = broken
    self.isCut = isCut
    unknown = others.map { ($0.key, $0.value) }.sorted { $0.value < $1.value }
  }
}
