public import Platform

/// Principal components of a set of feature vectors, as scikit-learn's `PCA(whiten=True)` gives them.
///
/// Covariance with n - 1, eigenvectors by Householder tridiagonalisation and implicit QL, all in float64; each vector's entry of
/// largest magnitude is positive. Source: model specification 5; Golub & Van Loan, Matrix Computations, 8.3.
public struct PrincipalComponents {
  /// Mean of the features [dim].
  public let mean: [Double]
  /// Unit vectors [count][dim], by falling variance.
  public let components: [[Double]]
  public let variances: [Double]

  /// features: `rows` vectors of `dim` values. Throws: `.shape` when there are fewer rows or dimensions than components need.
  public init(_ features: UnsafePointer<Float>, rows: Int, dim: Int, count: Int, control: RunControl = RunControl()) throws(MedDINOError) {
    guard rows > 1, count <= dim, count <= rows else {
      throw .shape("\(rows) tokens of \(dim) channels, \(count) principal components need at least \(max(count, 2)) of each")
    }
    var mean = [Double](repeating: 0, count: dim)
    for row in 0..<rows { for j in 0..<dim { mean[j] += Double(features[row * dim + j]) } }
    for j in 0..<dim { mean[j] /= Double(rows) }
    var matrix = try SymmetricEigen.covariance(features, rows: rows, dim: dim, mean: mean, control)
    let values = try SymmetricEigen.solve(&matrix, dim, control)
    let order = (0..<dim).sorted { values[$0] > values[$1] }.prefix(count)
    self.mean = mean
    variances = order.map { max(values[$0], 0) }
    components = order.map { column in
      let vector = (0..<dim).map { matrix[$0 * dim + column] }
      let peak = vector.max { abs($0) < abs($1) } ?? 0
      return peak < 0 ? vector.map { -$0 } : vector
    }
  }

  /// Whitened score of one vector along each component.
  public func scores(_ vector: UnsafePointer<Float>) -> [Double] {
    components.enumerated().map { index, component in
      var sum = 0.0
      for j in 0..<component.count { sum += (Double(vector[j]) - mean[j]) * component[j] }
      return variances[index] > 0 ? sum / variances[index].squareRoot() : 0
    }
  }
}

/// Eigenvalues and eigenvectors of a dense symmetric matrix.
enum SymmetricEigen {
  static func covariance(
    _ x: UnsafePointer<Float>, rows: Int, dim: Int, mean: [Double], _ control: RunControl
  ) throws(MedDINOError) -> [Double] {
    var result = [Double](repeating: 0, count: dim * dim)
    var centred = [Double](repeating: 0, count: dim)
    for row in 0..<rows {
      if row % 64 == 0 { try control.check() }
      for j in 0..<dim { centred[j] = Double(x[row * dim + j]) - mean[j] }
      result.withUnsafeMutableBufferPointer { c in
        for i in 0..<dim {
          let value = centred[i]
          for j in i..<dim { c[i * dim + j] += value * centred[j] }
        }
      }
    }
    for i in 0..<dim {
      for j in i..<dim {
        let value = result[i * dim + j] / Double(rows - 1)
        result[i * dim + j] = value
        result[j * dim + i] = value
      }
    }
    return result
  }

  /// Replaces `a` [n, n] by its eigenvectors (columns) and returns the eigenvalues; without `vectors` the eigenvalues alone, and `a` is lost.
  static func solve(_ a: inout [Double], _ n: Int, _ control: RunControl, vectors: Bool = true) throws(MedDINOError) -> [Double] {
    var diagonal = [Double](repeating: 0, count: n)
    var off = [Double](repeating: 0, count: n)
    var failure: MedDINOError?
    a.withUnsafeMutableBufferPointer { z in
      do throws(MedDINOError) {
        try tridiagonalize(z, n, &diagonal, &off, control, vectors)
        try iterate(z, n, &diagonal, &off, control, vectors)
      } catch { failure = error }
    }
    if let failure { throw failure }
    return diagonal
  }

