import Glibc

/// A file read by position. Never mapped: a file truncated under a mapping kills the host.
public final class InputFile: @unchecked Sendable {
  public let path: String
  public let size: Int
  private let descriptor: Int32

  /// Throws: `.io` when the path cannot be opened or is not a regular file.
  public init(_ path: String) throws(MedDINOError) {
    guard !path.isEmpty, !path.utf8.contains(0) else { throw .invalid("path is empty or holds a NUL byte") }
    descriptor = Self.open(path)
    guard descriptor >= 0 else { throw .io("\(path): \(systemMessage(errno))") }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw .io("\(path): not a regular file")
    }
    self.path = path
    size = Int(status.st_size)
  }
  deinit { close(descriptor) }

  /// Without O_NONBLOCK the open of a named pipe would wait for a writer, out of reach of any cancel; regular files ignore it.
  private static func open(_ path: String) -> Int32 {
    while true {
      let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
      if descriptor >= 0 || errno != EINTR { return descriptor }
    }
  }

  /// Fills `destination` from `offset`. Throws: `.format` past the end of the file, `.io` when the system fails.
  public func read(at offset: Int, into destination: UnsafeMutableRawBufferPointer) throws(MedDINOError) {
    guard offset >= 0, destination.count <= size, offset <= size - destination.count else {
      throw .format("\(path): truncated: \(destination.count) bytes wanted at offset \(offset), the file has \(size)")
    }
    var done = 0
    while done < destination.count, let base = destination.baseAddress {
      let count = pread(descriptor, base + done, min(destination.count - done, 1 << 30), off_t(offset + done))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw count == 0 ? .format("\(path): truncated while it was read") : .io("\(path): \(systemMessage(errno))")
      }
      done += count
    }
  }

  /// At most `count` bytes from `offset` (fewer at the end of the file).
  public func bytes(at offset: Int, count: Int) throws(MedDINOError) -> [UInt8] {
    let available = max(0, min(count, size - max(offset, 0)))
    var result = [UInt8](repeating: 0, count: available)
    var failure: MedDINOError?
    result.withUnsafeMutableBytes { bytes in
      do throws(MedDINOError) { try read(at: offset, into: bytes) } catch { failure = error }
    }
    if let failure { throw failure }
    return result
  }

  /// The whole file. Throws: `.format` above `limit` bytes (so that a text file cannot exhaust memory).
  public static func contents(_ path: String, limit: Int = 256 << 20) throws(MedDINOError) -> [UInt8] {
    let file = try InputFile(path)
    guard file.size <= limit else { throw .format("\(path): \(file.size) bytes, at most \(limit) expected") }
    return try file.bytes(at: 0, count: file.size)
  }
}

/// The system's words for an error number, without touching process-wide state.
public func systemMessage(_ code: Int32) -> String {
  var text = [CChar](repeating: 0, count: 256)
  return text.withUnsafeMutableBufferPointer { buffer -> String in
    guard let base = buffer.baseAddress, strerror_r(code, base, buffer.count) == 0 else { return "system error \(code)" }
    return String(cString: base)
  }
}

/// What lies at a path.
public enum FileKind: Sendable {
  case missing, regular, directory, other
  public static func of(_ path: String) -> FileKind {
    var status = stat()
    guard stat(path, &status) == 0 else { return .missing }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .regular
    case S_IFDIR: return .directory
    default: return .other
    }
  }
}

/// What changes when a file is written anew: its size and the time of its last change.
public struct FileStamp: Equatable, Sendable, CustomStringConvertible {
  public let size: Int
  public let seconds: Int
  public let nanoseconds: Int
  public var description: String { "\(size) \(seconds).\(nanoseconds)" }

  /// Throws: `.io` when there is no such file.
  public init(_ path: String) throws(MedDINOError) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .io("\(path): \(systemMessage(errno))") }
    size = Int(status.st_size)
    seconds = Int(status.st_mtim.tv_sec)
    nanoseconds = Int(status.st_mtim.tv_nsec)
  }

  /// Gives a file the time of this stamp, so that a copy can be told from one of other contents. Throws: `.io`.
  public func setTime(of path: String) throws(MedDINOError) {
    let time = timespec(tv_sec: seconds, tv_nsec: nanoseconds)
    guard utimensat(AT_FDCWD, path, [time, time], 0) == 0 else { throw .io("\(path): \(systemMessage(errno))") }
  }
  public func hasTime(of other: FileStamp) -> Bool { seconds == other.seconds && nanoseconds == other.nanoseconds }
}

/// Names in a folder, sorted by code point, without "." and "..". Throws: `.io`.
public func folderEntries(_ path: String) throws(MedDINOError) -> [String] {
  guard let folder = opendir(path) else { throw .io("\(path): \(systemMessage(errno))") }
  defer { closedir(folder) }
  var names: [String] = []
  while let entry = readdir(folder) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
}

/// Whether two paths are one file, however they are spelled: the same existing file, or the same name in the same folder.
public func isSameFile(_ first: String, _ second: String) -> Bool {
  if first == second { return true }
  var (a, b) = (stat(), stat())
  let found = (stat(first, &a) == 0, stat(second, &b) == 0)
  if found.0 || found.1 { return found.0 && found.1 && a.st_dev == b.st_dev && a.st_ino == b.st_ino }
  func name(_ path: String) -> Substring { path.lastIndex(of: "/").map { path[path.index(after: $0)...] } ?? path[...] }
  return name(first) == name(second) && stat(folderPath(of: first), &a) == 0 && stat(folderPath(of: second), &b) == 0
    && a.st_dev == b.st_dev && a.st_ino == b.st_ino
}

/// The last part of a path; the path itself where it has none ("/").
public func fileName(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

/// The folder that a path names a file in: "." without a slash.
public func folderPath(of path: String) -> String {
  path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
}

/// Removes a file if there is one. Throws: `.io`.
public func removeFile(_ path: String) throws(MedDINOError) {
  guard unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR else { throw .io("\(path): \(systemMessage(errno))") }
}

/// Makes a folder and the folders above it. Throws: `.io`.
public func makeFolder(_ path: String) throws(MedDINOError) {
  if FileKind.of(path) == .directory || path.isEmpty { return }
  if let slash = path.lastIndex(of: "/"), slash != path.startIndex { try makeFolder(String(path[..<slash])) }
  guard mkdir(path, 0o777) == 0 || errno == EEXIST else { throw .io("\(path): \(systemMessage(errno))") }
}

/// The path from the root, without links. Throws: `.io` when there is nothing at the path.
public func absolutePath(_ path: String) throws(MedDINOError) -> String {
  guard !path.utf8.contains(0), let found = realpath(path, nil) else { throw .io("\(path): \(systemMessage(errno))") }
  defer { free(found) }
  return String(cString: found)
}
