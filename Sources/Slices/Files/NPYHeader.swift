internal import Platform

/// What stands before the numbers of a `.npy` file.
///
/// Source: NumPy enhancement proposal 1, format versions 1.0 to 3.0.
struct NPYHeader: Equatable, Sendable {
  /// The element type: '<i2', or a list of named fields.
  let descr: PythonLiteral
  let isFortranOrder: Bool
  let shape: [Int]
  /// Bytes before the first number.
  let dataOffset: Int

  private static let magic: [UInt8] = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]
  /// No header of ours comes near it.
  static let longest = 1 << 16

  /// The header that NumPy writes for a row-major array, padded with spaces to a multiple of 64 bytes. Shorter than 64 KiB.
  static func bytes(_ descr: PythonLiteral, shape: [Int]) -> [UInt8] {
    let dictionary = PythonLiteral.dictionary([
      .init(key: "descr", value: descr), .init(key: "fortran_order", value: .bool(false)),
      .init(key: "shape", value: .tuple(shape.map { .integer($0) })),
    ])
    var text = Array(dictionary.text.utf8)
    let total = (10 + text.count + 1 + 63) / 64 * 64
    text += [UInt8](repeating: 32, count: total - 10 - text.count - 1) + [10]
    return magic + [1, 0, UInt8(truncatingIfNeeded: text.count), UInt8(truncatingIfNeeded: text.count >> 8)] + text
  }

  /// Reads the header at the start of `bytes`. Throws: `.format` naming `source`.
  init(_ bytes: [UInt8], _ source: String) throws(MedDINOError) {
    guard bytes.count >= 10, Array(bytes[0..<6]) == Self.magic else { throw .format("\(source): not a .npy file") }
    guard (1...3).contains(bytes[6]), bytes[7] == 0 else {
      throw .format("\(source): .npy version \(bytes[6]).\(bytes[7]), expected 1.0 to 3.0")
    }
    let lengthBytes = bytes[6] == 1 ? 2 : 4
    guard bytes.count >= 8 + lengthBytes else { throw .format("\(source): truncated .npy header") }
    let length = bytes[8..<8 + lengthBytes].reversed().reduce(0) { $0 << 8 | Int($1) }
    let start = 8 + lengthBytes
    guard length <= Self.longest, length <= bytes.count - start else {
      throw .format("\(source): the .npy header announces \(length) bytes, there are \(bytes.count - start)")
    }
    let dictionary = try PythonLiteral.parse(bytes[start..<start + length], source)
    guard let descr = dictionary["descr"], case .bool(let fortran)? = dictionary["fortran_order"],
      case .tuple(let extents)? = dictionary["shape"]
    else { throw .format("\(source): the .npy header lacks descr, fortran_order or shape") }
    var shape: [Int] = []
    for extent in extents {
      guard case .integer(let value) = extent, value >= 0 else {
        throw .format("\(source): the .npy shape is \(PythonLiteral.tuple(extents).text), expected whole numbers from 0")
      }
      shape.append(value)
    }
    self.descr = descr
    isFortranOrder = fortran
    self.shape = shape
    dataOffset = start + length
  }

  /// The header at the start of a file. Throws: `.format`, `.io`.
  init(_ file: any ByteSource) throws(MedDINOError) {
    try self.init(try file.bytes(at: 0, count: min(file.size, Self.longest)), file.name)
  }

  /// Refuses another element type or another number of axes. Throws: `.format`.
  func require(_ descr: PythonLiteral, rank: Int, _ source: String) throws(MedDINOError) {
    guard self.descr == descr, !isFortranOrder, shape.count == rank else {
      throw .format(
        "\(source): .npy of \(self.descr.text.prefix(200)) \(PythonLiteral.tuple(shape.map { .integer($0) }).text)"
          + "\(isFortranOrder ? " in Fortran order" : ""), expected \(descr.text) with \(rank) axes, row-major")
    }
  }
}
