internal import Glibc
internal import Platform

/// Where numbers lie on an axis, and which of them get a tick.
struct PlotScale: Equatable {
  /// Powers of ten at equal distances instead of numbers; for positive values.
  let isLogarithmic: Bool
  let low: Double
  let high: Double
  /// Ascending, inside [low, high].
  let ticks: [Double]
  private let tickStep: Double
  /// Greater values lie at the edge: differences and powers must not overflow.
  private static let largest = 1e300

  /// A scale that shows all finite values (positive ones when logarithmic) with round ends.
  ///
  /// `limits` fixes the ends. `tickCount`: about so many ticks. `whole`: only whole numbers have a tick.
  init(values: some Sequence<Double>, limits: ClosedRange<Double>? = nil, logarithmic: Bool = false, tickCount: Int, whole: Bool = false) {
    isLogarithmic = logarithmic
    var (least, most) = (Double.infinity, -Double.infinity)
    for value in values where value.isFinite && (!logarithmic || value > 0) {
      let value = min(max(value, -Self.largest), Self.largest)
      least = min(least, value)
      most = max(most, value)
    }
    if let limits { (least, most) = (limits.lowerBound, limits.upperBound) }
    if least > most { (least, most) = logarithmic ? (0.1, 1) : (0, 1) }
    if logarithmic {
      (low, high, ticks) = Self.decades(least, most, tickCount: tickCount)
      tickStep = 0
      return
    }
    if most - least <= most.magnitude * 1e-9 {
      let room = most == 0 ? 1 : most.magnitude * 0.1
      (least, most) = (least - room, most + room)
    }
    let step = Self.roundStep((most - least) / Double(max(tickCount, 1)), whole: whole)
    tickStep = step
    low = limits == nil ? (least / step + 1e-10).rounded(.down) * step : least
    high = limits == nil ? (most / step - 1e-10).rounded(.up) * step : most
    let first = (low / step - 1e-9).rounded(.up)
    let count = max(0, Int(min(((high / step + 1e-9).rounded(.down) - first), 200)))
    ticks = (0...count).map { (first + Double($0)) * step }.filter { [low, high] in $0 >= low - step * 1e-6 && $0 <= high + step * 1e-6 }
  }

  /// 1, 2 or 5 times a power of ten that is at least `size`.
  private static func roundStep(_ size: Double, whole: Bool) -> Double {
    let power = pow(10, log10(max(size, 1e-300)).rounded(.down))
    let step = [1, 2, 5, 10].first { $0 * power >= size * (1 - 1e-9) } ?? 10
    return whole ? max(1, step * power) : step * power
  }

  private static func decades(_ least: Double, _ most: Double, tickCount: Int) -> (Double, Double, [Double]) {
    let first = Int(log10(least).rounded(.down))
    let last = max(Int(log10(most).rounded(.up)), first + 1)
    let stride = max(1, (last - first + tickCount - 1) / max(tickCount, 1))
    let powers = Swift.stride(from: first, through: last, by: stride).map { pow(10, Double($0)) }
    var ticks = powers
    // One decade alone has too few ticks.
    if last - first <= 2, stride == 1 { ticks = powers.flatMap { [$0, 2 * $0, 5 * $0] }.filter { $0 <= pow(10, Double(last)) } }
    return (pow(10, Double(first)), pow(10, Double(last)), ticks)
  }

  /// 0 at the low end, 1 at the high one; nil for what a scale cannot show.
  func place(_ value: Double) -> Double? {
    guard value.isFinite else { return nil }
    let value = min(max(value, -Self.largest), Self.largest)
    if isLogarithmic {
      return value > 0 ? (log10(value) - log10(low)) / (log10(high) - log10(low)) : nil
    }
    return (value - low) / (high - low)
  }

  /// A tick as text, with as many digits as its neighbours need.
  func label(_ tick: Double) -> String {
    let largest = max(low.magnitude, high.magnitude)
    if tick.magnitude < largest * 1e-12 { return "0" }
    if isLogarithmic || largest >= 1e6 || largest < 2e-3 { return Self.scientific(tick) }
    let digits = max(0, Int((-log10(tickStep) - 1e-9).rounded(.up)))
    return DecimalText.fixed(tick, digits: digits)
  }

  /// Such as "3e-4" or "1.5e6"; plain from 0.01 to 9999.
  static func scientific(_ value: Double) -> String {
    if value == 0 { return "0" }
    var exponent = Int(log10(value.magnitude).rounded(.down))
    var lead = (value / pow(10, Double(exponent)) * 100).rounded() / 100
    if lead.magnitude >= 10 {
      lead /= 10
      exponent += 1
    }
    func trimmed(_ value: Double, digits: Int) -> String {
      var text = DecimalText.fixed(value, digits: digits)
      while digits > 0, text.hasSuffix("0") { text.removeLast() }
      if text.hasSuffix(".") { text.removeLast() }
      return text
    }
    if (-2...3).contains(exponent) { return trimmed(value, digits: max(0, 2 - exponent)) }
    return trimmed(lead, digits: 2) + "e\(exponent)"
  }
}
