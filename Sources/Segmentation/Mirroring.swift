public import Platform

/// One way of flipping a tile before the network sees it; its logits are flipped back afterwards.
public struct Mirroring: Equatable, Sendable {
  public let rows: Bool
  public let columns: Bool
  public init(rows: Bool, columns: Bool) {
    self.rows = rows
    self.columns = columns
  }

  /// The tile as it is, then every non-empty set of the allowed axes (0 = rows, 1 = columns): {0}, {1}, {0, 1}.
  ///
  /// Throws: `.invalid` for another axis. Source: pipeline specification 10.5.
  public static func all(axes: [Int]) throws(MedDINOError) -> [Mirroring] {
    for axis in axes where axis != 0 && axis != 1 {
      throw .invalid("mirror_axes holds \(axis), expected 0 (rows) and 1 (columns)")
    }
    let rows = axes.contains(0)
    let columns = axes.contains(1)
    var result = [Mirroring(rows: false, columns: false)]
    if rows { result.append(Mirroring(rows: true, columns: false)) }
    if columns { result.append(Mirroring(rows: false, columns: true)) }
    if rows && columns { result.append(Mirroring(rows: true, columns: true)) }
    return result
  }
}
