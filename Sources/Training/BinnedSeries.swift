/// Values of a long run in little memory: means over bins of equal width, which double when there are too many.
public struct BinnedSeries: Equatable, Sendable {
  private struct Bin: Equatable, Sendable {
    var number: Int
    var x: Double
    var y: Double
    var count: Int
  }
  private var bins: [Bin] = []
  private var width = 1
  private let limit: Int

  /// `limit`: bins at most, at least 2.
  public init(limit: Int = 2048) { self.limit = max(limit, 2) }

  /// Steps do not fall. Values that are no finite numbers are left out.
  public mutating func append(_ step: Int, _ value: Double) {
    guard value.isFinite, step >= 0 else { return }
    add(Bin(number: step / width, x: Double(step), y: value, count: 1))
    while bins.count > limit {
      width *= 2
      let old = bins
      bins = []
      for var bin in old {
        bin.number /= 2
        add(bin)
      }
    }
  }

  private mutating func add(_ bin: Bin) {
    guard let last = bins.last, last.number == bin.number else { return bins.append(bin) }
    bins[bins.count - 1].x += bin.x
    bins[bins.count - 1].y += bin.y
    bins[bins.count - 1].count += bin.count
  }

  /// Mean step and mean value of each bin.
  public var points: [(x: Double, y: Double)] { bins.map { ($0.x / Double($0.count), $0.y / Double($0.count)) } }
}
