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
  private let lock: FileLock

  /// Makes the folder where there is none. Throws: `.state` while another run uses it, `.invalid`, `.io`.
  public init(_ folder: String) throws(MedDINOError) {
    guard !folder.isEmpty, !folder.utf8.contains(0) else { throw .invalid("folder of the run is empty or holds a NUL byte") }
    let isNew = FileKind.of(folder) == .missing
    try makeFolder(folder)
    // From the root: a process may go to another folder while it holds the lock.
    let path = try absolutePath(folder)
    guard let lock = try FileLock.take(path + "/" + Self.name, madeFolder: isNew ? path : nil) else {
      throw .state("\(folder): another run uses this folder, expected one of its own or the other run's end")
    }
    (self.folder, self.lock) = (path, lock)
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
}
