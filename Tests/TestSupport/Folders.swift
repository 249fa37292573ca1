internal import Platform
internal import Glibc

/// Where the project lies, from this file's own path.
public let projectRoot: String = {
  var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast(3)
  return parts.joined(separator: "/")
}()

/// Real CT volumes beside a developer's checkout; nil on a clone alone, where tests that want them skip and say so.
public let sharedData: String? = {
  let path = environment("MEDDINO_DATA") ?? projectRoot + "/../shared/data"
  return FileKind.of(path) == .directory ? path : nil
}()

public func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// Whether two paths are one file (hard links).
public func sameFile(_ a: String, _ b: String) throws -> Bool {
  var (first, second) = (stat(), stat())
  guard stat(a, &first) == 0, stat(b, &second) == 0 else { throw MedDINOError.io("\(a) or \(b) is missing") }
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino
}

/// A fresh folder that is removed when `body` returns.
public func withTemporaryFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  var template = Array("/tmp/meddino-test-XXXXXX".utf8CString)
  guard let made = mkdtemp(&template) else { throw MedDINOError.io("no temporary folder") }
  let path = String(cString: made)
  defer { removeTree(path) }
  return try body(path)
}

private func removeTree(_ path: String) {
  if FileKind.of(path) == .directory {
    for name in (try? folderEntries(path)) ?? [] { removeTree(path + "/" + name) }
    rmdir(path)
  } else {
    unlink(path)
  }
}
