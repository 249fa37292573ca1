internal import Platform

/// The 512 bytes before a file in a tar archive, of the plain POSIX kind: no owner, no time, so that equal contents give equal archives.
///
/// Source: POSIX.1-1988, ustar.
struct TarHeader: Equatable {
  static let blockSize = 512
  /// Two blocks of zeros end an archive.
  static let end = [UInt8](repeating: 0, count: 1024)
  /// Eleven octal digits.
  static let largestSize = 8_589_934_591

  let name: String
  let size: Int

  /// Bytes of zeros after a file of `size` bytes.
  static func padding(_ size: Int) -> Int { (blockSize - size % blockSize) % blockSize }

  /// `name`: at most 99 bytes. `size`: at most `largestSize`.
  init(name: String, size: Int) {
    precondition(name.utf8.count < 100 && (0...Self.largestSize).contains(size))
    self.name = name
    self.size = size
  }

  /// Reads one. Throws: `.format` naming `source` when it is none, damaged, or of another kind than a plain file.
  init(_ bytes: [UInt8], _ source: String) throws(MedDINOError) {
    guard bytes.count == Self.blockSize, Array(bytes[257..<263]) == Array("ustar\0".utf8) else {
      throw .format("\(source): no tar header where one is expected")
    }
    guard let sum = Self.octal(bytes[148..<156]), sum == Self.checksum(bytes), let size = Self.octal(bytes[124..<136]) else {
      throw .format("\(source): damaged tar header")
    }
    guard bytes[156] == UInt8(ascii: "0"), let name = String(validating: bytes[0..<100].prefix { $0 != 0 }, as: UTF8.self) else {
      throw .format("\(source): the tar entry is no plain file")
    }
    self.name = name
    self.size = size
  }

  var bytes: [UInt8] {
    var block = [UInt8](repeating: 0, count: Self.blockSize)
    func put(_ text: String, _ offset: Int) { for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte } }
    func octal(_ value: Int, _ digits: Int) -> String {
      let text = String(value, radix: 8)
      return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
    put(name, 0)
    put("0000644", 100)
    put("0000000", 108)
    put("0000000", 116)
    put(octal(size, 11), 124)
    put("00000000000", 136)
    put("0", 156)
    put("ustar\0" + "00", 257)
    put(octal(Self.checksum(block), 6) + "\0 ", 148)
    return block
  }

  /// Sum of the bytes with the field of the sum itself as spaces.
  private static func checksum(_ bytes: [UInt8]) -> Int {
    bytes.enumerated().reduce(0) { $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element)) }
  }

  private static func octal(_ field: ArraySlice<UInt8>) -> Int? {
    let digits = field.prefix { $0 != 0 && $0 != 32 }
    return digits.isEmpty ? nil : Int(String(decoding: digits, as: UTF8.self), radix: 8)
  }
}
