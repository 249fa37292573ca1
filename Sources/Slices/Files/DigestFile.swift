package import Platform

/// Digests of slices as a `.npy` array of unsigned 64-bit numbers, two a row.
package enum DigestFile {
  private static let descr = PythonLiteral.string("<u8")

  /// Throws: `.io`.
  package static func write(_ digests: [SliceDigest], to path: String) throws(MedDINOError) {
    let file = try AtomicFile(path)
    try file.write(NPYHeader.bytes(descr, shape: [digests.count, 2]))
    for digest in digests {
      var bytes: [UInt8] = []
      for word in [digest.high, digest.low] { withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) } }
      try file.write(bytes)
    }
    try file.commit()
  }

  /// Throws: `.format`, `.io`.
  package static func read(_ path: String, _ body: (SliceDigest) throws(MedDINOError) -> Void) throws(MedDINOError) {
    let file = try InputFile(path)
    let header = try NPYHeader(file)
    try header.require(descr, rank: 2, path)
    let count = header.shape[0]
    let end = try Checked.sum(header.dataOffset, try Checked.product([count, 16], path), path)
    guard header.shape[1] == 2, file.size == end else {
      throw .format("\(path): \(file.size) bytes for shape \(header.shape), expected \(end) and two columns")
    }
    var start = 0
    while start < count {
      let part = min(4096, count - start)
      let bytes = try file.bytes(at: header.dataOffset + start * 16, count: part * 16)
      guard bytes.count == part * 16 else { throw .format("\(path): truncated while it was read") }
      func word(_ offset: Int) -> UInt64 {
        bytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
      }
      for row in 0..<part { try body(SliceDigest(high: word(row * 16), low: word(row * 16 + 8))) }
      start += part
    }
  }
}
