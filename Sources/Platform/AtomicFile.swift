import Glibc

/// A file that appears whole or not at all: written beside its target, synced, then renamed over it.
///
/// Dropping the object without `commit()` removes the temporary file and leaves any earlier target untouched.
public final class AtomicFile {
  public let path: String
  private let temporaryPath: String
  private var descriptor: Int32
  private var pending: [UInt8] = []
  public private(set) var bytesWritten = 0

  /// A link is followed: what it points to is replaced. Throws: `.io` when the folder does not exist or cannot be written, or when
  /// something other than a file is there (a device would be replaced by a file).
  public init(_ path: String) throws(MedDINOError) {
    guard !path.isEmpty, !path.utf8.contains(0) else { throw .invalid("path is empty or holds a NUL byte") }
    let kind = FileKind.of(path)
    guard kind == .missing || kind == .regular else {
      throw .io("\(path): a \(kind == .directory ? "folder" : "device or pipe") is there, expected a file or nothing")
    }
    self.path = kind == .regular ? try absolutePath(path) : path
    let stem = Self.stem(self.path)
    var attempt = 0
    repeat {
      attempt += 1
      let candidate = "\(stem).tmp-\(getpid())-\(attempt)"
      descriptor = open(candidate, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      if descriptor >= 0 || errno != EEXIST || attempt == 1000 {
        temporaryPath = candidate
        break
      }
    } while true
    guard descriptor >= 0 else { throw .io("\(path): \(systemMessage(errno))") }
    pending.reserveCapacity(1 << 16)
  }

  /// The path, its name cut so that the temporary's longer one still fits the 255 bytes that a name may have.
  private static func stem(_ path: String) -> String {
    let start = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
    var name = path[start...]
    while name.utf8.count > 200 { name.removeLast() }
    return String(path[..<start] + name)
  }

  deinit {
    if descriptor >= 0 {
      close(descriptor)
      unlink(temporaryPath)
    }
  }

  public func write(_ bytes: UnsafeRawBufferPointer) throws(MedDINOError) {
    if pending.count + bytes.count <= 1 << 16 {
      pending.append(contentsOf: bytes)
    } else {
      try flush()
      try writeThrough(bytes)
    }
    bytesWritten += bytes.count
  }
  public func write(_ bytes: [UInt8]) throws(MedDINOError) {
    var failure: MedDINOError?
    bytes.withUnsafeBytes { raw in do throws(MedDINOError) { try write(raw) } catch { failure = error } }
    if let failure { throw failure }
  }
  public func write(_ text: String) throws(MedDINOError) { try write(Array(text.utf8)) }

  /// Replaces bytes that were written before, for fields whose value is known only at the end.
  /// Throws: `.internal` when they were not all written, `.io`.
  public func overwrite(_ bytes: [UInt8], at offset: Int) throws(MedDINOError) {
    guard offset >= 0, offset <= bytesWritten - bytes.count else {
      throw MedDINOError(.internal, "\(path): bytes to replace at \(offset), \(bytesWritten) are written")
    }
    try flush()
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { raw in
        raw.baseAddress.map { pwrite(descriptor, $0 + done, raw.count - done, off_t(offset + done)) } ?? 0
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw .io("\(path): \(systemMessage(errno))") }
      done += count
    }
  }

  /// Syncs and puts the file in its place. Throws: `.io`; the target is then unchanged.
  public func commit() throws(MedDINOError) {
    try flush()
    guard fsync(descriptor) == 0 else { throw .io("\(path): \(systemMessage(errno))") }
    close(descriptor)
    descriptor = -1
    guard rename(temporaryPath, path) == 0 else {
      let code = errno
      unlink(temporaryPath)
      throw .io("\(path): \(systemMessage(code))")
    }
    syncFolder()
  }

  /// Writes a whole small file.
  public static func write(_ bytes: [UInt8], to path: String) throws(MedDINOError) {
    let file = try AtomicFile(path)
    try file.write(bytes)
    try file.commit()
  }

  /// Copies a file piece by piece. Throws: `.io`.
  public static func copy(_ source: String, to path: String) throws(MedDINOError) {
    let input = try InputFile(source)
    let file = try AtomicFile(path)
    var position = 0
    while position < input.size {
      let piece = try input.bytes(at: position, count: 1 << 20)
      try file.write(piece)
      position += piece.count
    }
    try file.commit()
  }

  /// Removes what killed processes left half written in a folder: `<name>.tmp-<process>-<n>` of processes that are gone, for names that
  /// `belongs` accepts. Only for a folder that no other machine writes to. Throws: `.io`.
  public static func removeAbandoned(in folder: String, _ belongs: (String) -> Bool) throws(MedDINOError) {
    for entry in try folderEntries(folder) {
      let parts = entry.split(separator: "-")
      guard parts.count >= 3, Int(parts[parts.count - 1]) != nil, let process = pid_t(parts[parts.count - 2]), process > 0 else { continue }
      let name = parts[0..<parts.count - 2].joined(separator: "-")
      guard name.hasSuffix(".tmp"), belongs(String(name.dropLast(4))) else { continue }
      if kill(process, 0) == 0 || errno != ESRCH { continue }
      guard unlink("\(folder)/\(entry)") == 0 || errno == ENOENT else { throw .io("\(folder)/\(entry): \(systemMessage(errno))") }
    }
  }

  private func flush() throws(MedDINOError) {
    var failure: MedDINOError?
    pending.withUnsafeBytes { raw in do throws(MedDINOError) { try writeThrough(raw) } catch { failure = error } }
    pending.removeAll(keepingCapacity: true)
    if let failure { throw failure }
  }

  private func writeThrough(_ bytes: UnsafeRawBufferPointer) throws(MedDINOError) {
    var done = 0
    while done < bytes.count, let base = bytes.baseAddress {
      let count = Glibc.write(descriptor, base + done, min(bytes.count - done, 1 << 30))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw .io("\(path): \(systemMessage(errno))") }
      done += count
    }
  }

  /// The rename itself must survive a power cut; a folder that cannot be synced (some network file systems) is no error.
  private func syncFolder() {
    let folder = folderPath(of: path)
    let handle = open(folder, O_RDONLY | O_CLOEXEC)
    if handle >= 0 {
      _ = fsync(handle)
      close(handle)
    }
  }
}
