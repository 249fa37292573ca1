extension Canvas {
  /// A line of any width with smooth edges and round ends. Units: pixels; the middle of pixel (0, 0) is (0, 0).
  ///
  /// The part of each pixel that the line covers is taken from the distance of the pixel's middle to the line.
  func stroke(from start: (x: Double, y: Double), to end: (x: Double, y: Double), width: Double, _ colour: Colour) {
    guard [start.x, start.y, end.x, end.y, width].allSatisfy({ $0.isFinite && $0.magnitude < 1e6 }), width > 0 else { return }
    let reach = width / 2 + 0.5
    let (dx, dy) = (end.x - start.x, end.y - start.y)
    let length = dx * dx + dy * dy
    let rows = bounds(min(start.y, end.y) - reach, max(start.y, end.y) + reach, below: height)
    for y in rows {
      let columns = columns(atRow: Double(y), from: start, to: end, reach: reach)
      for x in columns {
        let (px, py) = (Double(x) - start.x, Double(y) - start.y)
        let along = length > 0 ? min(max((px * dx + py * dy) / length, 0), 1) : 0
        let (ex, ey) = (px - along * dx, py - along * dy)
        let cover = min(max(reach - (ex * ex + ey * ey).squareRoot(), 0), 1)
        if cover > 0 { plot(x, y, Colour(colour.x, colour.y, colour.z, UInt8((Double(colour.w) * cover).rounded()))) }
      }
    }
  }

  /// A filled circle with a smooth edge.
  func dot(_ centre: (x: Double, y: Double), diameter: Double, _ colour: Colour) {
    stroke(from: centre, to: centre, width: diameter, colour)
  }

  /// The columns that a line can touch in one row: a long slanted line is not worth its whole rectangle.
  private func columns(
    atRow y: Double, from start: (x: Double, y: Double), to end: (x: Double, y: Double), reach: Double
  ) -> Range<Int> {
    let (left, right) = (min(start.x, end.x) - reach, max(start.x, end.x) + reach)
    let dy = end.y - start.y
    guard dy.magnitude > 1e-9 else { return bounds(left, right, below: width) }
    let slope = (end.x - start.x) / dy
    let a = start.x + (y - reach - start.y) * slope
    let b = start.x + (y + reach - start.y) * slope
    return bounds(max(left, min(a, b) - reach), min(right, max(a, b) + reach), below: width)
  }

  private func bounds(_ low: Double, _ high: Double, below limit: Int) -> Range<Int> {
    let begin = Int(min(max(low.rounded(.down), 0), Double(limit)))
    let end = Int(min(max(high.rounded(.up) + 1, 0), Double(limit)))
    return begin..<max(begin, end)
  }
}
