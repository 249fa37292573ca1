internal import CZlib
public import Platform

/// Writes PNG files (8 bits per sample, not interlaced).
///
/// Source: W3C Portable Network Graphics (third edition), zlib for deflate and CRC.
public enum PNG {
  /// Raw value: samples per pixel.
  public enum Format: Int, Sendable {
    case gray = 1, rgb = 3, rgba = 4
    fileprivate var colourType: UInt8 {
      switch self {
      case .gray: 0
      case .rgb: 2
      case .rgba: 6
      }
    }
  }

  /// Largest width and height.
  public static let maximumSide = 65_535

  /// Writes a picture; the file appears whole or not at all.
  ///
  /// Shapes: `pixels` holds height × width × samples bytes, rows from the top.
  /// Throws: `.invalid` when a side is outside 1...65535 or `pixels` has another size, `.outOfMemory`, `.io`.
  public static func write(
    _ pixels: UnsafeRawBufferPointer, width: Int, height: Int, format: Format, to path: String, in budget: MemoryBudget
  ) throws(MedDINOError) {
    // The file is made when there is something to put into it.
    var file: AtomicFile?
    try encode(pixels, width: width, height: height, format: format, in: budget) { (bytes) throws(MedDINOError) in
      if file == nil { file = try AtomicFile(path) }
      try file?.write(bytes)
    }
    try file?.commit()
  }

  /// The same in memory. Throws: `.invalid`, `.outOfMemory`.
  public static func bytes(
    _ pixels: UnsafeRawBufferPointer, width: Int, height: Int, format: Format, in budget: MemoryBudget
  ) throws(MedDINOError) -> [UInt8] {
    var result: [UInt8] = []
    try encode(pixels, width: width, height: height, format: format, in: budget) { (bytes) throws(MedDINOError) in
      result.append(contentsOf: bytes)
    }
    return result
  }

  private static func encode(
    _ pixels: UnsafeRawBufferPointer, width: Int, height: Int, format: Format, in budget: MemoryBudget,
    _ put: (UnsafeRawBufferPointer) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    guard (1...maximumSide).contains(width), (1...maximumSide).contains(height) else {
      throw .invalid("picture is \(width)x\(height) pixels, expected sides of 1 to \(maximumSide)")
    }
    let stride = width * format.rawValue
    guard pixels.count == stride * height, let source = pixels.baseAddress else {
      throw .invalid(
        "pixels has \(pixels.count) bytes, expected \(stride * height) for \(width)x\(height)x\(format.rawValue)")
    }
    let filtered = try budget.allocate((stride + 1) * height, "picture rows")
    filterRows(source, stride: stride, height: height, pixelBytes: format.rawValue, into: filtered)
    let capacity = Int(compressBound(uLong(filtered.byteCount)))
    let packed = try budget.allocate(capacity, "compressed picture")
    defer { withExtendedLifetime((filtered, packed)) {} }
    var length = uLong(capacity)
    let code = compress2(
      packed.elements(UInt8.self).baseAddress, &length, filtered.elements(UInt8.self).baseAddress,
      uLong(filtered.byteCount), 6)
    guard code == Z_OK, Int(length) <= capacity else {
      throw MedDINOError(.outOfMemory, "picture: the compressor failed with code \(code)")
    }
    try ([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a] as [UInt8]).withChunk(put)
    let header = bigEndian(width) + bigEndian(height) + [8, format.colourType, 0, 0, 0]
    try header.withChunk { bytes throws(MedDINOError) in try writeChunk("IHDR", bytes, put) }
    let data = UnsafeRawBufferPointer(start: packed.pointer, count: Int(length))
    for begin in Swift.stride(from: 0, to: data.count, by: 1 << 20) {
      let part = UnsafeRawBufferPointer(rebasing: data[begin..<min(begin + 1 << 20, data.count)])
      try writeChunk("IDAT", part, put)
    }
    try writeChunk("IEND", UnsafeRawBufferPointer(start: nil, count: 0), put)
  }

  private static func bigEndian(_ value: Int) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  private static func writeChunk(
    _ name: String, _ bytes: UnsafeRawBufferPointer, _ put: (UnsafeRawBufferPointer) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    let tag = Array(name.utf8)
    var sum = crc32(0, tag, UInt32(tag.count))
    if bytes.count > 0 {
      sum = crc32(sum, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(bytes.count))
    }
    try (bigEndian(bytes.count) + tag).withChunk(put)
    try put(bytes)
    try bigEndian(Int(sum)).withChunk(put)
  }

  /// Each row with the filter (none, left, above) whose result has the smallest sum of magnitudes.
  private static func filterRows(
    _ source: UnsafeRawPointer, stride: Int, height: Int, pixelBytes: Int, into filtered: Buffer
  ) {
    let out = filtered.pointer.assumingMemoryBound(to: UInt8.self)
    let input = source.assumingMemoryBound(to: UInt8.self)
    for row in 0..<height {
      let line = input + row * stride
      let above = row > 0 ? line - stride : nil
      var sums = (0, 0, 0)
      for i in 0..<stride {
        let left = i >= pixelBytes ? line[i - pixelBytes] : 0
        sums.0 += magnitude(line[i])
        sums.1 += magnitude(line[i] &- left)
        sums.2 += magnitude(line[i] &- (above?[i] ?? 0))
      }
      let target = out + row * (stride + 1)
      let filter: UInt8 = sums.0 <= min(sums.1, sums.2) ? 0 : sums.1 <= sums.2 ? 1 : 2
      target[0] = filter
      for i in 0..<stride {
        let predicted: UInt8 =
          switch filter {
          case 1: i >= pixelBytes ? line[i - pixelBytes] : 0
          case 2: above?[i] ?? 0
          default: 0
          }
        target[i + 1] = line[i] &- predicted
      }
    }
  }

  @inline(__always) private static func magnitude(_ value: UInt8) -> Int { Int(min(value, 0 &- value)) }
}

extension [UInt8] {
  /// The bytes of a small array as a raw buffer, for a body with typed throws.
  fileprivate func withChunk(_ body: (UnsafeRawBufferPointer) throws(MedDINOError) -> Void) throws(MedDINOError) {
    var failure: MedDINOError?
    withUnsafeBytes { bytes in do throws(MedDINOError) { try body(bytes) } catch { failure = error } }
    if let failure { throw failure }
  }
}
