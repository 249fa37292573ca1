public import Platform
public import Tensors
internal import Glibc

/// The weight of every pixel of a tile when overlapping tiles are added: a Gaussian with sigma = tile / 8 and peak 10.
///
/// Numerical notes: computed in float64, rounded once. The official map is rounded to half precision.
/// Source: pipeline specification 10.4.
public enum GaussianImportance {
  /// The map of `rows` × `columns` weights, all above zero.
  /// Throws: `.outOfMemory`, `.shape` for an empty tile.
  public static func map(
    rows: Int, columns: Int, roundedToHalf: Bool = false, in budget: MemoryBudget
  ) throws(MedDINOError) -> Tensor {
    guard rows > 0, columns > 0 else { throw .shape("importance map of \(rows) × \(columns), expected at least 1 × 1") }
    let result = try Tensor([rows, columns], .float32, in: budget, "importance map")
    let vertical = try profile(rows, in: budget)
    let horizontal = try profile(columns, in: budget)
    defer { withExtendedLifetime((vertical, horizontal)) {} }
    let out = result.floats
    var smallest = Float.infinity
    for row in 0..<rows {
      let factor = 10 * vertical.elements(Double.self)[row]
      for column in 0..<columns {
        var weight = Float(factor * horizontal.elements(Double.self)[column])
        if roundedToHalf { weight = floatFromFloat16(float16Bits(weight)) }
        if weight > 0 { smallest = min(smallest, weight) }
        out[row * columns + column] = weight
      }
    }
    for index in 0..<out.count where out[index] == 0 { out[index] = smallest }
    return result
  }

  private static func profile(_ count: Int, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let result = try Tensor([count], .float64, in: budget, "importance profile")
    let values = result.elements(Double.self)
    let sigma = Double(count) / 8
    for index in 0..<count {
      let distance = Double(index - count / 2)
      values[index] = exp(-distance * distance / (2 * sigma * sigma))
    }
    return result
  }
}
