public import Platform

/// What a set says about one of its shards.
public struct SliceShardRecord: Equatable, Sendable {
  /// Names in the folder of the part.
  public var file: String
  public var index: String
  public var slices: Int
  public var bytes: Int
  /// Hexadecimal SHA-256 of both files.
  public var sha256: String
  public var indexSHA256: String
}

/// Writes one shard: a tar of `.npy` files and its index. Both appear whole or not at all, the index first.
public final class SliceShardWriter {
  private let folder: String
  private let name: String
  private let firstNumber: Int
  private let tar: AtomicFile
  private var hash = SHA256()
  private var rows: [SliceRow] = []
  private var scratch: [UInt8] = []

  public var count: Int { rows.count }

  /// The names of a shard's files: `<part>-<six digits>.tar` and `.index.npy`.
  public static func names(_ part: String, _ number: Int) -> (tar: String, index: String) {
    let stem = part + "-" + padded(number, 6)
    return (stem + ".tar", stem + ".index.npy")
  }
  static func padded(_ number: Int, _ digits: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
  }

  /// `firstNumber`: slices of the part before this shard, from which the files in the tar take their names.
  /// Throws: `.io`.
  public init(folder: String, part: String, number: Int, firstNumber: Int) throws(MedDINOError) {
    self.folder = folder
    name = Self.names(part, number).tar
    self.firstNumber = firstNumber
    tar = try AtomicFile(folder + "/" + name)
  }

  /// Adds a slice. Shapes: `pixels` is rows × columns of HU, packed, both sides 1...16384.
  /// Throws: `.invalid`, `.io`.
  public func append(
    _ pixels: UnsafePointer<Int16>, rows: Int, columns: Int, caseNumber: Int, slice: Int, position: Float, digest: SliceDigest
  ) throws(MedDINOError) {
    guard (1...SliceRow.largestSide).contains(rows), (1...SliceRow.largestSide).contains(columns) else {
      throw .invalid("a slice has \(rows) × \(columns) pixels, expected 1...\(SliceRow.largestSide) each")
    }
    let header = NPYHeader.bytes(SlicePixels.descr, shape: [rows, columns])
    let size = header.count + rows * columns * 2
    let entry = TarHeader(name: "slice_" + Self.padded(firstNumber + self.rows.count, 9) + ".npy", size: size)
    let padding = TarHeader.padding(size)
    scratch.removeAll(keepingCapacity: true)
    scratch += entry.bytes
    scratch += header
    let start = scratch.count
    scratch.append(contentsOf: repeatElement(0, count: rows * columns * 2 + padding))
    let offset = tar.bytesWritten + TarHeader.blockSize
    let crc: UInt32 = scratch.withUnsafeMutableBytes { raw in
      for index in 0..<rows * columns { raw.storeBytes(of: pixels[index].littleEndian, toByteOffset: start + 2 * index, as: Int16.self) }
      return CRC32.of(UnsafeRawBufferPointer(rebasing: raw[TarHeader.blockSize..<TarHeader.blockSize + size]))
    }
    try write(scratch)
    self.rows.append(
      SliceRow(
        offset: offset, bytes: size, rows: rows, columns: columns, caseNumber: caseNumber, slice: slice, position: position, crc: crc,
        digest: digest))
  }

  private func write(_ bytes: [UInt8]) throws(MedDINOError) {
    bytes.withUnsafeBytes { hash.update($0) }
    try tar.write(bytes)
  }

  /// Ends the archive and puts index and archive in their places. Throws: `.io`.
  public func commit() throws(MedDINOError) -> SliceShardRecord {
    try write(TarHeader.end)
    var index = NPYHeader.bytes(SliceRow.descr, shape: [rows.count])
    for row in rows { index += row.encoded }
    let indexName = String(name.dropLast(4)) + ".index.npy"
    try AtomicFile.write(index, to: folder + "/" + indexName)
    try tar.commit()
    return SliceShardRecord(
      file: name, index: indexName, slices: rows.count, bytes: tar.bytesWritten, sha256: hexadecimal(hash.finish()),
      indexSHA256: hexadecimal(SHA256.of(index)))
  }
}

extension SHA256 {
  static func of(_ bytes: [UInt8]) -> [UInt8] {
    var hash = SHA256()
    bytes.withUnsafeBytes { hash.update($0) }
    return hash.finish()
  }
}

package func hexadecimal(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef".utf8)
  return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
