internal import Glibc
public import Platform
public import Tensors

/// Numbers that say whether features are alive: how many directions they use, and how alike the patches of an image are.
///
/// All in double precision. Tokens are float32 [tokens, dim]. Source: Garrido et al., "RankMe", arXiv:2210.02885 (effective rank);
/// Siméoni et al., DINOv3, arXiv:2508.10104, section 4 (patch similarities as the sign of decaying dense features).
public enum FeatureHealth {
  /// exp of the entropy of the singular values divided by their sum: 1 when all rows point one way, min(rows, dim) when all directions are
  /// used alike. Rows are taken as they are, not centred. 0 without a value that is not 0.
  ///
  /// Throws: `.cancelled`, `.invalid` for features that are no finite numbers.
  public static func effectiveRank(_ rows: Tensor, control: RunControl = RunControl()) throws(MedDINOError) -> Double {
    let (count, dim) = (rows.shape[0], rows.shape[1])
    guard count > 0, dim > 0, let x = rows.floats.baseAddress else { return 0 }
    // XᵀX and XXᵀ have the same eigenvalues but for zeros.
    let (side, depth) = (min(count, dim), max(count, dim))
    let (across, along) = count < dim ? (dim, 1) : (1, dim)
    var products = [Double](repeating: 0, count: side * side)
    var column = [Double](repeating: 0, count: side)
    for k in 0..<depth {
      if k % 64 == 0 { try control.check() }
      for i in 0..<side { column[i] = Double(x[i * across + k * along]) }
      products.withUnsafeMutableBufferPointer { to in
        for i in 0..<side { for j in 0...i { to[i * side + j] += column[i] * column[j] } }
      }
    }
    withExtendedLifetime(rows) {}
    for i in 0..<side { for j in 0..<i { products[j * side + i] = products[i * side + j] } }
    guard products.allSatisfy(\.isFinite) else { throw .invalid("the features are NaN or infinite: the network's weights are damaged") }
    let values = try SymmetricEigen.solve(&products, side, control, vectors: false).map { max($0, 0).squareRoot() }
    let sum = values.reduce(0, +)
    guard sum > 0 else { return 0 }
    return exp(values.reduce(0.0) { $1 > 0 ? $0 - $1 / sum * log($1 / sum) : $0 })
  }

  /// Mean cosine similarity over all pairs of different tokens; 1 for fewer than two. Shapes: tokens [tokens, dim].
  public static func meanCosine(_ tokens: Tensor) -> Double {
    let count = tokens.shape[0]
    guard count > 1 else { return 1 }
    // The sum over all pairs is the square of the sum of unit tokens.
    let units = units(tokens)
    var sum = [Double](repeating: 0, count: tokens.shape[1])
    var own = 0.0
    for unit in units {
      for (index, value) in unit.enumerated() {
        sum[index] += value
        own += value * value
      }
    }
    return (sum.reduce(0) { $0 + $1 * $1 } - own) / (Double(count) * Double(count - 1))
  }

  /// Mean cosine similarity of one vector [dim] to tokens [tokens, dim].
  public static func meanCosine(of vector: Tensor, to tokens: Tensor) -> Double {
    let query = units(vector.reshaped([1, vector.count]))[0]
    let units = units(tokens)
    let sum = units.reduce(0.0) { $0 + zip($1, query).reduce(0) { $0 + $1.0 * $1.1 } }
    return units.isEmpty ? 0 : sum / Double(units.count)
  }

  /// Mean cosine similarity of tokens that are neighbours in a row or a column of their grid; 1 without neighbours.
  public static func neighbourCosine(_ tokens: Tensor, rows: Int, columns: Int) -> Double {
    precondition(tokens.shape[0] == rows * columns)
    let units = units(tokens)
    var (sum, pairs) = (0.0, 0)
    func add(_ a: Int, _ b: Int) {
      sum += zip(units[a], units[b]).reduce(0) { $0 + $1.0 * $1.1 }
      pairs += 1
    }
    for row in 0..<rows {
      for column in 0..<columns {
        if column + 1 < columns { add(row * columns + column, row * columns + column + 1) }
        if row + 1 < rows { add(row * columns + column, (row + 1) * columns + column) }
      }
    }
    return pairs == 0 ? 1 : sum / Double(pairs)
  }

  private static func units(_ tokens: Tensor) -> [[Double]] {
    let dim = tokens.shape[1]
    guard let x = tokens.floats.baseAddress else { return [] }
    defer { withExtendedLifetime(tokens) {} }
    return (0..<tokens.shape[0]).map { TokenMaps.unit(x + $0 * dim, dim) }
  }
}
