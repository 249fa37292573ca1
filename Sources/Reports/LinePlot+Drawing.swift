/// A rectangle of a canvas. Units: pixels.
public struct PlotFrame: Equatable, Sendable {
  public var x, y, width, height: Int
  public init(x: Int, y: Int, width: Int, height: Int) {
    self.x = x
    self.y = y
    self.width = width
    self.height = height
  }
}

extension LinePlot {
  private static let bright = Colour(232, 235, 240, 255)
  private static let dim = Colour(150, 158, 172, 255)
  private static let grid = Colour(44, 49, 59, 255)
  private static let axis = Colour(92, 99, 112, 255)
  private static let textHeight = 14
  private static let titleHeight = 30
  private static let legendHeight = 24

  /// Draws the plot; the frame's surroundings stay as they are. Needs about 300 × 200 pixels to be readable.
  public func draw(on canvas: Canvas, in frame: PlotFrame) {
    let y = PlotScale(
      values: curves.lazy.flatMap { $0.points.lazy.map(\.y) }, limits: yLimits, logarithmic: isLogarithmic,
      tickCount: max(2, frame.height / 60))
    let labels = y.ticks.map { (place: $0, text: y.label($0)) }
    let labelWidth = labels.map { Canvas.textSize($0.text, scale: 2).width }.max() ?? 0
    let legend = legendRows(width: frame.width)
    let top = frame.y + Self.titleHeight + legend.count * Self.legendHeight + 10
    let inner = PlotFrame(
      x: frame.x + labelWidth + 12, y: top, width: frame.width - labelWidth - 24,
      height: frame.y + frame.height - top - 2 * Self.textHeight - 18)
    canvas.text(SheetLayout.shortened(title, to: max(8, frame.width / 12)), x: frame.x, y: frame.y, scale: 2, Self.bright)
    drawLegend(legend, on: canvas, x: frame.x, y: frame.y + Self.titleHeight)
    guard inner.width >= 40, inner.height >= 40 else { return }
    let x = PlotScale(
      values: [], limits: xLimits, tickCount: max(2, inner.width / 90), whole: true)
    drawGrid(labels, y, x, on: canvas, in: inner)
    for curve in curves where curve.style == .faint { draw(curve, x, y, on: canvas, in: inner) }
    for curve in curves where curve.style != .faint { draw(curve, x, y, on: canvas, in: inner) }
  }

  /// From the first to the last point, at least one unit.
  private var xLimits: ClosedRange<Double> {
    var (low, high) = (Double.infinity, -Double.infinity)
    for curve in curves {
      for point in curve.points where point.x.isFinite {
        low = min(low, point.x)
        high = max(high, point.x)
      }
    }
    return low > high ? 0...1 : low...max(high, low + 1)
  }

  private func drawGrid(
    _ labels: [(place: Double, text: String)], _ y: PlotScale, _ x: PlotScale, on canvas: Canvas, in inner: PlotFrame
  ) {
    let bottom = inner.y + inner.height
    for label in labels {
      guard let row = row(label.place, y, inner) else { continue }
      canvas.fill(x: inner.x, y: row, width: inner.width, height: 1, Self.grid)
      let size = Canvas.textSize(label.text, scale: 2)
      canvas.text(label.text, x: inner.x - 10 - size.width, y: row - size.height / 2, scale: 2, Self.dim)
    }
    for tick in x.ticks {
      guard let place = x.place(tick) else { continue }
      let column = inner.x + Int((place * Double(inner.width - 1)).rounded())
      canvas.fill(x: column, y: inner.y, width: 1, height: inner.height, Self.grid)
      canvas.fill(x: column, y: bottom, width: 1, height: 6, Self.axis)
      let text = x.label(tick)
      let width = Canvas.textSize(text, scale: 2).width
      canvas.text(text, x: min(column - width / 2, inner.x + inner.width + 12 - width), y: bottom + 10, scale: 2, Self.dim)
    }
    canvas.fill(x: inner.x, y: inner.y, width: 1, height: inner.height + 1, Self.axis)
    canvas.fill(x: inner.x, y: bottom, width: inner.width, height: 1, Self.axis)
    let size = Canvas.textSize(xLabel, scale: 2)
    canvas.text(xLabel, x: inner.x + (inner.width - size.width) / 2, y: bottom + 16 + Self.textHeight, scale: 2, Self.dim)
  }

  private func row(_ value: Double, _ y: PlotScale, _ inner: PlotFrame) -> Int? {
    y.place(value).map { inner.y + inner.height - Int(($0 * Double(inner.height)).rounded()) }
  }