  /// Householder reduction; z becomes the accumulated transformation.
  private static func tridiagonalize(
    _ z: UnsafeMutableBufferPointer<Double>, _ n: Int, _ d: inout [Double], _ e: inout [Double], _ control: RunControl, _ vectors: Bool
  ) throws(MedDINOError) {
    for i in stride(from: n - 1, to: 0, by: -1) {
      if i % 32 == 0 { try control.check() }
      let l = i - 1
      var h = 0.0
      var scale = 0.0
      for k in 0...l { scale += abs(z[i * n + k]) }
      if l == 0 || scale == 0 {
        e[i] = z[i * n + l]
        d[i] = 0
        continue
      }
      for k in 0...l {
        z[i * n + k] /= scale
        h += z[i * n + k] * z[i * n + k]
      }
      let f = z[i * n + l]
      let g = f >= 0 ? -h.squareRoot() : h.squareRoot()
      e[i] = scale * g
      h -= f * g
      z[i * n + l] = f - g
      reflect(z, n, i, l, h, &e)
      d[i] = h
    }
    d[0] = 0
    e[0] = 0
    if vectors { accumulate(z, n, &d) } else { for i in 0..<n { d[i] = z[i * n + i] } }
  }

  private static func reflect(_ z: UnsafeMutableBufferPointer<Double>, _ n: Int, _ i: Int, _ l: Int, _ h: Double, _ e: inout [Double]) {
    var sum = 0.0
    for j in 0...l {
      z[j * n + i] = z[i * n + j] / h
      var g = 0.0
      for k in 0...j { g += z[j * n + k] * z[i * n + k] }
      if j < l { for k in (j + 1)...l { g += z[k * n + j] * z[i * n + k] } }
      e[j] = g / h
      sum += e[j] * z[i * n + j]
    }
    let half = sum / (h + h)
    for j in 0...l {
      let f = z[i * n + j]
      let g = e[j] - half * f
      e[j] = g
      for k in 0...j { z[j * n + k] -= f * e[k] + g * z[i * n + k] }
    }
  }

  private static func accumulate(_ z: UnsafeMutableBufferPointer<Double>, _ n: Int, _ d: inout [Double]) {
    var row = [Double](repeating: 0, count: n)
    for i in 0..<n {
      if d[i] != 0 {
        for j in 0..<i { row[j] = 0 }
        for k in 0..<i {
          let factor = z[i * n + k]
          for j in 0..<i { row[j] += factor * z[k * n + j] }
        }
        for k in 0..<i {
          let factor = z[k * n + i]
          for j in 0..<i { z[k * n + j] -= row[j] * factor }
        }
      }
      d[i] = z[i * n + i]
      z[i * n + i] = 1
      for j in 0..<i {
        z[j * n + i] = 0
        z[i * n + j] = 0
      }
    }
  }

  /// Implicit QL with shifts on the tridiagonal matrix (d, e), rotating the columns of z along.
  private static func iterate(
    _ z: UnsafeMutableBufferPointer<Double>, _ n: Int, _ d: inout [Double], _ e: inout [Double], _ control: RunControl, _ vectors: Bool
  ) throws(MedDINOError) {
    for i in 1..<max(n, 1) { e[i - 1] = e[i] }
    e[n - 1] = 0
    for l in 0..<n {
      try control.check()
      for attempt in 0..<60 {
        var m = l
        while m < n - 1, abs(e[m]) > 2.3e-16 * (abs(d[m]) + abs(d[m + 1])) { m += 1 }
        if m == l { break }
        guard attempt < 59 else { throw MedDINOError(.internal, "the eigenvalue iteration does not converge") }
        sweep(z, vectors ? n : 0, &d, &e, l, m)
      }
    }
  }

  /// `n`: rows of z that are rotated.
  private static func sweep(_ z: UnsafeMutableBufferPointer<Double>, _ n: Int, _ d: inout [Double], _ e: inout [Double], _ l: Int, _ m: Int)
  {
    var g = (d[l + 1] - d[l]) / (2 * e[l])
    var r = (g * g + 1).squareRoot()
    g = d[m] - d[l] + e[l] / (g + (g >= 0 ? r : -r))
    var (s, c, p) = (1.0, 1.0, 0.0)
    for i in stride(from: m - 1, through: l, by: -1) {
      let f = s * e[i]
      let b = c * e[i]
      r = (f * f + g * g).squareRoot()
      e[i + 1] = r
      if r == 0 {
        d[i + 1] -= p
        e[m] = 0
        return
      }
      s = f / r
      c = g / r
      g = d[i + 1] - p
      r = (d[i] - g) * s + 2 * c * b
      p = s * r
      d[i + 1] = g + p
      g = c * r - b
      for k in 0..<n {
        let (low, high) = (z[k * n + i], z[k * n + i + 1])
        z[k * n + i + 1] = s * low + c * high
        z[k * n + i] = c * low - s * high
      }
    }
    d[l] -= p
    e[l] = g
    e[m] = 0
  }
}
