public import Platform

/// Decisions of the nnU-Net resampling primitive, and the primitive on whole arrays (`Resampling+Image`,
/// `Resampling+Labels`).
///
/// Spacings and shapes are in array order (axis 0 = slices).
public enum Resampling {
  /// The axis whose slices are resampled on their own, or nil.
  ///
  /// A spacing is anisotropic when max / min > 3. `force`: true takes the coarsest axis of `current`, false never
  /// separates.
  /// Source: pipeline specification 4.5, separate-z decision.
  public static func separateAxis(current: [Double], new: [Double], force: Bool?) -> Int? {
    func isAnisotropic(_ spacing: [Double]) -> Bool {
      guard let high = spacing.max(), let low = spacing.min() else { return false }
      return high / low > 3
    }
    func coarsest(_ spacing: [Double]) -> Int? {
      let high = spacing.max() ?? 0
      let axes = spacing.indices.filter { high / spacing[$0] == 1 }
      return axes.count == 1 ? axes[0] : nil
    }
    if let force { return force ? coarsest(current) : nil }
    if isAnisotropic(current) { return coarsest(current) }
    return isAnisotropic(new) ? coarsest(new) : nil
  }

  /// `round(current / new * shape)` per axis, left to right in Double, half to even.
  /// Throws: `.invalid` for different lengths, spacings that are not positive, or a result outside 1...2147483647.
  /// Source: pipeline specification 4.3.
  public static func newShape(shape: [Int], current: [Double], new: [Double]) throws(MedDINOError) -> [Int] {
    guard shape.count == current.count, shape.count == new.count else {
      throw .invalid("spacing has \(current.count) and \(new.count) values, expected \(shape.count)")
    }
    try check(current, "current spacing")
    try check(new, "new spacing")
    var result: [Int] = []
    for axis in shape.indices {
      let extent = (current[axis] / new[axis] * Double(shape[axis])).rounded(.toNearestOrEven)
      guard extent >= 1, extent <= 2_147_483_647 else {
        throw .invalid(
          "axis \(axis): \(shape[axis]) samples of \(current[axis]) mm become \(extent) of \(new[axis]) mm, expected 1...2147483647")
      }
      result.append(Int(extent))
    }
    return result
  }

  static func check(_ spacing: [Double], _ name: String) throws(MedDINOError) {
    for value in spacing {
      guard value.isFinite, value > 0 else { throw .invalid("\(name) is \(value), expected a positive number of mm") }
    }
  }
}
