/// Medians and percentiles as NumPy takes them.
enum Order {
  /// Between two neighbours, from whichever is nearer.
  static func interpolated(_ low: Double, _ high: Double, _ part: Double) -> Double {
    part < 0.5 ? low + (high - low) * part : high - (high - low) * (1 - part)
  }

  /// Linear interpolation between order statistics; `part` in 0...1. 0 for nothing.
  static func percentile(_ values: [Double], _ part: Double) -> Double {
    guard !values.isEmpty else { return 0 }
    let sorted = values.sorted()
    let place = Double(sorted.count - 1) * part
    let low = Int(place)
    return interpolated(sorted[low], sorted[min(low + 1, sorted.count - 1)], place - Double(low))
  }

  /// The middle value, or the mean of the two middle ones.
  static func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return 0 }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }
}
