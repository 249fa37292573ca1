internal import Platform
internal import Tensors

/// Where the voxels of a volume lie: whole in one file, or equal parts in several, and how they are written there.
struct VoxelSource {
  enum Encoding { case raw, deflated, text }
  /// What precedes the voxels in each file, behind `Piece.start` and the skipped lines.
  enum Skip: Equatable {
    /// Of deflated data: as many bytes of what it inflates to.
    case bytes(Int)
    /// The voxels are the last bytes of the file; raw ones only.
    case allButVoxels
  }
  struct Piece {
    let path: String
    /// First byte that belongs to the data.
    var start = 0
    /// Compressed bytes; nil: up to the end of the file.
    var compressedBytes: Int?
  }
  var encoding = Encoding.raw
  var skippedLines = 0
  var skip = Skip.bytes(0)
  var isSwapped = false
  /// In the order of the voxels.
  var pieces: [Piece]

  /// Makes certain, before memory is made for them, that the files can hold `count` bytes of voxels of the type.
  /// Throws: `.format` when they cannot, `.io` when one is missing.
  func check(_ dtype: DType, count: Int) throws(MedDINOError) {
    guard !pieces.isEmpty, count % pieces.count == 0 else { throw MedDINOError(.internal, "\(count) bytes in \(pieces.count) files") }
    for piece in pieces { _ = try opened(piece, count / pieces.count, dtype) }
  }

  /// Fills `target` with voxels of the type in this machine's byte order.
  /// Throws: as `check`; `.format` for damaged files and for other text than numbers; `.cancelled`.
  func read(_ dtype: DType, into target: UnsafeMutableRawBufferPointer, control: RunControl?) throws(MedDINOError) {
    let part = target.count / pieces.count
    for (index, piece) in pieces.enumerated() {
      let (file, start) = try opened(piece, part, dtype)
      let place = UnsafeMutableRawBufferPointer(rebasing: target[index * part..<(index + 1) * part])
      func progress(_ done: Int) throws(MedDINOError) {
        try control?.update((Double(index) + Double(done) / Double(max(part, 1))) / Double(pieces.count))
      }
      switch encoding {
      case .raw: try copy(file, from: start, into: place, progress)
      case .deflated: try inflate(file, from: start, piece, into: place, control, progress)
      case .text: try TextVoxels(file, from: start).read(dtype, into: place, progress)
      }
    }
    if isSwapped, encoding != .text { swapBytes(target, ofSize: dtype.byteCount) }
  }

  /// The file, and where in it the voxels or the compressed data start. Throws: `.format` when it cannot hold `part` bytes.
  private func opened(_ piece: Piece, _ part: Int, _ dtype: DType) throws(MedDINOError) -> (file: InputFile, start: Int) {
    let file = try InputFile(piece.path)
    var start = try behindLines(file, piece.start)
    switch (encoding, skip) {
    case (.raw, .allButVoxels): start = max(start, file.size - part)
    case (.raw, .bytes(let count)): start = try Checked.sum(start, count, piece.path)
    case (.text, .bytes(let count)): start = try Checked.sum(start, count, piece.path)
    case (.deflated, .bytes), (.deflated, .allButVoxels), (.text, .allButVoxels): break
    }
    let rest = max(0, file.size - start)
    var (available, wanted) = (rest, part)
    switch encoding {
    case .raw: break
    case .deflated:
      guard (piece.compressedBytes ?? 0) <= rest else {
        throw .format("\(piece.path): truncated: \(piece.compressedBytes ?? 0) compressed bytes from offset \(start), there are \(rest)")
      }
      available = GzipReader.largestOutput(of: piece.compressedBytes ?? rest)
      if case .bytes(let count) = skip { wanted = try Checked.sum(part, count, piece.path) }
    // at least one digit and one space for each but the last
    case .text: wanted = try Checked.product([part / dtype.byteCount, 2], piece.path) - 1
    }
    guard wanted <= available else {
      throw .format(
        "\(piece.path): the header announces \(part) bytes of voxels, there are \(rest) bytes from offset \(start)"
          + (encoding == .deflated ? ", compressed" : encoding == .text ? " of text" : ""))
    }
    return (file, start)
  }

  private func behindLines(_ file: InputFile, _ start: Int) throws(MedDINOError) -> Int {
    guard skippedLines > 0 else { return start }
    guard skippedLines <= file.size - start else {
      throw .format("\(file.path): \(skippedLines) lines to skip, there are \(max(0, file.size - start)) bytes")
    }
    var (position, left) = (start, skippedLines)
    while position < file.size {
      let bytes = try file.bytes(at: position, count: 1 << 16)
      for (index, byte) in bytes.enumerated() where byte == 0x0a {
        left -= 1
        if left == 0 { return position + index + 1 }
      }
      position += bytes.count
    }
    throw .format("\(file.path): \(skippedLines) lines to skip, there are \(skippedLines - left)")
  }

  private typealias Progress = (Int) throws(MedDINOError) -> Void

  private func copy(
    _ file: InputFile, from start: Int, into target: UnsafeMutableRawBufferPointer, _ progress: Progress
  ) throws(MedDINOError) {
    var done = 0
    while done < target.count {
      let part = min(target.count - done, 4 << 20)
      try file.read(at: start + done, into: UnsafeMutableRawBufferPointer(rebasing: target[done..<done + part]))
      done += part
      try progress(done)
    }
  }

  private func inflate(
    _ file: InputFile, from start: Int, _ piece: Piece, into target: UnsafeMutableRawBufferPointer, _ control: RunControl?,
    _ progress: Progress
  ) throws(MedDINOError) {
    let end = piece.compressedBytes.map { start + $0 } ?? file.size
    let stream = try GzipReader(file, range: start..<max(start, end), acceptsZlib: true, control: control)
    if case .bytes(let count) = skip { try stream.skip(count) }
    var done = 0
    while done < target.count {
      let part = min(target.count - done, 4 << 20)
      try stream.readAll(into: UnsafeMutableRawBufferPointer(rebasing: target[done..<done + part]))
      done += part
      try progress(done)
    }
    try stream.finish()
  }
}

/// Turns numbers of 2, 4 or 8 bytes to the other byte order, in place. Other sizes stay as they are.
func swapBytes(_ bytes: UnsafeMutableRawBufferPointer, ofSize size: Int) {
  switch size {
  case 2: bytes.withMemoryRebound(to: UInt16.self) { for i in $0.indices { $0[i] = $0[i].byteSwapped } }
  case 4: bytes.withMemoryRebound(to: UInt32.self) { for i in $0.indices { $0[i] = $0[i].byteSwapped } }
  case 8: bytes.withMemoryRebound(to: UInt64.self) { for i in $0.indices { $0[i] = $0[i].byteSwapped } }
  default: break
  }
}
