internal import CZlib

/// The check sum of gzip, ZIP and PNG over a stream of bytes. Source: RFC 1952, section 8.
public struct CRC32: Sendable {
  public private(set) var value: UInt32 = 0
  public init() {}

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    var done = 0
    while done < bytes.count, let base = bytes.baseAddress {
      let part = min(bytes.count - done, 1 << 30)
      value = UInt32(truncatingIfNeeded: crc32(UInt(value), (base + done).assumingMemoryBound(to: UInt8.self), UInt32(part)))
      done += part
    }
  }

  public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    var sum = CRC32()
    sum.update(bytes)
    return sum.value
  }
}
