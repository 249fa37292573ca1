public import Platform

/// Slices beside maps of their patch features, one slice in a row: grey picture, colours, one or more maps on a scale.
public enum FeatureSheet {
  /// A map of one number or colour per patch.
  public struct Map: Sendable {
    public var title: String
    /// Red, green and blue in 0...1 per patch, row-major.
    public var colours: [[Double]]
    public init(_ title: String, colours: [[Double]]) { (self.title, self.colours) = (title, colours) }

    /// Cosines from -1 (dark blue) over 0 (black) to 1 (yellow).
    public init(_ title: String, cosines: [Double]) {
      self.init(title, colours: cosines.map { $0 >= 0 ? [min($0, 1), min($0, 1) * 0.85, 0.1 * min($0, 1)] : [0, 0.2 * -$0, 0.8 * -$0] })
    }
  }
  public struct Row: Sendable {
    public var caption: String
    /// Grey values in 0...1, row-major, and their extents.
    public var grey: [Float]
    public var rows: Int
    public var columns: Int
    /// Extents of the patch grid, which lies over the whole picture.
    public var patchRows: Int
    public var patchColumns: Int
    public var maps: [Map]
    /// Patches that maps are about, marked in the picture.
    public var marks: [Int]
    public init(
      caption: String, grey: [Float], rows: Int, columns: Int, patchRows: Int, patchColumns: Int, maps: [Map], marks: [Int] = []
    ) {
      (self.caption, self.grey, self.rows, self.columns) = (caption, grey, rows, columns)
      (self.patchRows, self.patchColumns, self.maps, self.marks) = (patchRows, patchColumns, maps, marks)
    }
  }
  private static let side = 256
  private static let gap = 16
  private static let textHeight = 30
  private static let bright = Colour(232, 235, 240, 255)
  private static let markColours = [Colour(86, 180, 233, 255), Colour(240, 160, 30, 255), Colour(20, 190, 140, 255)]

  /// Writes the rows as a PNG. Throws: `.invalid` for no row or values that do not fit their extents, `.outOfMemory`, `.io`.
  public static func write(_ rows: [Row], title: String, to path: String, in budget: MemoryBudget) throws(MedDINOError) {
    let columns = 1 + (rows.map(\.maps.count).max() ?? 0)
    for row in rows {
      let patches = row.patchRows * row.patchColumns
      guard row.rows > 0, row.columns > 0, patches > 0, row.grey.count == row.rows * row.columns,
        row.maps.allSatisfy({ $0.colours.count == patches && $0.colours.allSatisfy { $0.count == 3 } })
      else {
        throw .invalid("a row of the feature sheet has values that do not fit its \(row.rows) × \(row.columns) pixels or its patches")
      }
    }
    guard (1...128).contains(rows.count), columns <= 16 else {
      throw .invalid("\(rows.count) rows of \(columns) pictures, expected 1 to 128 of at most 16")
    }
    let canvas = try Canvas(
      width: gap + columns * (side + gap), height: 2 * gap + textHeight + rows.count * (side + textHeight + gap),
      background: SheetLayout.background, in: budget)
    canvas.text(SheetLayout.shortened(title, to: canvas.width / 20), x: gap, y: gap, scale: 3, bright)
    for (number, row) in rows.enumerated() {
      let y = 2 * gap + textHeight + number * (side + textHeight + gap)
      canvas.text(SheetLayout.shortened(row.caption, to: side / 12), x: gap, y: y, scale: 2, bright)
      draw(row.rows, row.columns, x: gap, y: y + textHeight, on: canvas) { place in
        let value = row.grey[place]
        let byte = value > 0 ? UInt8((min(value, 1) * 255).rounded()) : 0
        return Colour(byte, byte, byte, 255)
      }
      for (index, mark) in row.marks.enumerated() { draw(mark, index, row, x: gap, y: y + textHeight, on: canvas) }
      for (index, map) in row.maps.enumerated() {
        let x = gap + (index + 1) * (side + gap)
        canvas.text(SheetLayout.shortened(map.title, to: side / 12), x: x, y: y, scale: 2, bright)
        draw(row.patchRows, row.patchColumns, x: x, y: y + textHeight, on: canvas) { place in
          let bytes = map.colours[place].map { $0 > 0 ? UInt8((min($0, 1) * 255).rounded()) : 0 }
          return Colour(bytes[0], bytes[1], bytes[2], 255)
        }
      }
    }
    try canvas.writePNG(to: path, in: budget)
  }

  /// A grid of values as large as the square at (x, y) allows without turning it out of shape.
  private static func draw(_ rows: Int, _ columns: Int, x: Int, y: Int, on canvas: Canvas, _ colour: (Int) -> Colour) {
    let (height, width) = size(rows, columns)
    for row in 0..<height {
      for column in 0..<width { canvas.plot(x + column, y + row, colour(row * rows / height * columns + column * columns / width)) }
    }
  }
  private static func size(_ rows: Int, _ columns: Int) -> (height: Int, width: Int) {
    let longest = max(rows, columns)
    return (max(1, rows * side / longest), max(1, columns * side / longest))
  }

  private static func draw(_ mark: Int, _ number: Int, _ row: Row, x: Int, y: Int, on canvas: Canvas) {
    let (height, width) = size(row.rows, row.columns)
    let (top, left) = (mark / row.patchColumns * height / row.patchRows, mark % row.patchColumns * width / row.patchColumns)
    let colour = markColours[number % markColours.count]
    for inset in 0..<2 {
      canvas.frame(
        x: x + left + inset, y: y + top + inset, width: max(4, width / row.patchColumns) - 2 * inset,
        height: max(4, height / row.patchRows) - 2 * inset, colour)
    }
  }
}
