internal import Imaging
internal import Platform
internal import Slices
internal import Synchronization
internal import Tensors

/// Turns the axial slices of a volume into stored ones by the rules of a set, several at a time, each by itself.
///
/// The volume's axes are permuted and reversed to the closest of left, back, head, so that slices are numbered from the feet, row 0 is
/// the front and column 0 the right side. Per slice: clip, resample to the spacing, cut or pad or resize to the size, round to whole HU.
/// Both resizings are bilinear, with the antialiasing of torchvision's when they shrink.
struct SliceExtractor {
  /// What decides on a slice besides its pixels.
  struct Facts: Sendable {
    var digest = SliceDigest(high: 0, low: 0)
    var isEmpty = false
  }
  let volume: Volume
  let rules: SliceRules
  let sizing: SliceSizing
  /// Angle between the slices and the axial plane. Units: degrees.
  let tilt: Double
  private let resampler: AntialiasedResizer?
  private let resizer: AntialiasedResizer?
  private let budget: MemoryBudget

  var count: Int { volume.geometry.dims[2] }
  var area: Int { sizing.stored.area }

  /// Throws: `.unsupported` for slices that become too large, `.invalid` for dependent axes.
  init(_ volume: Volume, rules: SliceRules, in budget: MemoryBudget) throws(MedDINOError) {
    let upright = try volume.reoriented(to: .lps)
    let geometry = upright.geometry
    self.volume = upright
    self.rules = rules
    self.budget = budget
    sizing = try SliceSizing(
      rows: geometry.dims[1], columns: geometry.dims[0], spacing: (geometry.spacing[1], geometry.spacing[0]), rules: rules)
    tilt = Self.tilt(geometry.direction)
    let (from, to) = (sizing.published, sizing.resampled)
    resampler = from == to ? nil : AntialiasedResizer(rows: from.rows, columns: from.columns, toRows: to.rows, toColumns: to.columns)
    let stored = sizing.stored
    if let side = sizing.square, side != stored.rows {
      resizer = AntialiasedResizer(rows: side, columns: side, toRows: stored.rows, toColumns: stored.columns)
    } else {
      resizer = nil
    }
  }

  /// Angle of the plane of axes 0 and 1 of row-major direction cosines against the axial plane.
  static func tilt(_ direction: [Double]) -> Double {
    let (x, y) = ([direction[0], direction[3], direction[6]], [direction[1], direction[4], direction[7]])
    let normal = [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]
    let across = (normal[0] * normal[0] + normal[1] * normal[1]).squareRoot()
    return angle(across, normal[2].magnitude)
  }

  /// Centre of a slice towards the head. Units: mm.
  func position(_ slice: Int) -> Float {
    let dims = volume.geometry.dims
    return Float(volume.geometry.point([Double(dims[0] - 1) / 2, Double(dims[1] - 1) / 2, Double(slice)])[2])
  }

  /// Lowest and highest value of the volume, NaN left out; nil when there is none. Throws: `.outOfMemory`, `.cancelled`.
  func range(_ pool: ThreadPool, _ control: RunControl) throws(MedDINOError) -> ClosedRange<Float>? {
    let found = Mutex<ClosedRange<Float>?>(nil)
    try forEachSlice(0..<count, pool, control) { slice, scratch in
      readPlane(slice, scratch.published)
      guard let own = PlaneResizer.range(of: scratch.published, count: sizing.published.area) else { return }
      found.withLock { all in
        all = all.map { min($0.lowerBound, own.lowerBound)...max($0.upperBound, own.upperBound) } ?? own
      }
    }
    return found.withLock { $0 }
  }

  /// Shapes: `out` holds the slices of `range` one after the other, each of `area` HU; the result has a value for each.
  /// Throws: `.outOfMemory`, `.cancelled`.
  func extract(
    _ range: Range<Int>, into out: UnsafeMutablePointer<Int16>, _ pool: ThreadPool, _ control: RunControl
  ) throws(MedDINOError) -> [Facts] {
    let facts = Mutex([Facts](repeating: Facts(), count: range.count))
    nonisolated(unsafe) let out = out
    try forEachSlice(range, pool, control) { slice, scratch in
      let place = slice - range.lowerBound
      let one = extract(slice, scratch, into: out + place * area)
      facts.withLock { $0[place] = one }
    }
    return facts.withLock { $0 }
  }

  /// The digests of all slices. Throws: `.outOfMemory`, `.cancelled`.
  func digests(_ pool: ThreadPool, _ control: RunControl) throws(MedDINOError) -> [SliceDigest] {
    let found = Mutex([SliceDigest](repeating: SliceDigest(high: 0, low: 0), count: count))
    try forEachSlice(0..<count, pool, control) { slice, scratch in
      readPlane(slice, scratch.published)
      let one = digest(scratch)
      found.withLock { $0[slice] = one }
    }
    return found.withLock { $0 }
  }

  private func extract(_ slice: Int, _ scratch: Scratch, into out: UnsafeMutablePointer<Int16>) -> Facts {
    readPlane(slice, scratch.published)
    let digest = digest(scratch)
    let isEmpty = clip(scratch.published)
    var plane = scratch.published
    if let resampler {
      resampler.resize(plane, into: scratch.resampled, scratch: scratch.line)
      plane = scratch.resampled
    }
    if let side = sizing.square {
      if sizing.resampled != SliceSizing.Size(rows: side, columns: side) {
        centre(plane, sizing.resampled, into: scratch.square, SliceSizing.Size(rows: side, columns: side))
        plane = scratch.square
      }
      if let resizer {
        resizer.resize(plane, into: scratch.stored, scratch: scratch.line)
        plane = scratch.stored
      }
    } else if sizing.stored != sizing.resampled {
      centre(plane, sizing.resampled, into: scratch.stored, sizing.stored)
      plane = scratch.stored
    }
    store(plane, into: out)
    return Facts(digest: digest, isEmpty: isEmpty)
  }

