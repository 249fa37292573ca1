/// A row-major 3×3 matrix, for directions and affines.
struct Matrix3: Equatable {
  var m: [Double]

  init(_ values: [Double]) { m = values }
  init(columns: [[Double]]) { m = (0..<9).map { columns[$0 % 3][$0 / 3] } }

  subscript(row: Int, column: Int) -> Double {
    get { m[row * 3 + column] }
    set { m[row * 3 + column] = newValue }
  }
  func column(_ index: Int) -> [Double] { [m[index], m[3 + index], m[6 + index]] }

  static func dot(_ a: [Double], _ b: [Double]) -> Double { a[0] * b[0] + a[1] * b[1] + a[2] * b[2] }
  static func length(_ a: [Double]) -> Double { dot(a, a).squareRoot() }

  /// Row k is the cross product of rows k+1 and k+2.
  private var cofactors: Matrix3 {
    var result = self
    for row in 0..<3 {
      let (a, b) = ((row + 1) % 3, (row + 2) % 3)
      for column in 0..<3 {
        let (c, d) = ((column + 1) % 3, (column + 2) % 3)
        result[row, column] = self[a, c] * self[b, d] - self[a, d] * self[b, c]
      }
    }
    return result
  }

  var determinant: Double { Matrix3.dot(Array(m[0..<3]), Array(cofactors.m[0..<3])) }

  /// nil when the columns are linearly dependent or not finite.
  var inverse: Matrix3? {
    let determinant = determinant
    guard determinant.isFinite, determinant.magnitude > 1e-300 else { return nil }
    let cofactors = cofactors
    return Matrix3((0..<9).map { cofactors[$0 % 3, $0 / 3] / determinant })
  }

  /// The closest orthogonal matrix (U·Vᵀ of the singular value decomposition), by Newton's iteration; nil when
  /// singular. Its determinant has the sign of this matrix'.
  var polarFactor: Matrix3? {
    guard m.allSatisfy({ $0.isFinite }) else { return nil }
    var x = self
    for _ in 0..<60 {
      let determinant = x.determinant
      guard determinant.magnitude > 1e-30, determinant.isFinite else { return nil }
      let cofactors = x.cofactors
      var (change, next) = (0.0, x)
      for index in 0..<9 {
        next.m[index] = 0.5 * (x.m[index] + cofactors.m[index] / determinant)
        change = max(change, (next.m[index] - x.m[index]).magnitude)
      }
      x = next
      if change < 1e-15 { break }
    }
    return x.m.allSatisfy { $0.isFinite } ? x : nil
  }

  /// Columns of length 1; nil when a column is zero or not finite.
  var normalizedColumns: Matrix3? {
    var result = self
    for column in 0..<3 {
      let length = Matrix3.length(self.column(column))
      guard length.isFinite, length > 0 else { return nil }
      for row in 0..<3 { result[row, column] /= length }
    }
    return result
  }

  /// Rotation of a unit quaternion (a, b, c, d).
  init(a: Double, b: Double, c: Double, d: Double) {
    let (bb, cc, dd) = (b * b, c * c, d * d)
    let aa = a * a
    m = [
      aa + bb - cc - dd, 2 * (b * c - a * d), 2 * (b * d + a * c),
      2 * (b * c + a * d), aa + cc - bb - dd, 2 * (c * d - a * b),
      2 * (b * d - a * c), 2 * (c * d + a * b), aa + dd - cc - bb,
    ]
  }

  /// Quaternion (b, c, d) with a >= 0 of a proper rotation.
  var quaternion: [Double] {
    let trace = m[0] + m[4] + m[8]
    if trace > 0 {
      let s = (trace + 1).squareRoot() * 2  // 4a
      return [(m[7] - m[5]) / s, (m[2] - m[6]) / s, (m[3] - m[1]) / s]
    }
    var q: [Double]
    let a: Double
    if m[0] >= m[4], m[0] >= m[8] {
      let s = (1 + m[0] - m[4] - m[8]).squareRoot() * 2
      a = (m[7] - m[5]) / s
      q = [s / 4, (m[1] + m[3]) / s, (m[2] + m[6]) / s]
    } else if m[4] >= m[8] {
      let s = (1 + m[4] - m[0] - m[8]).squareRoot() * 2
      a = (m[2] - m[6]) / s
      q = [(m[1] + m[3]) / s, s / 4, (m[5] + m[7]) / s]
    } else {
      let s = (1 + m[8] - m[0] - m[4]).squareRoot() * 2
      a = (m[3] - m[1]) / s
      q = [(m[2] + m[6]) / s, (m[5] + m[7]) / s, s / 4]
    }
    return a < 0 ? q.map { -$0 } : q
  }
}
