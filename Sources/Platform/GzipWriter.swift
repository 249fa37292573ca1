internal import CZlib

/// Deflates a stream into an `AtomicFile` as one gzip member without a time or a name, so that equal data give equal
/// files; or wrapped as zlib does it.
public final class GzipWriter {
  private let file: AtomicFile
  private let stream: UnsafeMutablePointer<z_stream>
  private let output: UnsafeMutableRawBufferPointer

  public enum Wrapping: Sendable { case gzip, zlib }

  /// `level`: 1 (fast) to 9 (small). Throws: `.invalid`, `.outOfMemory`.
  public init(_ file: AtomicFile, level: Int = 1, wrapping: Wrapping = .gzip) throws(MedDINOError) {
    guard (1...9).contains(level) else { throw .invalid("gzip level is \(level), expected 1...9") }
    self.file = file
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    output = .allocate(byteCount: 1 << 17, alignment: 64)
    // 15 window bits, + 16: gzip wrapping.
    let code = deflateInit2_(
      stream, Int32(level), Z_DEFLATED, wrapping == .gzip ? 31 : 15, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)
    )
    guard code == Z_OK else { throw MedDINOError(.outOfMemory, "\(file.path): no memory to deflate") }
  }
  deinit {
    deflateEnd(stream)
    stream.deallocate()
    output.deallocate()
  }

  /// Throws: `.io`.
  public func write(_ bytes: UnsafeRawBufferPointer) throws(MedDINOError) {
    var done = 0
    while done < bytes.count, let base = bytes.baseAddress {
      let part = min(bytes.count - done, 1 << 24)
      let address = UnsafeMutableRawPointer(mutating: base + done)
      stream.pointee.next_in = address.assumingMemoryBound(to: UInt8.self)
      stream.pointee.avail_in = UInt32(part)
      try drain(Z_NO_FLUSH)
      done += part
    }
  }

  /// Writes the end of the stream; the caller then commits the file. Throws: `.io`.
  public func finish() throws(MedDINOError) {
    stream.pointee.next_in = nil
    stream.pointee.avail_in = 0
    try drain(Z_FINISH)
  }

  private func drain(_ flush: Int32) throws(MedDINOError) {
    repeat {
      stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
      stream.pointee.avail_out = UInt32(output.count)
      guard deflate(stream, flush) != Z_STREAM_ERROR else { throw MedDINOError(.internal, "\(file.path): deflate failed") }
      let count = output.count - Int(stream.pointee.avail_out)
      try file.write(UnsafeRawBufferPointer(rebasing: output[..<count]))
    } while stream.pointee.avail_out == 0
  }
}
