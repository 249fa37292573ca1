internal import CZlib

/// Inflates gzip data as a stream, straight into the caller's memory. Several members in a row read as one. On demand also zlib data.
///
/// The caller bounds the output: nothing is ever grown to fit what the stream holds. Check sums and lengths are
/// verified when the end of each member is reached, so call `finish` after the last wanted byte.
public final class GzipReader {
  /// Deflate cannot expand by more than about 1032; a header that announces more than this of the file's size lies.
  public static let largestRatio = 1100

  private let file: any ByteSource
  private let control: RunControl?
  private let stream: UnsafeMutablePointer<z_stream>
  private let input: UnsafeMutableRawBufferPointer
  private var position: Int
  /// Where the compressed bytes end.
  private let end: Int
  private var ended = false

  /// Whether the file starts with the gzip magic, whatever its name.
  public static func isGzip(_ file: any ByteSource) throws(MedDINOError) -> Bool {
    try hasMagic(file, at: 0)
  }
  private static func hasMagic(_ file: any ByteSource, at offset: Int) throws(MedDINOError) -> Bool {
    guard file.size - offset >= 2 else { return false }
    return try file.bytes(at: offset, count: 2) == [0x1f, 0x8b]
  }

  /// Most bytes that `file` can inflate to; `Int.max` when that does not fit.
  public static func largestOutput(of file: any ByteSource) -> Int { largestOutput(of: file.size) }
  /// Most bytes that `count` compressed bytes can inflate to.
  public static func largestOutput(of count: Int) -> Int {
    let (value, overflow) = count.multipliedReportingOverflow(by: largestRatio)
    return overflow || value > Int.max - 65536 ? Int.max : value + 65536
  }

  /// Reads the compressed bytes `range` of the file, nil: all of it. `acceptsZlib`: the bytes may also be wrapped as zlib does it, seen
  /// from their start. Throws: `.outOfMemory`, `.format` when the file ends before the range does.
  public init(
    _ file: any ByteSource, range: Range<Int>? = nil, acceptsZlib: Bool = false, control: RunControl? = nil
  ) throws(MedDINOError) {
    let range = range ?? 0..<file.size
    guard range.lowerBound >= 0, range.upperBound <= file.size else {
      throw .format(
        "\(file.name): truncated: compressed data from \(range.lowerBound) to \(range.upperBound), there are \(file.size) bytes")
    }
    self.file = file
    self.control = control
    (position, end) = (range.lowerBound, range.upperBound)
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    input = .allocate(byteCount: 1 << 17, alignment: 64)
    // 15 window bits, + 16: gzip wrapping only, + 32: gzip or zlib.
    guard inflateInit2_(stream, acceptsZlib ? 47 : 31, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      throw MedDINOError(.outOfMemory, "\(file.name): no memory to inflate")
    }
  }
  deinit {
    inflateEnd(stream)
    stream.deallocate()
    input.deallocate()
  }

  /// Fills `destination` as far as the stream reaches; fewer bytes only at its end.
  /// Throws: `.format` for damaged or cut data, `.io`, `.cancelled`.
  public func read(into destination: UnsafeMutableRawBufferPointer) throws(MedDINOError) -> Int {
    var done = 0
    while done < destination.count, !ended, let base = destination.baseAddress {
      try refillIfEmpty()
      let wanted = min(destination.count - done, 1 << 24)
      stream.pointee.next_out = (base + done).assumingMemoryBound(to: UInt8.self)
      stream.pointee.avail_out = UInt32(wanted)
      try step()
      done += wanted - Int(stream.pointee.avail_out)
    }
    return done
  }

  /// Fills all of `destination`. Throws: `.format` when the stream ends before.
  public func readAll(into destination: UnsafeMutableRawBufferPointer) throws(MedDINOError) {
    let count = try read(into: destination)
    guard count == destination.count else {
      throw .format("\(file.name): truncated: the stream ends \(destination.count - count) bytes early")
    }
  }

  /// Passes over `count` bytes. Throws: as `readAll`.
  public func skip(_ count: Int) throws(MedDINOError) {
    let waste = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 64)
    defer { waste.deallocate() }
    var left = count
    while left > 0 {
      let part = min(left, waste.count)
      try readAll(into: UnsafeMutableRawBufferPointer(rebasing: waste[..<part]))
      left -= part
    }
  }

  /// Reads on to the end so that the check sum is verified. Throws: `.format` when it fails or more than `limit` bytes
  /// follow.
  public func finish(limit: Int = 64 << 20) throws(MedDINOError) {
    let waste = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 64)
    defer { waste.deallocate() }
    var total = 0
    while !ended {
      total += try read(into: waste)
      guard total <= limit else { throw .format("\(file.name): more than \(limit) bytes follow the data") }
    }
  }

  private func refillIfEmpty() throws(MedDINOError) {
    guard stream.pointee.avail_in == 0, position < end else { return }
    try control?.check()
    let count = min(input.count, end - position)
    try file.read(at: position, into: UnsafeMutableRawBufferPointer(rebasing: input[..<count]))
    position += count
    stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(count)
  }

  private func step() throws(MedDINOError) {
    switch inflate(stream, Z_NO_FLUSH) {
    case Z_OK: return
    case Z_STREAM_END: try startNextMember()
    case Z_BUF_ERROR:
      if stream.pointee.avail_in == 0, position == end, stream.pointee.avail_out > 0 {
        throw .format("\(file.name): truncated compressed stream")
      }
    case Z_MEM_ERROR: throw MedDINOError(.outOfMemory, "\(file.name): no memory to inflate")
    default:
      let reason = stream.pointee.msg.map { String(cString: $0) } ?? "invalid data"
      throw .format("\(file.name): damaged compressed stream: \(reason)")
    }
  }

  /// Another member follows when its magic does; anything else after a member is padding and ends the stream.
  private func startNextMember() throws(MedDINOError) {
    let next = position - Int(stream.pointee.avail_in)
    guard next < end, try Self.hasMagic(file, at: next) else {
      ended = true
      return
    }
    guard inflateReset(stream) == Z_OK else { throw .format("\(file.name): damaged compressed stream") }
  }
}
