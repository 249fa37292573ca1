internal import Glibc

/// A file that one holder at a time has locked, in one process or in many.
///
/// The system takes the lock back from a process that was killed. The file goes with the lock.
public final class FileLock: Sendable {
  private let path: String
  private let descriptor: Int32
  private let madeFolder: String?
  /// Why the file is not locked: a file system that knows no locks; nil when it is.
  public let missing: MedDINOError?

  /// `madeFolder`: a folder that goes with the lock where nothing came into it.
  private init(_ path: String, _ descriptor: Int32, _ madeFolder: String?, missing: MedDINOError?) {
    (self.path, self.descriptor, self.madeFolder, self.missing) = (path, descriptor, madeFolder, missing)
  }
  deinit {
    unlink(path)
    close(descriptor)
    if let madeFolder { rmdir(madeFolder) }  // fails, as it should, for one that is not empty
  }

  /// nil while another holder has it. Throws: `.io`.
  public static func take(_ path: String, madeFolder: String? = nil) throws(MedDINOError) -> FileLock? {
    while true {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
      guard descriptor >= 0 else { throw .io("\(path): \(systemMessage(errno))") }
      if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
        let code = errno
        let error = MedDINOError.io("\(path): \(systemMessage(code))")
        if [ENOSYS, EOPNOTSUPP, ENOLCK].contains(code) { return FileLock(path, descriptor, madeFolder, missing: error) }
        close(descriptor)
        if code == EINTR { continue }
        guard code == EWOULDBLOCK else { throw error }
        return nil
      }
      // The holder before may have removed the file between our open and our lock: then the lock is on a file that nobody else sees.
      var (held, there) = (stat(), stat())
      if fstat(descriptor, &held) == 0, stat(path, &there) == 0, held.st_dev == there.st_dev, held.st_ino == there.st_ino {
        return FileLock(path, descriptor, madeFolder, missing: nil)
      }
      close(descriptor)
    }
  }
}
