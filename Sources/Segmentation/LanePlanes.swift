internal import Platform
internal import Tensors

/// One plane of scratch per lane of work, and the loop that walks slices in lanes.
///
/// The number of lanes follows the threads, so results must not depend on which lane took a slice.
struct LanePlanes {
  let lanes: Int
  private let pool: ThreadPool
  private let buffer: Buffer
  private let planeFloats: Int
  /// Slices walked between two looks at the cancellation flag, per lane.
  private static let stride = 8

  init(planeFloats: Int, slices: Int, pool: ThreadPool, in budget: MemoryBudget) throws(MedDINOError) {
    self.pool = pool
    self.planeFloats = planeFloats
    lanes = Self.lanes(slices: slices, pool: pool)
    buffer = try budget.allocate(Self.byteCount(planeFloats: planeFloats, lanes: lanes), "slice scratch")
  }

  static func lanes(slices: Int, pool: ThreadPool) -> Int { max(1, min(pool.width, slices)) }
  static func byteCount(planeFloats: Int, lanes: Int) throws(MedDINOError) -> Int {
    try Checked.product([planeFloats, lanes, MemoryLayout<Float>.size], "slice scratch", kind: .shape)
  }

  /// Calls `body(lane, slice, scratch)` for every slice. Throws: `.cancelled` between slices.
  func forEachSlice(
    _ slices: Range<Int>, _ control: RunControl, _ body: (Int, Int, UnsafeMutablePointer<Float>) -> Void
  ) throws(MedDINOError) {
    let base = buffer.elements(Float.self)
    var begin = slices.lowerBound
    while begin < slices.upperBound {
      try control.check()
      let end = min(slices.upperBound, begin + lanes * Self.stride)
      pool.forEach(lanes) { lane in
        guard let start = base.baseAddress else { return }
        for slice in Swift.stride(from: begin + lane, to: end, by: lanes) { body(lane, slice, start + lane * planeFloats) }
      }
      begin = end
    }
  }
}
