internal import Platform
internal import Tensors

/// Exact Euclidean distances to the nearest set voxel of a mask, for grids with any spacing.
///
/// Separable: steps along z for the whole grid, then lower envelopes of parabolas along y and x, slice by slice and only where a
/// distance is asked for. Squares are summed in the order z, y, x in float64, rounded to float32 at the end.
/// Source: Felzenszwalb and Huttenlocher (2012); pipeline specification 11.2.
struct DistanceTransform {
  private static let none = Int32.max
  private let dims: [Int]
  private let spacing: [Double]
  private let steps: Buffer
  private let pool: ThreadPool
  private let budget: MemoryBudget

  /// `spacing`: x, y, z in mm. Throws: `.outOfMemory`, `.cancelled`.
  init(
    to mask: BitVolume, spacing: [Double], pool: ThreadPool, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) {
    dims = mask.dims
    self.spacing = spacing
    self.pool = pool
    self.budget = budget
    steps = try budget.allocate(try Checked.product(dims + [MemoryLayout<Int32>.size], "distance transform"), "distance transform")
    let rows = try SliceGroups(dims[1], pool: pool, in: budget, control: control, "distance transform")
    try rows.run { y, _ in countSteps(mask, y) }
  }

  private func line(_ y: Int, _ z: Int) -> UnsafeMutablePointer<Int32> {
    steps.pointer.assumingMemoryBound(to: Int32.self) + (z * dims[1] + y) * dims[0]
  }

  /// For one y: voxels along z to the nearest set one, by a scan up and a scan down.
  private func countSteps(_ mask: BitVolume, _ y: Int) {
    for z in 0..<dims[2] {
      let (bits, current) = (mask.row(z * dims[1] + y), line(y, z))
      let before = z > 0 ? line(y, z - 1) : nil
      for x in 0..<dims[0] {
        if bits[x >> 6] >> UInt64(x & 63) & 1 == 1 {
          current[x] = 0
        } else {
          let value = before?[x] ?? Self.none
          current[x] = value == Self.none ? value : value + 1
        }
      }
    }
    for z in stride(from: dims[2] - 2, through: 0, by: -1) {
      let (current, behind) = (line(y, z), line(y, z + 1))
      for x in 0..<dims[0] where behind[x] < current[x] { current[x] = behind[x] + 1 }
    }
  }

  /// Distances in mm of the set voxels of `queries`, in the order z, y, x; infinite when the mask is empty.
  /// Shapes: `queries` has the mask's dims; the result is float32 [number of set voxels].
  func distances(of queries: BitVolume, control: RunControl? = nil) throws(MedDINOError) -> Tensor {
    let counts = queries.countsPerSlice()
    let offsets = counts.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
    let result = try Tensor([offsets[counts.count]], in: budget, "surface distances")
    let plane = try Checked.product([dims[0], dims[1], MemoryLayout<Double>.size], "distance slice")
    let bytes = try Checked.sum(plane, LowerEnvelope.bytes(for: max(dims[0], dims[1])), "distance slice")
    let groups = try SliceGroups(dims[2], scratchBytes: bytes, pool: pool, in: budget, control: control, "distance slice")
    try groups.run { z, scratch in
      guard counts[z] > 0, let scratch, let out = result.floats.baseAddress else { return }
      alongY(z, scratch, plane)
      alongX(z, scratch, plane, queries, out + offsets[z])
    }
    withExtendedLifetime(steps) {}
    return result
  }

  private func alongY(_ z: Int, _ scratch: UnsafeMutableRawPointer, _ planeBytes: Int) {
    let squares = scratch.bindMemory(to: Double.self, capacity: dims[0] * dims[1])
    var envelope = LowerEnvelope(scratch + planeBytes, length: max(dims[0], dims[1]), spacing: spacing[1])
    for x in 0..<dims[0] {
      envelope.restart()
      for y in 0..<dims[1] {
        let count = line(y, z)[x]
        if count == Self.none { continue }
        let distance = Double(count) * spacing[2]
        envelope.add(y, distance * distance)
      }
      for y in 0..<dims[1] { squares[y * dims[0] + x] = envelope.value(at: y) }
    }
  }

  private func alongX(
    _ z: Int, _ scratch: UnsafeMutableRawPointer, _ planeBytes: Int, _ queries: BitVolume, _ out: UnsafeMutablePointer<Float>
  ) {
    let squares = scratch.assumingMemoryBound(to: Double.self)
    var envelope = LowerEnvelope(scratch + planeBytes, length: max(dims[0], dims[1]), spacing: spacing[0])
    var place = 0
    for y in 0..<dims[1] {
      let words = queries.row(z * dims[1] + y)
      if (0..<queries.wordsPerRow).allSatisfy({ words[$0] == 0 }) { continue }
      envelope.restart()
      for x in 0..<dims[0] where squares[y * dims[0] + x] < .infinity { envelope.add(x, squares[y * dims[0] + x]) }
      for word in 0..<queries.wordsPerRow {
        var bits = words[word]
        while bits != 0 {
          out[place] = Float(envelope.value(at: word * 64 + bits.trailingZeroBitCount).squareRoot())
          place += 1
          bits &= bits - 1
        }
      }
    }
  }
}
