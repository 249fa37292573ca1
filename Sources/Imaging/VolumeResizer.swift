internal import Platform

/// Resizes all three axes of an array at once, for resampling without a separate slice axis.
/// Source: pipeline specification 4.5.
struct VolumeResizer {
  private let plane: PlaneResizer
  private let axis: ResampleAxis
  private let blockWidth = 512

  init(_ shape: [Int], to newShape: [Int], order: Int) throws(MedDINOError) {
    plane = try PlaneResizer(rows: shape[1], columns: shape[2], toRows: newShape[1], toColumns: newShape[2], order: order)
    axis = try ResampleAxis(shape[0], to: newShape[0], order: order, "slices")
  }

  /// `load(slice, row, line)` fills one input row; `emit(index, values, count)` gets runs of the packed result.
  /// Throws: `.outOfMemory`, `.cancelled`.
  func run(
    in budget: MemoryBudget, control: RunControl? = nil,
    load: (_ slice: Int, _ row: Int, _ line: UnsafeMutablePointer<Double>) -> Void,
    emit: (_ index: Int, _ values: UnsafePointer<Double>, _ count: Int) -> Void
  ) throws(MedDINOError) {
    let scratch = try budget.allocate(plane.scratchDoubles * 8, "resampling scratch")
    defer { withExtendedLifetime(scratch) {} }
    let doubles = scratch.elements(Double.self)
    guard let base = doubles.baseAddress else { return }
    let width = plane.newColumns
    let area = plane.newRows * width
    if axis.isIdentity {
      for slice in 0..<axis.length {
        try control?.update(Double(slice) / Double(axis.length))
        plane.produceRows(scratch: base) {
          load(slice, $0, $1)
        } emit: {
          emit(slice * area + $0 * width, $1, width)
        }
      }
      return
    }
    let bytes = try Checked.product([axis.length, area, 8], "resampling intermediate", kind: .shape)
    let middle = try budget.allocate(bytes, "resampling intermediate")
    defer { withExtendedLifetime(middle) {} }
    guard let planes = middle.elements(Double.self).baseAddress else { return }
    for slice in 0..<axis.length {
      try control?.update(Double(slice) / Double(axis.length))
      plane.produceRows(scratch: base) {
        load(slice, $0, $1)
      } emit: { row, line in
        (planes + slice * area + row * width).update(from: line, count: width)
      }
    }
    try resizeSlices(planes, area, budget, emit)
  }

  private func resizeSlices(
    _ planes: UnsafePointer<Double>, _ area: Int, _ budget: MemoryBudget,
    _ emit: (Int, UnsafePointer<Double>, Int) -> Void
  ) throws(MedDINOError) {
    let block = try budget.allocate((axis.filterLength + 1) * blockWidth * 8, "resampling scratch")
    defer { withExtendedLifetime(block) {} }
    guard let rows = block.elements(Double.self).baseAddress else { return }
    let result = rows + axis.filterLength * blockWidth
    var start = 0
    while start < area {
      let width = min(blockWidth, area - start)
      for slice in 0..<axis.length {
        (rows + (axis.padding + slice) * width).update(from: planes + slice * area + start, count: width)
      }
      axis.filterRows(rows, width: width, temporary: result)
      for slice in 0..<axis.newLength {
        axis.interpolateRow(slice, of: rows, width: width, into: result)
        emit(slice * area + start, result, width)
      }
      start += width
    }
  }
}
