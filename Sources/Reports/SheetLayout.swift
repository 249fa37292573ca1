/// Where things lie on an overlay sheet, and its frame: title, captions, legend.
struct SheetLayout {
  struct LegendLine {
    var name: String
    var detail: String
    var colour: Colour
    var present: Bool
  }

  static let background = Colour(17, 19, 24, 255)
  static let maximumLegendLines = 160
  private static let bright = Colour(232, 235, 240, 255)
  private static let dim = Colour(138, 146, 160, 255)
  private static let rule = Colour(52, 57, 68, 255)
  private static let margin = 28
  private static let gap = 14
  private static let captionHeight = 30
  private static let lineHeight = 26
  private static let swatch = 14

  let width: Int
  let height: Int
  private let columns: Int
  private let cellWidth: Int
  private let cellHeight: Int
  private let sliceWidth: Int
  private let sliceHeight: Int
  private let top: Int
  private let legendX: Int
  private let legendColumnWidth: Int
  private let legendRows: Int

  init(slices: Int, sliceWidth: Int, sliceHeight: Int, legend: [(name: String, detail: String)], title: String) {
    self.sliceWidth = sliceWidth
    self.sliceHeight = sliceHeight
    cellWidth = max(sliceWidth, 170)
    cellHeight = sliceHeight + Self.captionHeight
    columns = Self.columns(slices: slices, cellWidth: cellWidth, cellHeight: cellHeight)
    let rows = (slices + columns - 1) / columns
    top = Self.margin + (title.isEmpty ? 0 : 34) + 28
    let gridWidth = columns * cellWidth + (columns - 1) * Self.gap
    let gridHeight = max(rows * cellHeight + (rows - 1) * Self.gap, 160)
    let nameWidth = legend.map { Canvas.textSize(Self.shortened($0.name), scale: 2).width }.max() ?? 0
    let detailWidth = legend.map { Canvas.textSize($0.detail, scale: 2).width }.max() ?? 0
    legendColumnWidth = Self.swatch + 12 + nameWidth + 24 + detailWidth + 28
    legendRows = max(1, gridHeight / Self.lineHeight)
    let legendColumns = (legend.count + legendRows - 1) / legendRows
    legendX = Self.margin + gridWidth + 2 * Self.gap
    let legendWidth = legendColumns == 0 ? 0 : 2 * Self.gap + legendColumns * legendColumnWidth - 28
    let needed =
      Self.margin * 2 + max(gridWidth + legendWidth, Canvas.textSize(Self.shortened(title, to: 60), scale: 3).width)
    width = max(needed, 720)
    height = top + gridHeight + Self.margin
  }

  func corner(ofSlice place: Int) -> (x: Int, y: Int) {
    (
      Self.margin + place % columns * (cellWidth + Self.gap) + (cellWidth - sliceWidth) / 2,
      top + place / columns * (cellHeight + Self.gap)
    )
  }

  func drawFrame(on canvas: Canvas, title: String, subtitle: String, legend: [LegendLine]) {
    var y = Self.margin
    if !title.isEmpty {
      canvas.text(Self.shortened(title, to: 60), x: Self.margin, y: y, scale: 3, Self.bright)
      y += 34
    }
    canvas.text(subtitle, x: Self.margin, y: y, scale: 2, Self.dim)
    for (index, line) in legend.enumerated() {
      let x = legendX + index / legendRows * legendColumnWidth
      let y = top + index % legendRows * Self.lineHeight
      drawLegend(line, x: x, y: y, on: canvas)
    }
  }

  private func drawLegend(_ line: LegendLine, x: Int, y: Int, on canvas: Canvas) {
    let side = Self.swatch
    if line.present {
      canvas.fill(x: x, y: y, width: side, height: side, line.colour)
    } else if line.colour.w > 0 {
      canvas.frame(x: x, y: y, width: side, height: side, line.colour)
    }
    let colour = line.present ? Self.bright : Self.dim
    canvas.text(Self.shortened(line.name), x: x + side + 12, y: y, scale: 2, colour)
    let right = x + legendColumnWidth - 28
    canvas.text(line.detail, x: right - Canvas.textSize(line.detail, scale: 2).width, y: y, scale: 2, Self.dim)
  }

  /// The slice's border with the sides of the patient, and the position below it.
  func drawCaption(_ caption: String, slice place: Int, on canvas: Canvas) {
    let (x, y) = corner(ofSlice: place)
    canvas.frame(x: x - 1, y: y - 1, width: sliceWidth + 2, height: sliceHeight + 2, Self.rule)
    Self.drawEdges(.axial, x: x, y: y, width: sliceWidth, height: sliceHeight, on: canvas)
    canvas.text(caption, x: x, y: y + sliceHeight + 8, scale: 2, Self.dim)
  }

  /// Which sides of the patient lie at the left and right edge of a slice that is large enough.
  static func drawEdges(_ plane: DisplayAxes.Plane, x: Int, y: Int, width: Int, height: Int, on canvas: Canvas) {
    guard width >= 80, height >= 40 else { return }
    for (letter, left) in [(plane.edges.left, x + 7), (plane.edges.right, x + width - 17)] {
      canvas.fill(x: left - 3, y: y + 4, width: 16, height: 20, Colour(background.x, background.y, background.z, 140))
      canvas.text(letter, x: left, y: y + 7, scale: 2, bright)
    }
  }

  /// The number of columns that makes the grid closest to a landscape page.
  private static func columns(slices: Int, cellWidth: Int, cellHeight: Int) -> Int {
    var best = (columns: 1, distance: Double.infinity)
    for columns in 1...max(1, slices) {
      let rows = (slices + columns - 1) / columns
      let aspect = Double(columns * cellWidth) / Double(rows * cellHeight)
      let empty = Double(rows * columns - slices) / Double(max(1, slices))
      let distance = max(aspect / 1.4, 1.4 / aspect) + empty
      if distance < best.distance { best = (columns, distance) }
    }
    return best.columns
  }

  static func shortened(_ text: String, to length: Int = 28) -> String {
    text.unicodeScalars.count <= length ? text : String(text.unicodeScalars.prefix(length - 2)) + ".."
  }
}