  private func draw(_ curve: Curve, _ x: PlotScale, _ y: PlotScale, on canvas: Canvas, in inner: PlotFrame) {
    var colour = curve.colour
    if curve.style == .faint { colour.w = 120 }
    let width = curve.style == .faint ? 1.6 : 2.6
    var previous: (x: Double, y: Double)?
    var travelled = 0.0
    var isJoined = false
    for point in thinned(curve.points, x, inner) {
      guard let across = x.place(point.x), let up = y.place(point.y) else {
        if let previous, !isJoined { canvas.dot(previous, diameter: 5, colour) }
        previous = nil
        continue
      }
      // Values beyond fixed limits run along the edge instead of through the neighbours.
      let here = (
        x: Double(inner.x) + across * Double(inner.width - 1),
        y: Double(inner.y) + (1 - min(max(up, 0), 1)) * Double(inner.height)
      )
      if let before = previous {
        segment(from: before, to: here, width: width, colour, dashed: curve.style == .dashed, travelled: &travelled, on: canvas)
      }
      isJoined = previous != nil
      previous = here
    }
    if let previous, !isJoined { canvas.dot(previous, diameter: 5, colour) }
  }

  private func segment(
    from start: (x: Double, y: Double), to end: (x: Double, y: Double), width: Double, _ colour: Colour, dashed: Bool,
    travelled: inout Double, on canvas: Canvas
  ) {
    guard dashed else { return canvas.stroke(from: start, to: end, width: width, colour) }
    let (dash, period) = (10.0, 17.0)
    let (dx, dy) = (end.x - start.x, end.y - start.y)
    let length = (dx * dx + dy * dy).squareRoot()
    var at = 0.0
    while at < length {
      let phase = (travelled + at).truncatingRemainder(dividingBy: period)
      let stop = min(length, at + max(phase < dash ? dash - phase : period - phase, 1e-6))
      if phase < dash {
        canvas.stroke(
          from: (start.x + dx * at / length, start.y + dy * at / length), to: (start.x + dx * stop / length, start.y + dy * stop / length),
          width: width, colour)
      }
      at = stop
    }
    travelled += length
  }

  /// At most the first, least, greatest and last point of each pixel column, in their order, so that a million points cost no more than
  /// the picture is wide and no peak is lost.
  private func thinned(_ points: [(x: Double, y: Double)], _ x: PlotScale, _ inner: PlotFrame) -> [(x: Double, y: Double)] {
    guard points.count > 4 * inner.width else { return points }
    var result: [(x: Double, y: Double)] = []
    var index = 0
    while index < points.count {
      let begin = index
      let column = x.place(points[begin].x).map { Int($0 * Double(inner.width)) }
      while index < points.count, x.place(points[index].x).map({ Int($0 * Double(inner.width)) }) == column { index += 1 }
      let group = begin..<index
      let finite = group.filter { points[$0].y.isFinite }
      let least = finite.min { points[$0].y < points[$1].y }
      let most = finite.max { points[$0].y < points[$1].y }
      for place in Set([begin, index - 1, least ?? begin, most ?? begin]).sorted() { result.append(points[place]) }
    }
    return result
  }

  // MARK: legend

  private func legendRows(width: Int) -> [[(x: Int, curve: Curve)]] {
    var rows: [[(x: Int, curve: Curve)]] = []
    var x = 0
    for curve in curves where !curve.name.isEmpty {
      let needed = 34 + Canvas.textSize(SheetLayout.shortened(curve.name), scale: 2).width
      if rows.isEmpty || x + needed > width {
        rows.append([])
        x = 0
      }
      rows[rows.count - 1].append((x, curve))
      x += needed + 24
    }
    return rows
  }

  private func drawLegend(_ rows: [[(x: Int, curve: Curve)]], on canvas: Canvas, x: Int, y: Int) {
    for (index, row) in rows.enumerated() {
      let top = y + index * Self.legendHeight
      for entry in row {
        var colour = entry.curve.colour
        if entry.curve.style == .faint { colour.w = 120 }
        let (left, middle) = (Double(x + entry.x), Double(top + Self.textHeight / 2))
        var travelled = 0.0
        segment(
          from: (left + 1, middle), to: (left + 25, middle), width: entry.curve.style == .faint ? 1.6 : 2.6, colour,
          dashed: entry.curve.style == .dashed, travelled: &travelled, on: canvas)
        canvas.text(SheetLayout.shortened(entry.curve.name), x: x + entry.x + 34, y: top, scale: 2, Self.dim)
      }
    }
  }
}
