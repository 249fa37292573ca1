public import Platform

/// One in-plane resizing, prepared once and used for every slice: separable, edge mode, no anti-aliasing even when
/// shrinking.
///
/// Safe to share between threads; each call brings its own scratch of `scratchDoubles`. Arithmetic is in Double.
/// Source: pipeline specification 4.5 (`resize`, `resize_seg`).
public final class PlaneResizer: Sendable {
  let rowAxis: ResampleAxis
  let columnAxis: ResampleAxis
  let order: Int

  /// `order`: 0 nearest, 1 linear, 3 cubic B-spline.
  /// Throws: `.invalid` for another order or an extent outside 1...1048576.
  public init(rows: Int, columns: Int, toRows: Int, toColumns: Int, order: Int) throws(MedDINOError) {
    rowAxis = try ResampleAxis(rows, to: toRows, order: order, "rows")
    columnAxis = try ResampleAxis(columns, to: toColumns, order: order, "columns")
    self.order = order
  }

  public var rows: Int { rowAxis.length }
  public var columns: Int { columnAxis.length }
  public var newRows: Int { rowAxis.newLength }
  public var newColumns: Int { columnAxis.newLength }
  /// Same size: the result is a copy of the input.
  public var isIdentity: Bool { rowAxis.isIdentity && columnAxis.isIdentity }

  /// Doubles of scratch that one call needs.
  public var scratchDoubles: Int {
    let bufferRows = order == 3 && !rowAxis.isIdentity ? rowAxis.filterLength : 2
    return columnAxis.filterLength + newColumns * (bufferRows + 1)
  }

  /// Smallest and largest value, NaN left out; nil when there is none. The clip range of order 3 is that of the array
  /// resized: one slice when slices are resampled on their own, otherwise one channel's whole volume.
  public static func range(of values: UnsafePointer<Float>, count: Int) -> ClosedRange<Float>? {
    var (low, high) = (Float.infinity, -Float.infinity)
    for index in 0..<count {
      let value = values[index]
      low = value < low ? value : low
      high = value > high ? value : high
    }
    return low <= high ? low...high : nil
  }

  /// Resizes one slice.
  ///
  /// Shapes: `plane` is rows × columns, `out` newRows × newColumns, both packed; they must not overlap.
  /// `clip`: bounds of the result, nil for none.
  public func resize(
    _ plane: UnsafePointer<Float>, clip: ClosedRange<Float>?, into out: UnsafeMutablePointer<Float>,
    scratch: UnsafeMutablePointer<Double>
  ) {
    if isIdentity { return out.update(from: plane, count: rows * columns) }
    let (inputWidth, width) = (columns, newColumns)
    let low = clip.map { Double($0.lowerBound) } ?? -Double.infinity
    let high = clip.map { Double($0.upperBound) } ?? Double.infinity
    produceRows(scratch: scratch) { row, line in
      Self.widen(plane + row * inputWidth, line, inputWidth)
    } emit: { row, line in
      Self.narrow(line, out + row * width, width, low, high)
    }
  }

  /// Produces the resized rows in order: `load` fills one input row (columns values), `emit` gets each result row.
  func produceRows(
    scratch: UnsafeMutablePointer<Double>,
    load: (_ row: Int, _ line: UnsafeMutablePointer<Double>) -> Void,
    emit: (_ row: Int, _ line: UnsafePointer<Double>) -> Void
  ) {
    let width = newColumns
    let line = scratch
    let result = scratch + columnAxis.filterLength
    let buffer = result + width
    func resizeColumns(_ row: Int, into out: UnsafeMutablePointer<Double>) {
      if columnAxis.isIdentity { return load(row, out) }
      load(row, line + columnAxis.padding)
      if order == 3 { columnAxis.filterLine(line) }
      columnAxis.interpolateLine(line, into: out)
    }
    if rowAxis.isIdentity {
      for row in 0..<newRows {
        resizeColumns(row, into: result)
        emit(row, result)
      }
    } else if order == 3 {
      for row in 0..<rows { resizeColumns(row, into: buffer + (rowAxis.padding + row) * width) }
      rowAxis.filterRows(buffer, width: width, temporary: result)
      for row in 0..<newRows {
        rowAxis.interpolateRow(row, of: buffer, width: width, into: result)
        emit(row, result)
      }
    } else {
      mixRows(buffer, result, resizeColumns, emit)
    }
  }

  /// Orders 0 and 1 need only two input rows at a time; rows that shrinking passes over are never touched.
  private func mixRows(
    _ buffer: UnsafeMutablePointer<Double>, _ result: UnsafeMutablePointer<Double>,
    _ resizeColumns: (Int, UnsafeMutablePointer<Double>) -> Void, _ emit: (Int, UnsafePointer<Double>) -> Void
  ) {
    let width = newColumns
    var held = (-1, -1)  // input rows in the two halves of the buffer: even rows lie in the first half, odd ones in the second
    func fetch(_ row: Int) -> UnsafePointer<Double> {
      let slot = buffer + (row & 1) * width
      if row & 1 == 0, held.0 != row {
        resizeColumns(row, slot)
        held.0 = row
      } else if row & 1 == 1, held.1 != row {
        resizeColumns(row, slot)
        held.1 = row
      }
      return UnsafePointer(slot)
    }
    for row in 0..<newRows {
      let a = fetch(Int(rowAxis.first[row]))
      if order == 0 {
        emit(row, a)
        continue
      }
      let b = fetch(Int(rowAxis.second[row]))
      ResampleAxis.mix(a, b, rowAxis.weights[2 * row], rowAxis.weights[2 * row + 1], width, into: result)
      emit(row, result)
    }
  }

  private static func widen(_ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<Double>, _ count: Int) {
    for j in 0..<count { to[j] = Double(from[j]) }
  }

  static func narrow(
    _ from: UnsafePointer<Double>, _ to: UnsafeMutablePointer<Float>, _ count: Int, _ low: Double, _ high: Double
  ) {
    for j in 0..<count {
      let value = from[j]
      let raised = value < low ? low : value
      to[j] = Float(raised > high ? high : raised)
    }
  }
}
