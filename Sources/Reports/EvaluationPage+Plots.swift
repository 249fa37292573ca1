internal import Imaging

/// Dots of all cases per structure, with mean and range of the middle half.
extension EvaluationPage {
  var dicePlot: String { plot(title: "Dice", structures.indices.map { at in cases.map { $0.dice[at] } }, highest: 1, digits: 1) }

  var hausdorffPlot: String {
    let values = structures.indices.map { at in cases.map { $0.hausdorff95[at] } }
    let largest = values.flatMap { $0 }.filter { $0.isFinite }.max() ?? 0
    return plot(title: "HD95 in mm", values, highest: Self.roundScale(max(largest, 0.5)), digits: largest < 5 ? 1 : 0)
  }

  /// The next of a few round numbers times a power of ten that is not below `value`; a fifth of it is round too.
  static func roundScale(_ value: Double) -> Double {
    var power = 1e-3
    while power * 10 < value, power < 1e12 { power *= 10 }
    return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 10].map { $0 * power }.first { $0 >= value } ?? value
  }

  private static let left = 190.0
  private static let right = 1080.0
  private static let rowHeight = 28.0

  private func plot(title: String, _ values: [[Double]], highest: Double, digits: Int) -> String {
    let height = 40 + Self.rowHeight * Double(values.count)
    func x(_ value: Double) -> Double { Self.left + (Self.right - Self.left) * min(max(value / highest, 0), 1) }
    var out = "<svg viewBox=\"0 0 1100 \(short(height + 22))\" role=\"img\" aria-label=\"\(HTMLText.escaped(title)) per structure\">\n"
    out += "<text x=\"0\" y=\"14\" class=\"title\">\(HTMLText.escaped(title))</text>\n"
    for tick in 0...5 {
      let value = highest * Double(tick) / 5
      let at = short(x(value))
      out += "<line x1=\"\(at)\" x2=\"\(at)\" y1=\"24\" y2=\"\(short(height))\" stroke=\"#d9dde4\"/>"
      out += "<text class=\"dim\" x=\"\(at)\" y=\"\(short(height + 16))\" text-anchor=\"middle\">\(HTMLText.number(value, digits))</text>\n"
    }
    for (row, list) in values.enumerated() {
      let y = 24 + Self.rowHeight * (Double(row) + 0.5)
      out += "<text x=\"0\" y=\"\(short(y + 4))\">\(HTMLText.escaped(SheetLayout.shortened(structures[row].name, to: 26)))</text>\n"
      out += dots(list.filter { !$0.isNaN }, y: y, x: x, colour: HTMLText.hex(structures[row].colour))
    }
    return out + "</svg>\n"
  }

  private func dots(_ values: [Double], y: Double, x: (Double) -> Double, colour: String) -> String {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return "<text class=\"dim\" x=\"\(short(Self.left + 6))\" y=\"\(short(y + 4))\">no value</text>\n" }
    func quantile(_ q: Double) -> Double {
      let place = q * Double(sorted.count - 1)
      let low = sorted[Int(place)]
      return low + (sorted[min(Int(place) + 1, sorted.count - 1)] - low) * (place - place.rounded(.down))
    }
    var out = ""
    if sorted.count > 3 {
      let (from, to) = (x(quantile(0.25)), x(quantile(0.75)))
      out +=
        "<rect x=\"\(short(from))\" y=\"\(short(y - 9))\" width=\"\(short(max(to - from, 1)))\" height=\"18\" rx=\"3\""
      out += " fill=\"\(colour)\" opacity=\"0.22\"/>"
    }
    for (index, value) in values.enumerated() {
      // A fixed zigzag keeps equal values apart.
      let offset = values.count < 4 ? 0 : Double(index * 7 % 5) * 3 - 6
      out +=
        "<circle cx=\"\(short(x(value)))\" cy=\"\(short(y + offset))\" r=\"3.2\" fill=\"\(colour)\""
      out += " stroke=\"#1a1f2b\" stroke-width=\"0.5\" opacity=\"0.8\"/>"
    }
    let mean = short(x(sorted.reduce(0, +) / Double(sorted.count)))
    return out
      + "<line x1=\"\(mean)\" x2=\"\(mean)\" y1=\"\(short(y - 11))\" y2=\"\(short(y + 11))\" stroke=\"#1a1f2b\" stroke-width=\"2\"/>\n"
  }

  private func short(_ value: Double) -> String { HTMLText.number(value, 1) }
}
