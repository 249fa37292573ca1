public import Platform

/// Which way the grid axes run in the patient, to the closest axis: one of 48 permutations and flips.
///
/// Letters name the direction that each axis points to, as in nibabel and current ITK: "LPS" runs to left, posterior,
/// superior.
public struct AxisOrientation: Hashable, Sendable, CustomStringConvertible {
  /// World axis of each grid axis: 0 right-left, 1 anterior-posterior, 2 inferior-superior.
  public let worldAxis: [Int]
  /// Whether each grid axis runs against L, P, S.
  public let isNegative: [Bool]

  public static let lps = AxisOrientation(unchecked: [0, 1, 2], [false, false, false])
  public static let ras = AxisOrientation(unchecked: [0, 1, 2], [true, true, false])
  /// All 48.
  public static let all: [AxisOrientation] = {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    return orders.flatMap { order in
      (0..<8).map { AxisOrientation(unchecked: order, [$0 & 1 != 0, $0 & 2 != 0, $0 & 4 != 0]) }
    }
  }()

  private init(unchecked worldAxis: [Int], _ isNegative: [Bool]) {
    self.worldAxis = worldAxis
    self.isNegative = isNegative
  }

  /// "RAS", "lps", …; nil unless the three letters name three different axes.
  public init?(name: String) {
    let letters = Array(name.uppercased())
    guard letters.count == 3 else { return nil }
    var (axes, signs): ([Int], [Bool]) = ([], [])
    for letter in letters {
      guard let index = Array("LPSRAI").firstIndex(of: letter), !axes.contains(index % 3) else { return nil }
      axes.append(index % 3)
      signs.append(index >= 3)
    }
    self.init(unchecked: axes, signs)
  }

  /// The closest orientation of LPS direction cosines (row-major, columns are the grid axes; they may be sheared).
  ///
  /// The matrix is replaced by its polar factor; grid axes 0, 1, 2 in turn take the free world axis of their largest
  /// component.
  /// Throws: `.invalid` when the directions are not finite or linearly dependent.
  /// Source: pipeline specification 1.4 (io_orientation).
  public init(closestTo direction: [Double]) throws(MedDINOError) {
    guard direction.count == 9, let unit = Matrix3(direction).normalizedColumns, let rotation = unit.polarFactor else {
      throw .invalid("direction is \(direction), expected three independent axes")
    }
    var (axes, signs): ([Int], [Bool]) = ([], [])
    for gridAxis in 0..<3 {
      var best = -1
      for world in 0..<3 where !axes.contains(world) {
        if best < 0 || rotation[world, gridAxis].magnitude > rotation[best, gridAxis].magnitude { best = world }
      }
      axes.append(best)
      signs.append(rotation[best, gridAxis] < 0)
    }
    self.init(unchecked: axes, signs)
  }

  public var name: String {
    String((0..<3).map { Array(isNegative[$0] ? "RAI" : "LPS")[worldAxis[$0]] })
  }
  public var description: String { name }

  /// For each axis of `target`: the axis of this orientation that becomes it, and whether it is reversed.
  public func steps(to target: AxisOrientation) -> [(axis: Int, reversed: Bool)] {
    (0..<3).map { axis in
      let source = worldAxis.firstIndex(of: target.worldAxis[axis]) ?? axis
      return (source, isNegative[source] != target.isNegative[axis])
    }
  }
}
