import Imaging
import Platform
import Tensors

/// What the first look at a case's voxels finds: value ranges, broken values, and where something is.
///
/// Voxels that are NaN or infinite count as the lowest finite value of their channel from here on; the official pipeline would
/// spread them over the whole slice.
public struct CaseScan: Sendable {
  public struct Channel: Equatable, Sendable {
    /// Of the finite values.
    public var lowest = Float.infinity
    public var highest = -Float.infinity
    public var nonFinite = 0
    /// Different finite values, counted up to 3.
    public var distinctValues = 0
    fileprivate var seen: (Float, Float) = (0, 0)

    public static func == (a: Channel, b: Channel) -> Bool {
      a.lowest == b.lowest && a.highest == b.highest && a.nonFinite == b.nonFinite && a.distinctValues == b.distinctValues
    }
  }
  public private(set) var channels: [Channel]
  /// Bounding box of the voxels that are not 0 in some channel, in case axes; the whole grid when there are none.
  /// Filling holes does not change it: a hole that touches no border lies inside.
  public private(set) var nonzeroBox: CaseBox
  /// Bounding box of channel 0 above -500 HU, when it was asked for and there is any.
  public private(set) var bodyBox: CaseBox?

  private static let bodyThreshold: Float = -500

  fileprivate struct Part {
    var channels: [Channel]
    var nonzero = GrowingBox()
    var broken: [GrowingBox]
    var body = GrowingBox()
  }

  /// Throws: `.invalid` when a channel has no finite value, `.outOfMemory`, `.cancelled`.
  init(
    _ source: CaseChannels, findBody: Bool, planes: LanePlanes, control: RunControl
  ) throws(MedDINOError) {
    let shape = source.grid.shape
    let count = source.channels.count
    var parts = [Part](
      repeating: Part(channels: [Channel](repeating: Channel(), count: count), broken: [GrowingBox](repeating: GrowingBox(), count: count)),
      count: planes.lanes)
    try parts.withUnsafeMutableBufferPointer { (parts) throws(MedDINOError) in
      nonisolated(unsafe) let parts = parts
      try planes.forEachSlice(0..<shape[0], control) { lane, slice, plane in
        for channel in 0..<count {
          source.readPlane(channel: channel, slice: slice, rows: 0..<shape[1], columns: 0..<shape[2], into: plane)
          for row in 0..<shape[1] {
            let line = plane + row * shape[2]
            Self.scan(line, shape[2], slice, row, channel, &parts[lane])
            if findBody, channel == 0, let ends = Self.ends(line, shape[2], { $0 > Self.bodyThreshold }) {
              parts[lane].body.add(slice: slice, row: row, first: ends.first, last: ends.last)
            }
          }
        }
      }
    }
    var total = parts[0]
    for part in parts.dropFirst() { total.merge(part) }
    for (index, channel) in total.channels.enumerated() {
      guard channel.lowest <= channel.highest else { throw .invalid("channel \(index) holds no finite value") }
      if channel.nonFinite > 0, channel.lowest != 0 { total.nonzero.add(total.broken[index]) }
    }
    channels = total.channels
    nonzeroBox = total.nonzero.box ?? CaseBox(shape: shape)
    bodyBox = total.body.box
  }

  private static func scan(_ line: UnsafePointer<Float>, _ count: Int, _ slice: Int, _ row: Int, _ channel: Int, _ part: inout Part) {
    var lowest = part.channels[channel].lowest
    var highest = part.channels[channel].highest
    var broken = 0
    for i in 0..<count { broken += line[i].bitPattern & 0x7f80_0000 == 0x7f80_0000 ? 1 : 0 }
    if broken == 0 {
      for i in 0..<count {
        lowest = line[i] < lowest ? line[i] : lowest
        highest = line[i] > highest ? line[i] : highest
      }
      if let ends = ends(line, count, { $0 != 0 }) { part.nonzero.add(slice: slice, row: row, first: ends.first, last: ends.last) }
    } else {
      for i in 0..<count where line[i].isFinite {
        lowest = min(lowest, line[i])
        highest = max(highest, line[i])
      }
      if let ends = ends(line, count, { $0.isFinite && $0 != 0 }) {
        part.nonzero.add(slice: slice, row: row, first: ends.first, last: ends.last)
      }
      if let ends = ends(line, count, { !$0.isFinite }) {
        part.broken[channel].add(slice: slice, row: row, first: ends.first, last: ends.last)
      }
    }
    part.channels[channel].lowest = lowest
    part.channels[channel].highest = highest
    part.channels[channel].nonFinite += broken
    if part.channels[channel].distinctValues < 3 { part.channels[channel].look(line, count) }
  }

  @inline(__always)
  private static func ends(_ line: UnsafePointer<Float>, _ count: Int, _ holds: (Float) -> Bool) -> (first: Int, last: Int)? {
    var first = 0
    while first < count, !holds(line[first]) { first += 1 }
    if first == count { return nil }
    var last = count - 1
    while !holds(line[last]) { last -= 1 }
    return (first, last)
  }
}

extension CaseScan.Channel {
  fileprivate mutating func look(_ line: UnsafePointer<Float>, _ count: Int) {
    for i in 0..<count where line[i].isFinite && distinctValues < 3 { add(line[i]) }
  }
  private mutating func add(_ value: Float) {
    if distinctValues == 0 {
      seen.0 = value
      distinctValues = 1
    } else if distinctValues == 1, value != seen.0 {
      seen.1 = value
      distinctValues = 2
    } else if distinctValues == 2, value != seen.0, value != seen.1 {
      distinctValues = 3
    }
  }
  fileprivate mutating func merge(_ other: CaseScan.Channel) {
    lowest = min(lowest, other.lowest)
    highest = max(highest, other.highest)
    nonFinite += other.nonFinite
    if other.distinctValues > 2 { distinctValues = 3 }
    if other.distinctValues > 0 { add(other.seen.0) }
    if other.distinctValues > 1 { add(other.seen.1) }
  }
}

extension CaseScan.Part {
  fileprivate mutating func merge(_ other: CaseScan.Part) {
    for index in channels.indices {
      channels[index].merge(other.channels[index])
      broken[index].add(other.broken[index])
    }
    nonzero.add(other.nonzero)
    body.add(other.body)
  }
}
