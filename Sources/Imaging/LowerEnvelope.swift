/// The lower envelope of parabolas height + (spacing · (q − position))² along a line of voxels.
///
/// Positions are added in ascending order, then values are read in ascending order. Lives in scratch memory of `bytes(for:)`.
/// Source: Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions" (2012).
struct LowerEnvelope {
  private let positions: UnsafeMutablePointer<Int>
  private let heights: UnsafeMutablePointer<Double>
  /// Where each parabola begins to be the lowest.
  private let starts: UnsafeMutablePointer<Double>
  private let spacing: Double
  private(set) var count = 0
  private var cursor = 0

  static func bytes(for length: Int) -> Int { length * 24 }

  init(_ scratch: UnsafeMutableRawPointer, length: Int, spacing: Double) {
    positions = scratch.bindMemory(to: Int.self, capacity: length)
    heights = (scratch + 8 * length).bindMemory(to: Double.self, capacity: length)
    starts = (scratch + 16 * length).bindMemory(to: Double.self, capacity: length)
    self.spacing = spacing
  }

  mutating func restart() {
    count = 0
    cursor = 0
  }

  mutating func add(_ position: Int, _ height: Double) {
    var start = -Double.infinity
    while count > 0 {
      let (last, gap) = (positions[count - 1], Double(position - positions[count - 1]))
      start = Double(position + last) / 2 + (height - heights[count - 1]) / (2 * spacing * spacing * gap)
      if start > starts[count - 1] { break }
      count -= 1
      start = -.infinity
    }
    positions[count] = position
    heights[count] = height
    starts[count] = start
    count += 1
  }

  /// The envelope at `q`; infinite without parabolas. `q` must not be below that of the call before.
  mutating func value(at q: Int) -> Double {
    if count == 0 { return .infinity }
    while cursor + 1 < count, starts[cursor + 1] < Double(q) { cursor += 1 }
    let offset = Double(q - positions[cursor]) * spacing
    return heights[cursor] + offset * offset
  }
}
