/// Slices of a packed three-axis array perpendicular to any of its axes, as packed planes (the lower remaining axis =
/// rows).
struct SliceAccess {
  let axis: Int
  let rows: Int
  let columns: Int
  private let sliceStride: Int
  private let rowStride: Int
  private let columnStride: Int

  init(shape: [Int], axis: Int) {
    let strides = [shape[1] * shape[2], shape[2], 1]
    let others = [0, 1, 2].filter { $0 != axis }
    self.axis = axis
    rows = shape[others[0]]
    columns = shape[others[1]]
    sliceStride = strides[axis]
    rowStride = strides[others[0]]
    columnStride = strides[others[1]]
  }

  func gather<T>(_ array: UnsafePointer<T>, slice: Int, into plane: UnsafeMutablePointer<T>) {
    let base = array + slice * sliceStride
    for row in 0..<rows {
      let (line, out) = (base + row * rowStride, plane + row * columns)
      for column in 0..<columns { out[column] = line[column * columnStride] }
    }
  }

  func scatter<T>(_ plane: UnsafePointer<T>, into array: UnsafeMutablePointer<T>, slice: Int) {
    let base = array + slice * sliceStride
    for row in 0..<rows {
      let (line, source) = (base + row * rowStride, plane + row * columns)
      for column in 0..<columns { line[column * columnStride] = source[column] }
    }
  }
}
