internal import Imaging
internal import Platform

/// What a label volume holds: how much of each label and where, and the slices with labels.
///
/// Columns, rows and slices are those of pictures.
struct LabelCensus: Sendable {
  struct Label: Equatable, Sendable {
    var voxels = 0
    /// Slices that hold it.
    var slices = 0
    /// The box around it, half-open: column, row, slice.
    var lower = SIMD3(repeating: Int.max)
    var upper = SIMD3(repeating: 0)

    /// Slices come in ascending order.
    fileprivate mutating func add(_ run: Range<Int>, row: Int, slice: Int) {
      voxels += run.count
      if upper.z != slice + 1 { slices += 1 }
      lower = pointwiseMin(lower, SIMD3(run.lowerBound, row, slice))
      upper = pointwiseMax(upper, SIMD3(run.upperBound, row + 1, slice + 1))
    }
  }
  /// More different values than this is no segmentation.
  static let maximumLabels = 4096
  /// Largest label value: float32 planes hold it exactly.
  static let maximumValue = 1 << 24

  private(set) var labels: [Int: Label] = [:]
  /// Slices with at least one label above 0.
  private(set) var slices: [Int] = []
  /// Labelled voxels of each column and row of all slices together.
  private(set) var columns: [Int]
  private(set) var rows: [Int]

  /// Throws: `.invalid` when a label is negative, not whole, above 2^24, or there are too many; `.cancelled`.
  init(
    _ labels: Volume, axes: DisplayAxes, plane: UnsafeMutableBufferPointer<Float>, control: RunControl?
  ) throws(MedDINOError) {
    let dims = labels.geometry.dims
    columns = [Int](repeating: 0, count: dims[axes.columnAxis])
    rows = [Int](repeating: 0, count: dims[axes.rowAxis])
    for slice in 0..<dims[axes.sliceAxis] {
      try control?.check()
      guard let start = plane.baseAddress else { return }
      axes.read(labels, slice: slice, into: start)
      if try count(plane, slice) { slices.append(slice) }
    }
  }

  /// Counts runs of equal values, so that the table is touched once per run. Returns whether there is a label above 0.
  private mutating func count(_ plane: UnsafeMutableBufferPointer<Float>, _ slice: Int) throws(MedDINOError) -> Bool {
    var found = false
    for row in rows.indices {
      let line = UnsafeMutableBufferPointer(rebasing: plane[row * columns.count..<(row + 1) * columns.count])
      var column = 0
      while column < line.count {
        let value = line[column]
        guard value >= 0, value <= Float(Self.maximumValue), value == value.rounded() else {
          throw .invalid("labels holds \(value), expected whole numbers of 0 to \(Self.maximumValue)")
        }
        let begin = column
        while column < line.count, line[column] == value { column += 1 }
        if value == 0 { continue }
        found = true
        rows[row] += column - begin
        for at in begin..<column { columns[at] += 1 }
        labels[Int(value), default: Label()].add(begin..<column, row: row, slice: slice)
        guard labels.count <= Self.maximumLabels else {
          throw .invalid("labels holds more than \(Self.maximumLabels) different values")
        }
      }
    }
    return found
  }

  /// The index with most voxels of a list of counts; the middle one of those that are equal, and of all when there is none.
  static func fullest(_ counts: [Int]) -> Int {
    let most = counts.max() ?? 0
    let places = counts.indices.filter { counts[$0] == most }
    return places.isEmpty ? 0 : places[places.count / 2]
  }
}
