internal import Imaging
internal import Platform

/// Resampling of one slice, with the clip and the axis treatment that the whole-volume rule of nnU-Net gives it.
///
/// The slice count never changes, so a volume's resampling falls apart into its slices; what remains of "separate z" is the clip
/// range (per slice along the separate axis, else per volume) and, when rows or columns are the separate axis, another order along it.
/// Source: pipeline specification 4.5.
struct PlaneResampling: Sendable {
  /// The range that cubic overshoot is clipped to.
  enum Clip {
    case none
    /// One range for all, or one per index along the separate axis.
    case ranges([ClosedRange<Float>])
  }
  private enum Way: Sendable {
    case copy
    case whole(PlaneResizer, clipsToOwnRange: Bool)
    /// The axis across the separate one first, then along it.
    case staged(PlaneResizer, PlaneResizer, middle: [Int])
  }
  let rows: Int
  let columns: Int
  let toRows: Int
  let toColumns: Int
  /// 0, 1 or 2 as an axis of the case, nil without separate treatment.
  let separateAxis: Int?
  private let way: Way
  private let order: Int
  private let orderZ: Int

  /// `shape` and `newShape`: [rows, columns]; spacings: three numbers in case axes.
  init(
    shape: [Int], newShape: [Int], current: [Double], new: [Double], rule: Plan.ResamplingRule
  ) throws(MedDINOError) {
    rows = shape[0]
    columns = shape[1]
    toRows = newShape[0]
    toColumns = newShape[1]
    order = rule.order
    orderZ = rule.orderZ
    separateAxis = Resampling.separateAxis(current: current, new: new, force: rule.forceSeparateZ)
    if rows == toRows, columns == toColumns {
      way = .copy
    } else if separateAxis == 1 {
      way = try .staged(
        PlaneResizer(rows: rows, columns: columns, toRows: rows, toColumns: toColumns, order: rule.order),
        PlaneResizer(rows: rows, columns: toColumns, toRows: toRows, toColumns: toColumns, order: rule.orderZ),
        middle: [rows, toColumns])
    } else if separateAxis == 2 {
      way = try .staged(
        PlaneResizer(rows: rows, columns: columns, toRows: toRows, toColumns: columns, order: rule.order),
        PlaneResizer(rows: toRows, columns: columns, toRows: toRows, toColumns: toColumns, order: rule.orderZ),
        middle: [toRows, columns])
    } else {
      way = try .whole(
        PlaneResizer(rows: rows, columns: columns, toRows: toRows, toColumns: toColumns, order: rule.order),
        clipsToOwnRange: separateAxis == 0 && rule.order == 3)
    }
  }

  var isCopy: Bool { if case .copy = way { true } else { false } }
  /// Entries of the clip table that `resample` wants; 0 when it needs none.
  var clipRangeCount: Int {
    if isCopy || order != 3 { return 0 }
    switch separateAxis {
    case 0: return 0
    case 1: return rows
    case 2: return columns
    default: return 1
    }
  }
  /// Floats between the two stages.
  var scratchFloats: Int { if case .staged(_, _, let middle) = way { middle[0] * middle[1] } else { 0 } }
  var scratchDoubles: Int {
    switch way {
    case .copy: 0
    case .whole(let resizer, _): resizer.scratchDoubles
    case .staged(let first, let second, _): max(first.scratchDoubles, second.scratchDoubles)
    }
  }
  func scratchByteCount() throws(MedDINOError) -> Int {
    let floats = try Checked.product([max(scratchFloats, 1), 4], "resampling scratch", kind: .shape)
    let doubles = try Checked.product([max(scratchDoubles, 1), 8], "resampling scratch", kind: .shape)
    return try Checked.sum(floats + 64, doubles, "resampling scratch", kind: .shape)
  }

  /// The source rows and columns (both as ranges) that the given target rectangle depends on.
  func needed(rows wantedRows: Range<Int>, columns wantedColumns: Range<Int>) -> (rows: Range<Int>, columns: Range<Int>) {
    if isCopy { return (wantedRows, wantedColumns) }
    if order == 3 || orderZ == 3 { return (0..<rows, 0..<columns) }
    return (Self.support(wantedRows, rows, toRows), Self.support(wantedColumns, columns, toColumns))
  }
  private static func support(_ wanted: Range<Int>, _ count: Int, _ toCount: Int) -> Range<Int> {
    guard !wanted.isEmpty else { return 0..<0 }
    let ratio = Double(count) / Double(toCount)
    let first = (Double(wanted.lowerBound) + 0.5) * ratio - 0.5
    let last = (Double(wanted.upperBound) - 0.5) * ratio - 0.5
    return max(0, Int(first.rounded(.down)) - 1)..<min(count, Int(last.rounded(.down)) + 3)
  }

  /// `scratch` has `scratchByteCount()` bytes, aligned to 64.
  func resample(
    _ plane: UnsafePointer<Float>, clip: Clip, into out: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) {
    let doubles = scratch.bindMemory(to: Double.self, capacity: scratchDoubles)
    switch way {
    case .copy:
      out.update(from: plane, count: rows * columns)
    case .whole(let resizer, let ownRange):
      var range: ClosedRange<Float>?
      if ownRange {
        range = Self.range(plane, rows * columns)
      } else if case .ranges(let ranges) = clip {
        range = ranges.first
      }
      resizer.resize(plane, clip: range, into: out, scratch: doubles)
    case .staged(let first, let second, let middle):
      let between = (scratch + (scratchDoubles * 8 + 63) / 64 * 64).bindMemory(to: Float.self, capacity: scratchFloats)
      first.resize(plane, clip: nil, into: between, scratch: doubles)
      if case .ranges(let ranges) = clip, ranges.count == clipRangeCount { clipStage(between, middle, ranges) }
      second.resize(between, clip: nil, into: out, scratch: doubles)
    }
  }

  private func clipStage(_ values: UnsafeMutablePointer<Float>, _ shape: [Int], _ ranges: [ClosedRange<Float>]) {
    for row in 0..<shape[0] {
      for column in 0..<shape[1] {
        let range = ranges[separateAxis == 1 ? row : column]
        let at = row * shape[1] + column
        values[at] = min(max(values[at], range.lowerBound), range.upperBound)
      }
    }
  }

  /// Smallest and largest value of a plane of finite numbers.
  static func range(_ values: UnsafePointer<Float>, _ count: Int) -> ClosedRange<Float> {
    var low = values[0]
    var high = values[0]
    for i in 0..<count {
      low = values[i] < low ? values[i] : low
      high = values[i] > high ? values[i] : high
    }
    // A plane that starts with NaN compares with nothing; an empty clip keeps the run alive and the logits check reports it.
    return low <= high ? low...high : 0...0
  }
}
