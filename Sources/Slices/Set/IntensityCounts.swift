package import Platform
public import WeightFiles

/// How often each HU value occurs: all intensity statistics follow from it exactly, in whatever order slices were counted.
public struct IntensityCounts: Equatable, Sendable {
  /// The value of the first count. Units: HU.
  public let first: Int
  public private(set) var counts: [Int]

  public init(_ range: ClosedRange<Int>) {
    first = range.lowerBound
    counts = [Int](repeating: 0, count: range.count)
  }

  /// Values outside the range count at its ends.
  public mutating func add(_ values: UnsafeBufferPointer<Int16>) {
    let last = counts.count - 1
    counts.withUnsafeMutableBufferPointer { counts in
      for value in values { counts[min(max(Int(value) - first, 0), last)] &+= 1 }
    }
  }

  /// The other range may be different; values outside this one count at its ends.
  public mutating func add(_ other: IntensityCounts) {
    for (index, count) in other.counts.enumerated() {
      counts[min(max(other.first + index - first, 0), counts.count - 1)] &+= count
    }
  }

  /// Statistics of the pixels at or above `threshold`.
  public func statistics(from threshold: Int = Int.min) -> IntensityStatistics {
    let skipped = threshold <= first ? 0 : min(threshold - first, counts.count)
    return IntensityStatistics(first: first + skipped, counts: counts[skipped...])
  }

  package var json: JSON { .object(("first_hu", .integer(first)), ("counts", .integers(counts))) }

  package init(_ json: JSON, _ source: String) throws(MedDINOError) {
    let fields = JSONFields(json, source)
    first = try fields.integer("first_hu")
    counts = try fields.integers("counts")
    guard (-32768...32767).contains(first), (1...65536).contains(counts.count), counts.allSatisfy({ $0 >= 0 && $0 < 1 << 56 }) else {
      throw .format("\(source): the counts of intensities are out of range")
    }
  }
}

/// Units: HU. Percentiles are values that occur.
public struct IntensityStatistics: Equatable, Sendable {
  public let pixels: Int
  public let mean: Double
  public let deviation: Double
  public let minimum: Int
  public let maximum: Int
  public let median: Int
  public let percentile0005: Int
  public let percentile9995: Int

  init(first: Int, counts: ArraySlice<Int>) {
    var (total, sum) = (0, 0.0)
    for (place, count) in counts.enumerated() where count > 0 {
      total += count
      sum += Double(first + place) * Double(count)
    }
    let average = total > 0 ? sum / Double(total) : 0
    var squares = 0.0
    for (place, count) in counts.enumerated() where count > 0 {
      let distance = Double(first + place) - average
      squares += distance * distance * Double(count)
    }
    func value(_ fraction: Double) -> Int {
      let wanted = max(1, Int((fraction * Double(total)).rounded(.up)))
      var seen = 0
      for (place, count) in counts.enumerated() {
        seen += count
        if seen >= wanted { return first + place }
      }
      return 0
    }
    pixels = total
    mean = average
    deviation = total > 0 ? (squares / Double(total)).squareRoot() : 0
    minimum = value(0)
    maximum = value(1)
    median = value(0.5)
    percentile0005 = value(0.005)
    percentile9995 = value(0.995)
  }

  public var json: JSON {
    .object(
      ("pixels", .integer(pixels)), ("mean", .number(mean)), ("std", .number(deviation)), ("min", .integer(minimum)),
      ("max", .integer(maximum)), ("median", .integer(median)), ("percentile_00_5", .integer(percentile0005)),
      ("percentile_99_5", .integer(percentile9995)))
  }
}
