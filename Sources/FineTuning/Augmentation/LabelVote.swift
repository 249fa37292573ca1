internal import Tensors

/// The label of a place between pixels: every label's bilinear share of 1000, rounded to half precision, as the official code stores it.
/// A share above 700 wins; otherwise the largest, among equals the smallest label. Where nothing is near, every share is 0: the smallest
/// label of the whole patch.
///
/// Source: pipeline specification 7.1.
struct LabelVote {
  private let plane: LabelPlane
  private let smallest: Int16

  init(_ plane: LabelPlane) {
    self.plane = plane
    var smallest = plane.values[0]
    for index in 0..<plane.count where plane.values[index] < smallest { smallest = plane.values[index] }
    self.smallest = smallest
  }

  @inline(__always) func label(row: Int, column: Int, down: Float, right: Float) -> Int16 {
    let columns = plane.columns
    if UInt(bitPattern: row) < UInt(bitPattern: plane.rows &- 1), UInt(bitPattern: column) < UInt(bitPattern: columns &- 1) {
      let upper = plane.values + (row &* columns &+ column)
      let lower = upper + columns
      let first = upper[0]
      // Alike all around: the share is 1000 up to rounding.
      if first == upper[1], first == lower[0], first == lower[1] { return first }
    }
    return mixed(row, column, down, right)
  }

  @inline(never) private func mixed(_ row: Int, _ column: Int, _ down: Float, _ right: Float) -> Int16 {
    let (up, left) = (1 - down, 1 - right)
    var weights = SIMD4<Float>(up * left, up * right, down * left, down * right)
    var labels = SIMD4<Int16>()
    for corner in 0..<4 {
      let (y, x) = (row + corner / 2, column + corner % 2)
      if y >= 0, y < plane.rows, x >= 0, x < plane.columns {
        labels[corner] = plane.values[y * plane.columns + x]
      } else {
        weights[corner] = -1
      }
    }
    var (best, bestShare) = (smallest, UInt16(0))
    for corner in 0..<4 where weights[corner] >= 0 {
      let label = labels[corner]
      var share: Float = 0
      for other in 0..<4 where weights[other] >= 0 && labels[other] == label { share += 1000 * weights[other] }
      // The bits of half precision numbers from 0 upwards are in the order of their values.
      let rounded = float16Bits(share)
      if rounded > bestShare || (rounded == bestShare && label < best) { (best, bestShare) = (label, rounded) }
    }
    return best
  }
}
