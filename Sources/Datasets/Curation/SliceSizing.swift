internal import Platform
internal import Slices

/// Sizes of a volume's slices on their way: published, resampled to the spacing, stored.
struct SliceSizing: Equatable {
  struct Size: Equatable {
    let rows: Int
    let columns: Int
    var area: Int { rows * columns }
  }
  let published: Size
  let resampled: Size
  /// The padded square between the two resizings; nil unless the rule is to resize.
  let square: Int?
  let stored: Size

  /// `spacing`: of rows and columns in mm. Throws: `.unsupported` when a side would be larger than 16384 pixels.
  init(rows: Int, columns: Int, spacing: (Double, Double), rules: SliceRules) throws(MedDINOError) {
    published = Size(rows: rows, columns: columns)
    func side(_ count: Int, _ own: Double) throws(MedDINOError) -> Int {
      guard let wanted = rules.spacing else { return count }
      let extent = (Double(count) * own / wanted).rounded(.toNearestOrEven)
      guard extent <= Double(SliceRow.largestSide) else {
        throw .unsupported("\(count) pixels of \(own) mm become \(extent), expected at most \(SliceRow.largestSide)")
      }
      return max(1, Int(extent))
    }
    resampled = Size(rows: try side(rows, spacing.0), columns: try side(columns, spacing.1))
    guard max(rows, columns) <= SliceRow.largestSide else {
      throw .unsupported("\(rows) × \(columns) pixels, expected at most \(SliceRow.largestSide) each")
    }
    square = rules.size != nil && rules.fit == .resize ? max(resampled.rows, resampled.columns) : nil
    stored = rules.size.map { Size(rows: $0, columns: $0) } ?? resampled
  }
}
