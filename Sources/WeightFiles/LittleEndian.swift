/// Little-endian integers out of bytes; nil past the end.
struct LittleEndian {
  let bytes: [UInt8]
  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func integer(at offset: Int, bytes count: Int) -> UInt64? {
    guard offset >= 0, count <= bytes.count, offset <= bytes.count - count else { return nil }
    var value: UInt64 = 0
    for place in 0..<count { value |= UInt64(bytes[offset + place]) << (8 * UInt64(place)) }
    return value
  }
  func u16(_ offset: Int) -> Int? { integer(at: offset, bytes: 2).map { Int($0) } }
  func u32(_ offset: Int) -> Int? { integer(at: offset, bytes: 4).map { Int($0) } }
  /// Nil also when the value does not fit in `Int`.
  func u64(_ offset: Int) -> Int? { integer(at: offset, bytes: 8).flatMap { Int(exactly: $0) } }
}
