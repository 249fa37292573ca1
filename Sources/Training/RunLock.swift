internal import Glibc
public import Platform
public import Tensors

/// The right to write into the folder of a run: of several runs, in one process or in many, one has it.
///
/// The system locks a file of the folder, so the lock ends with its process, however that ends. The file goes with the lock; so does the
/// folder where the lock made it and nothing came into it. A file system that knows no locks is used without.
public final class RunLock: Sendable {
  public static let name = "run.lock"
  /// Of the folder, from the root.
  public let folder: String
  private let descriptor: Int32
  private let isNew: Bool
  private var path: String { folder + "/" + Self.name }

  /// Makes the folder where there is none. Throws: `.state` while another run uses it, `.invalid`, `.io`.
  public init(_ folder: String) throws(MedDINOError) {
    guard !folder.isEmpty, !folder.utf8.contains(0) else { throw .invalid("folder of the run is empty or holds a NUL byte") }
    isNew = FileKind.of(folder) == .missing
    try makeFolder(folder)
    // From the root: a process may go to another folder while it holds the lock.
    self.folder = try absolutePath(folder)
    descriptor = try Self.lock(self.folder + "/" + Self.name, folder)
  }
  deinit {
    unlink(path)
    close(descriptor)
    if isNew { rmdir(folder) }  // fails, as it should, for one that is not empty
  }

  /// Of a run of several ranks: the first one gets the lock, and all fail when it does not. nil on the others. Throws: as `init`.
  public static func take(_ folder: String, by ranks: any Communicator) throws(MedDINOError) -> RunLock? {
    var lock: RunLock?
    var failure: MedDINOError?
    if ranks.isRoot { do throws(MedDINOError) { lock = try RunLock(folder) } catch { failure = error } }
    let fails = try ranks.isAny(failure != nil)
    if let failure { throw failure }
    if fails { throw .state("\(folder): the first process cannot write into this folder") }
    return lock
  }

  private static func lock(_ path: String, _ folder: String) throws(MedDINOError) -> Int32 {
    while true {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
      guard descriptor >= 0 else { throw .io("\(path): \(systemMessage(errno))") }
      if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
        let code = errno
        if [ENOSYS, EOPNOTSUPP, ENOLCK].contains(code) { return descriptor }
        close(descriptor)
        if code == EINTR { continue }
        guard code == EWOULDBLOCK else { throw .io("\(path): \(systemMessage(code))") }
        throw .state("\(folder): another run uses this folder, expected one of its own or the other run's end")
      }
      // The lock of a run that ended in between is no lock: its file is gone.
      var (own, there) = (stat(), stat())
      if fstat(descriptor, &own) == 0, stat(path, &there) == 0, own.st_dev == there.st_dev, own.st_ino == there.st_ino { return descriptor }
      close(descriptor)
    }
  }
}
