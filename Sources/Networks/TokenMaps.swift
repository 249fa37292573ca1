public import Platform

/// Maps for the eye that are made of patch tokens: colours of principal components, cosine similarity to one direction.
///
/// Tokens are float32 rows of `dim` values, in any order; results have the same order. Source: model specification 5.
public enum TokenMaps {
  /// The first three principal components of each token, one range over all of them mapped to 0...1.
  ///
  /// Throws: `.shape` for fewer than three tokens or channels, `.cancelled`.
  public static func colours(
    _ tokens: UnsafePointer<Float>, count: Int, dim: Int, control: RunControl = RunControl()
  ) throws(MedDINOError) -> [[Double]] {
    let components = try PrincipalComponents(tokens, rows: count, dim: dim, count: 3, control: control)
    let scores = (0..<count).map { components.scores(tokens + $0 * dim) }
    var (low, high) = (Double.infinity, -Double.infinity)
    for score in scores { for value in score { (low, high) = (min(low, value), max(high, value)) } }
    return scores.map { score in score.map { high > low ? ($0 - low) / (high - low) : 0 } }
  }

  /// A token as a unit vector; zeros stay zeros.
  public static func unit(_ token: UnsafePointer<Float>, _ dim: Int) -> [Double] {
    let values = (0..<dim).map { Double(token[$0]) }
    let length = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return length > 0 ? values.map { $0 / length } : values
  }

  /// The mean direction of unit vectors, of length 1. Shapes: [dim].
  public static func direction(_ units: [[Double]], dim: Int) -> [Double] {
    var sum = [Double](repeating: 0, count: dim)
    for unit in units { for j in 0..<dim { sum[j] += unit[j] } }
    let length = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return length > 0 ? sum.map { $0 / length } : sum
  }

  /// Cosine similarity of a token to a unit direction.
  public static func cosine(_ token: UnsafePointer<Float>, _ direction: [Double]) -> Double {
    zip(unit(token, direction.count), direction).reduce(0) { $0 + $1.0 * $1.1 }
  }
}
