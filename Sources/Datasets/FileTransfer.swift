import Glibc
internal import Platform

/// Brings one published NIfTI file to its place as `.nii.gz`.
///
/// gzipped content is copied or hard-linked, plain content is compressed, whatever the name says. A target has its source's time: one from
/// an earlier run is kept when it is complete and the source has not changed since; targets appear whole or not at all.
struct FileTransfer {
  enum Outcome { case copied, linked, compressed, kept }
  let source: String
  let target: String
  let link: Bool

  private static let chunk = 4 << 20

  /// Throws: `.format` when the source is no NIfTI file, `.io`, `.cancelled`.
  func run(_ control: RunControl?) throws(MedDINOError) -> Outcome {
    let file = try InputFile(source)
    let stamp = try FileStamp(source)
    let isGzip = try GzipReader.isGzip(file)
    try checkHeader(file, isGzip)
    if FileKind.of(target) != .missing {
      guard try !isComplete(file, isGzip, stamp) else { return .kept }
      // A hard link must not be written through; a copy that is no longer the source's is replaced.
      guard unlink(target) == 0 else { throw .io("\(target): \(systemMessage(errno))") }
    }
    if isGzip, link {
      guard linkat(AT_FDCWD, source, AT_FDCWD, target, AT_SYMLINK_FOLLOW) == 0 else {
        let code = errno
        let advice = code == EXDEV || code == EPERM || code == EMLINK ? "; without the link option files are copied" : ""
        throw .io("\(target): cannot be linked to \(source): \(systemMessage(code))\(advice)")
      }
      return .linked
    }
    let output = try AtomicFile(target)
    let gzip = isGzip ? nil : try GzipWriter(output)
    try stream(file, control) { (bytes) throws(MedDINOError) in
      if let gzip { try gzip.write(bytes) } else { try output.write(bytes) }
    }
    try gzip?.finish()
    try output.commit()
    try stamp.setTime(of: target)
    return isGzip ? .copied : .compressed
  }

  private func stream(
    _ file: InputFile, _ control: RunControl?, _ put: (UnsafeRawBufferPointer) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.chunk, alignment: 64)
    defer { memory.deallocate() }
    var done = 0
    while done < file.size {
      let part = UnsafeMutableRawBufferPointer(rebasing: memory[..<min(Self.chunk, file.size - done)])
      try file.read(at: done, into: part)
      try put(UnsafeRawBufferPointer(part))
      done += part.count
      try control?.update(Double(done) / Double(file.size))
    }
  }

  /// The first field of a NIfTI header is its size, in either byte order: this tells a scan from a web page saved under its name.
  private func checkHeader(_ file: InputFile, _ isGzip: Bool) throws(MedDINOError) {
    var first = [UInt8](repeating: 0, count: 4)
    var count = 0
    if isGzip {
      let reader = try GzipReader(file)
      var failure: MedDINOError?
      first.withUnsafeMutableBytes { raw in do throws(MedDINOError) { count = try reader.read(into: raw) } catch { failure = error } }
      if let failure { throw failure }
    } else {
      first = try file.bytes(at: 0, count: 4)
      count = first.count
    }
    let size = first.withUnsafeBytes { $0.count == 4 ? $0.loadUnaligned(as: UInt32.self) : 0 }
    guard count == 4, [348, 540].contains(size) || [348, 540].contains(size.byteSwapped) else {
      throw .format("\(source): not a NIfTI file")
    }
  }

  /// Whether the target holds all of the source: its time and the same size, or for compressed ones the length that gzip ends with.
  private func isComplete(_ file: InputFile, _ isGzip: Bool, _ stamp: FileStamp) throws(MedDINOError) -> Bool {
    guard FileKind.of(target) == .regular else { throw .io("\(target): in the way, it is not a regular file") }
    guard try FileStamp(target).hasTime(of: stamp) else { return false }
    let there = try InputFile(target)
    guard !isGzip else { return there.size == file.size }
    guard there.size > 18, try GzipReader.isGzip(there) else { return false }
    let tail = try there.bytes(at: there.size - 4, count: 4)
    let length = tail.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    return length == UInt32(truncatingIfNeeded: file.size)
  }
}
