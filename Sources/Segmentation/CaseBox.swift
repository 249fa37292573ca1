/// A half-open box of voxels in the axes of a case: slices, rows, columns. (`VoxelBox` of Imaging counts along x, y, z.)
public struct CaseBox: Equatable, Sendable {
  public var ranges: [Range<Int>]
  public init(_ ranges: [Range<Int>]) { self.ranges = ranges }
  public init(shape: [Int]) { ranges = shape.map { 0..<max($0, 0) } }

  public var shape: [Int] { ranges.map(\.count) }
  public var isEmpty: Bool { ranges.contains { $0.isEmpty } }
  public func intersection(_ other: CaseBox) -> CaseBox {
    CaseBox(zip(ranges, other.ranges).map { $0.clamped(to: $1) })
  }
  /// The smallest box that holds both.
  public func union(_ other: CaseBox) -> CaseBox {
    CaseBox(zip(ranges, other.ranges).map { min($0.lowerBound, $1.lowerBound)..<max($0.upperBound, $1.upperBound) })
  }
}

/// A box that grows with the voxels put into it.
struct GrowingBox {
  private(set) var lower = [Int.max, Int.max, Int.max]
  private(set) var upper = [Int.min, Int.min, Int.min]

  /// Adds the columns [first, last] of a row.
  mutating func add(slice: Int, row: Int, first: Int, last: Int) {
    if slice < lower[0] { lower[0] = slice }
    if slice > upper[0] { upper[0] = slice }
    if row < lower[1] { lower[1] = row }
    if row > upper[1] { upper[1] = row }
    if first < lower[2] { lower[2] = first }
    if last > upper[2] { upper[2] = last }
  }
  mutating func add(_ other: GrowingBox) {
    for axis in 0..<3 {
      lower[axis] = min(lower[axis], other.lower[axis])
      upper[axis] = max(upper[axis], other.upper[axis])
    }
  }
  /// nil when nothing was added.
  var box: CaseBox? {
    guard lower[0] <= upper[0] else { return nil }
    return CaseBox((0..<3).map { lower[$0]..<upper[$0] + 1 })
  }
}
