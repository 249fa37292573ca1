internal import Glibc
public import Platform

/// A number for every step of a run: linear warm-up, half a cosine, a constant end. Computed when asked, nothing is stored per step.
///
/// Two families with different end points. Source: model specification 10.
public struct Schedule: Equatable, Sendable {
  /// Where the samples of the cosine lie.
  private enum Spacing: Equatable, Sendable {
    /// cos(π i / n): the end is not reached (version 1).
    case open
    /// The first n of `points` samples over [0, π], stretched so that the last is the end (version 1, truncated).
    case truncated(points: Int, last: Double)
    /// cos(π i / (n − 1)): the end is reached (version 2).
    case closed
  }
  private static let stepLimit = 1 << 40
  /// Steps of the whole run.
  public let steps: Int
  private let start, peak, end: Double
  private let warmup, cosine: Int
  private let warmupReachesPeak: Bool
  private let spacing: Spacing
  /// So many steps at the beginning are 0.
  private var frozen = 0

  private init(
    steps: Int, _ values: (start: Double, peak: Double, end: Double), warmup: Int, cosine: Int, warmupReachesPeak: Bool, spacing: Spacing
  ) {
    self.steps = steps
    (start, peak, end) = values
    self.warmup = warmup
    self.cosine = cosine
    self.warmupReachesPeak = warmupReachesPeak
    self.spacing = spacing
  }

  /// Version 1: warm-up from `start` to `base` with its end point, then a cosine to `final` over the remaining steps, then `final`.
  ///
  /// `truncation`: part by which the cosine is longer than the run; its end is cut off and the rest stretched.
  /// Throws: `.invalid` when the warm-up is longer than the run, or a number is negative or not finite.
  /// Source: model specification 10.1.
  public static func version1(
    base: Double, final: Double, steps: Int, warmup: Int = 0, start: Double = 0, truncation: Double = 0
  ) throws(MedDINOError) -> Schedule {
    try check((start, base, final), steps: steps, warmup: warmup, cosine: steps - warmup)
    guard truncation >= 0, truncation <= 1000 else { throw .invalid("schedule: truncation is \(truncation), expected 0 to 1000") }
    let count = steps - warmup
    var spacing = Spacing.open
    if truncation > 0, count > 0 {
      let points = Int((1 + truncation) * Double(count))
      spacing = .truncated(points: points, last: raised(count - 1, of: points))
    }
    return Schedule(steps: steps, (start, base, final), warmup: warmup, cosine: count, warmupReachesPeak: true, spacing: spacing)
  }

  /// Version 2: warm-up from `start` to `peak` without its end point, a cosine to `end` over `cosine` steps (all that remain when nil) with
  /// its end point, then `end`.
  ///
  /// Throws: `.invalid` when warm-up and cosine are longer than the run, or a number is negative or not finite.
  /// Source: model specification 10.2.
  public static func version2(
    start: Double, peak: Double, end: Double, steps: Int, warmup: Int, cosine: Int? = nil
  ) throws(MedDINOError) -> Schedule {
    let count = cosine ?? (steps - warmup)
    try check((start, peak, end), steps: steps, warmup: warmup, cosine: count)
    return Schedule(steps: steps, (start, peak, end), warmup: warmup, cosine: count, warmupReachesPeak: false, spacing: .closed)
  }

  public static func constant(_ value: Double, steps: Int) throws(MedDINOError) -> Schedule {
    try version2(start: value, peak: value, end: value, steps: steps, warmup: 0, cosine: 0)
  }

  /// The same schedule with 0 in its first steps: the learning rate of a last layer that is frozen at first.
  public func frozen(first steps: Int) -> Schedule {
    var result = self
    result.frozen = max(steps, 0)
    return result
  }

  /// After the run's last step: the end.
  public func value(at step: Int) -> Double {
    if step < frozen { return 0 }
    if step < warmup {
      return Self.linearSpace(start, peak, at: max(step, 0), points: warmup, reachesEnd: warmupReachesPeak)
    }
    let index = step - warmup
    guard index < cosine else { return end }
    switch spacing {
    case .open: return end + 0.5 * (peak - end) * (1 + cos(.pi * Double(index) / Double(cosine)))
    case .truncated(let points, let last):
      let share = last < 1 ? (Self.raised(index, of: points) - last) / (1 - last) : 1
      return share * (peak - end) + end
    case .closed:
      let angle = Self.linearSpace(0, .pi, at: index, points: cosine, reachesEnd: true)
      return (peak - end) * (1 + cos(angle)) / 2 + end
    }
  }

  /// All steps; for plots and tests.
  public var values: [Double] { (0..<steps).map(value) }

  /// (1 + cos x) / 2 at sample `index` of `points` over [0, π].
  private static func raised(_ index: Int, of points: Int) -> Double {
    (1 + cos(linearSpace(0, .pi, at: index, points: points, reachesEnd: true))) / 2
  }

  /// Sample `index` of `points` equally spaced ones from `from` to `to`; one sample is `from`.
  private static func linearSpace(_ from: Double, _ to: Double, at index: Int, points: Int, reachesEnd: Bool) -> Double {
    let parts = reachesEnd ? points - 1 : points
    if parts <= 0 || index == 0 { return from }
    if reachesEnd, index == parts { return to }
    return from + (to - from) / Double(parts) * Double(index)
  }

  private static func check(
    _ values: (Double, Double, Double), steps: Int, warmup: Int, cosine: Int
  ) throws(MedDINOError) {
    guard values.0.isFinite, values.1.isFinite, values.2.isFinite else {
      throw .invalid("schedule: values are \(values.0), \(values.1), \(values.2), expected finite numbers")
    }
    guard (0...stepLimit).contains(steps) else { throw .invalid("schedule: \(steps) steps, expected 0 to \(stepLimit)") }
    guard warmup >= 0, cosine >= 0, warmup <= steps, cosine <= steps - warmup else {
      throw .invalid("schedule: warm-up of \(warmup) and cosine of \(cosine) steps, expected at most the run's \(steps) together")
    }
  }
}
