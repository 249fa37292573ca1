internal import Platform

/// One shard opened for reading by position. Safe to use from several threads.
final class SliceShard: Sendable {
  let record: SliceShardRecord
  let tar: InputFile
  private let index: InputFile
  private let indexOffset: Int

  /// Throws: `.io` when a file is missing, `.format` when its size or the header of the index is not what the manifest says.
  init(folder: String, _ record: SliceShardRecord) throws(MedDINOError) {
    self.record = record
    tar = try InputFile(folder + "/" + record.file)
    guard tar.size == record.bytes else {
      throw .format("\(tar.path): \(tar.size) bytes, the manifest says \(record.bytes)")
    }
    index = try InputFile(folder + "/" + record.index)
    let header = try NPYHeader(index)
    try header.require(SliceRow.descr, rank: 1, index.path)
    let size = try Checked.sum(header.dataOffset, try Checked.product([record.slices, SliceRow.byteCount], index.path), index.path)
    guard header.shape == [record.slices], index.size == size else {
      throw .format("\(index.path): \(header.shape[0]) rows in \(index.size) bytes, the manifest says \(record.slices) slices")
    }
    indexOffset = header.dataOffset
  }

  /// Rows of the index. Throws: `.format` for rows outside, `.io`.
  func rows(_ range: Range<Int>) throws(MedDINOError) -> [SliceRow] {
    guard range.lowerBound >= 0, range.upperBound <= record.slices else {
      throw .format("\(index.path): rows \(range) wanted, there are \(record.slices)")
    }
    let bytes = try index.bytes(at: indexOffset + range.lowerBound * SliceRow.byteCount, count: range.count * SliceRow.byteCount)
    guard bytes.count == range.count * SliceRow.byteCount else { throw .format("\(index.path): truncated while it was read") }
    return bytes.withUnsafeBytes { raw in
      range.indices.map { place in
        let start = (place - range.lowerBound) * SliceRow.byteCount
        return SliceRow(UnsafeRawBufferPointer(rebasing: raw[start..<start + SliceRow.byteCount]))
      }
    }
  }

  /// SHA-256 of the index. Throws: `.io`.
  func indexHash() throws(MedDINOError) -> String {
    var hash = SHA256()
    var position = 0
    while position < index.size {
      let bytes = try index.bytes(at: position, count: 1 << 20)
      bytes.withUnsafeBytes { hash.update($0) }
      position += bytes.count
    }
    return hexadecimal(hash.finish())
  }

  func row(_ number: Int) throws(MedDINOError) -> SliceRow {
    let row = try rows(number..<number + 1)[0]
    try row.check(in: tar.size, name(number))
    return row
  }

  func name(_ number: Int) -> String { "\(tar.path), slice \(number)" }

  /// The `.npy` file of a row, seen to be whole. Throws: `.format`, `.io`.
  func file(_ row: SliceRow, _ number: Int) throws(MedDINOError) -> [UInt8] {
    let bytes = try tar.bytes(at: row.offset, count: row.bytes)
    try withBytes(of: bytes) { (raw) throws(MedDINOError) in try check(raw, row, number) }
    return bytes
  }

  /// Throws: `.format` when the bytes are not the `.npy` file that the row promises.
  func check(_ file: UnsafeRawBufferPointer, _ row: SliceRow, _ number: Int) throws(MedDINOError) {
    let header = NPYHeader.bytes(SlicePixels.descr, shape: [row.rows, row.columns])
    guard file.count == row.bytes, file.prefix(header.count).elementsEqual(header) else {
      // Says what is there instead, where it can be read at all.
      let found = try NPYHeader(Array(file.prefix(NPYHeader.longest)), name(number))
      try found.require(SlicePixels.descr, rank: 2, name(number))
      guard found.shape == [row.rows, row.columns], file.count == row.bytes else {
        throw .format(
          "\(name(number)): .npy of shape \(found.shape) in \(file.count) bytes, the index says \(row.rows) × \(row.columns) in \(row.bytes)"
        )
      }
      throw .format("\(name(number)): the header of the .npy is not as it was written")
    }
    let sum = CRC32.of(file)
    guard sum == row.crc else { throw .format("\(name(number)): the check sum is \(sum), the index says \(row.crc)") }
  }
}