  private func readPlane(_ slice: Int, _ out: UnsafeMutablePointer<Float>) {
    volume.readPlane(
      axis: 2, index: slice, rowAxis: 1, rows: 0..<sizing.published.rows, columnAxis: 0, columns: 0..<sizing.published.columns, channel: 0,
      into: out)
  }

  /// Of the size and the published values as whole HU in 16 bits; NaN counts as the lowest HU of the rules.
  private func digest(_ scratch: Scratch) -> SliceDigest {
    let low = Float(rules.clip.lowerBound)
    let area = sizing.published.area
    for index in 0..<area {
      let value = scratch.published[index]
      let whole = (value.isNaN ? low : value).rounded(.toNearestOrEven)
      scratch.whole[index] = Int16(min(max(whole, -32768), 32767)).littleEndian
    }
    var hash = SHA256()
    for side in [sizing.published.rows, sizing.published.columns] {
      withUnsafeBytes(of: UInt32(truncatingIfNeeded: side).littleEndian) { hash.update($0) }
    }
    hash.update(UnsafeRawBufferPointer(start: scratch.whole, count: area * 2))
    return SliceDigest(hash.finish())
  }

  /// Clips the published pixels; true when the slice is empty by the rules.
  private func clip(_ plane: UnsafeMutablePointer<Float>) -> Bool {
    let (low, high) = (Float(rules.clip.lowerBound), Float(rules.clip.upperBound))
    let threshold = Float(rules.bodyThreshold)
    var (body, least, most) = (0, high, low)
    for index in 0..<sizing.published.area {
      let value = plane[index]
      let clipped = value > low ? (value < high ? value : high) : low  // NaN becomes low
      plane[index] = clipped
      body += clipped > threshold ? 1 : 0
      least = min(least, clipped)
      most = max(most, clipped)
    }
    return Double(body) < rules.bodyFraction * Double(sizing.published.area) || most - least <= Float(rules.smallestRange)
  }

  /// Puts `from` about the centre of `to`: what is outside is cut, what is missing has the lowest HU.
  private func centre(
    _ from: UnsafePointer<Float>, _ size: SliceSizing.Size, into to: UnsafeMutablePointer<Float>, _ target: SliceSizing.Size
  ) {
    let low = Float(rules.clip.lowerBound)
    // Odd differences put the extra row or column behind.
    let (top, left) = (floorHalf(target.rows - size.rows), floorHalf(target.columns - size.columns))
    for row in 0..<target.rows {
      let line = to + row * target.columns
      let source = row - top
      for column in 0..<target.columns {
        let place = column - left
        let isInside = source >= 0 && source < size.rows && place >= 0 && place < size.columns
        line[column] = isInside ? from[source * size.columns + place] : low
      }
    }
  }
  private func floorHalf(_ value: Int) -> Int { value >= 0 ? value / 2 : -((1 - value) / 2) }

  /// Rounds to whole HU.
  private func store(_ plane: UnsafePointer<Float>, into out: UnsafeMutablePointer<Int16>) {
    let (low, high) = (Float(rules.clip.lowerBound), Float(rules.clip.upperBound))
    for index in 0..<area { out[index] = Int16(min(max(plane[index], low), high).rounded(.toNearestOrEven)) }
  }
}

extension SliceExtractor {
  /// Memory of one thread.
  fileprivate struct Scratch: @unchecked Sendable {
    let published: UnsafeMutablePointer<Float>
    let resampled: UnsafeMutablePointer<Float>
    let square: UnsafeMutablePointer<Float>
    let stored: UnsafeMutablePointer<Float>
    let line: UnsafeMutablePointer<Float>
    let whole: UnsafeMutablePointer<Int16>
  }

  /// Calls `body` for each slice, on as many threads as there are, each with memory of its own. Throws: `.outOfMemory`, `.cancelled`.
  private func forEachSlice(
    _ range: Range<Int>, _ pool: ThreadPool, _ control: RunControl, _ body: (Int, Scratch) -> Void
  ) throws(MedDINOError) {
    let lanes = min(pool.width, range.count)
    let side = sizing.square ?? 0
    let counts = [
      sizing.published.area, sizing.resampled.area, side * side, sizing.stored.area,
      max(resampler?.scratchCount ?? 0, resizer?.scratchCount ?? 0), (sizing.published.area + 1) / 2,
    ]
    let each = counts.reduce(0, +)
    let memory = try budget.allocate(try Checked.product([lanes, each, 4], "slices"), "slices of a volume")
    defer { withExtendedLifetime(memory) {} }
    guard let base = memory.elements(Float.self).baseAddress else { return }
    nonisolated(unsafe) let start = base
    let next = Atomic<Int>(range.lowerBound)
    pool.forEach(lanes) { lane in
      var places: [UnsafeMutablePointer<Float>] = []
      var at = start + lane * each
      for count in counts {
        places.append(at)
        at += count
      }
      let whole = UnsafeMutableRawPointer(places[5]).assumingMemoryBound(to: Int16.self)
      let scratch = Scratch(
        published: places[0], resampled: places[1], square: places[2], stored: places[3], line: places[4], whole: whole)
      while true {
        let slice = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard slice < range.upperBound, (try? control.check()) != nil else { return }
        body(slice, scratch)
      }
    }
    try control.check()
  }
}
