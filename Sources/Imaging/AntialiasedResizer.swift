/// Resizing with a filter that is widened when shrinking, as torchvision's tensor `Resize` does it.
///
/// Half-pixel centres; per axis n → m: scale n / m, the filter stretched by max(scale, 1). Separable; columns first, then rows.
/// Source: model specification 5 (bilinear), 7.1 (bicubic crops).
public struct AntialiasedResizer: Sendable {
  public enum Filter: Sendable {
    /// A triangle: bilinear.
    case linear
    /// Cubic convolution with a = −0.5 (Keys 1981), what antialiased bicubic resizing uses.
    case cubic

    var radius: Double { self == .linear ? 1 : 2 }
    func weight(_ distance: Double) -> Double {
      let t = abs(distance)
      switch self {
      case .linear: return max(0, 1 - t)
      case .cubic:
        if t < 1 { return (1.5 * t - 2.5) * t * t + 1 }
        return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0
      }
    }
  }

  private struct Axis: Sendable {
    /// First input sample and weights of each output sample.
    let first: [Int]
    let weights: [[Float]]

    init(_ n: Int, _ m: Int, _ filter: Filter) {
      let scale = Double(n) / Double(m)
      let stretch = max(scale, 1)
      let support = filter.radius * stretch
      var first: [Int] = []
      var weights: [[Float]] = []
      for i in 0..<m {
        let centre = (Double(i) + 0.5) * scale
        let low = max(Int((centre - support + 0.5).rounded(.down)), 0)
        let high = min(Int((centre + support + 0.5).rounded(.down)), n)
        var taps = (low..<max(high, low)).map { j in filter.weight((Double(j) - centre + 0.5) / stretch) }
        let sum = taps.reduce(0, +)
        if sum > 0 { taps = taps.map { $0 / sum } }
        first.append(low)
        weights.append(taps.map(Float.init))
      }
      self.first = first
      self.weights = weights
    }
  }
  public let rows: Int
  public let columns: Int
  public let toRows: Int
  public let toColumns: Int
  private let vertical: Axis
  private let horizontal: Axis

  /// All extents at least 1.
  public init(rows: Int, columns: Int, toRows: Int, toColumns: Int, filter: Filter = .linear) {
    precondition(rows > 0 && columns > 0 && toRows > 0 && toColumns > 0)
    (self.rows, self.columns, self.toRows, self.toColumns) = (rows, columns, toRows, toColumns)
    vertical = Axis(rows, toRows, filter)
    horizontal = Axis(columns, toColumns, filter)
  }

  public var scratchCount: Int { rows * toColumns }

  /// plane [rows, columns] → out [toRows, toColumns]; scratch holds `scratchCount` values.
  public func resize(_ plane: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>) {
    for row in 0..<rows {
      let line = plane + row * columns
      for (column, taps) in horizontal.weights.enumerated() {
        var sum: Float = 0
        let first = horizontal.first[column]
        for (k, weight) in taps.enumerated() { sum += weight * line[first + k] }
        scratch[row * toColumns + column] = sum
      }
    }
    for (row, taps) in vertical.weights.enumerated() {
      let target = out + row * toColumns
      for column in 0..<toColumns { target[column] = 0 }
      for (k, weight) in taps.enumerated() {
        let line = scratch + (vertical.first[row] + k) * toColumns
        for column in 0..<toColumns { target[column] += weight * line[column] }
      }
    }
  }
}

/// MedDINOv3's fixed CT normalisation, used where a model brings no plan of its own (a bare backbone).
/// Units: Hounsfield in, standard deviations out; NaN counts as the lowest value. Source: model specification 5.
public enum HounsfieldNormalization {
  public static let range: ClosedRange<Float> = -1000...1000
  public static let mean: Float = 65.1084213256836
  public static let deviation: Float = 178.01663208007812

  /// Within the range; NaN is its lowest value.
  public static func clipped(_ value: Float) -> Float { value > range.lowerBound ? min(value, range.upperBound) : range.lowerBound }

  public static func apply(_ values: UnsafeMutableBufferPointer<Float>) {
    for index in values.indices { values[index] = (clipped(values[index]) - mean) / (deviation + 1e-8) }
  }
}
