internal import Glibc

/// Work on a thread of its own that others can wait for. All signals are blocked on that thread: they belong to the host.
public final class BackgroundTask: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var thread = pthread_t()
  private var started = false
  private var joined = false
  private var finished = false
  private var body: (() -> Void)?

  public init(_ body: @escaping () -> Void) {
    self.body = body
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// Throws: `.outOfMemory` when the system gives no thread.
  public func start() throws(MedDINOError) {
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_BLOCK, &all, &before)
    let raw = Unmanaged.passRetained(self).toOpaque()
    let code = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        let task = Unmanaged<BackgroundTask>.fromOpaque(argument).takeRetainedValue()
        task.run()
        return nil
      }, raw)
    pthread_sigmask(SIG_SETMASK, &before, nil)
    guard code == 0 else {
      Unmanaged<BackgroundTask>.fromOpaque(raw).release()
      throw MedDINOError(.outOfMemory, "no thread for the job: \(systemMessage(code))")
    }
    started = true
  }

  private func run() {
    body?()
    body = nil  // what the work held goes before anyone is told that it is done
    pthread_mutex_lock(mutex)
    finished = true
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
  }

  /// True when the work is done; waits up to `milliseconds` (negative: without limit).
  public func wait(milliseconds: Int) -> Bool {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    if milliseconds < 0 {
      while !finished { pthread_cond_wait(condition, mutex) }
      return true
    }
    var deadline = timespec()
    clock_gettime(CLOCK_MONOTONIC, &deadline)
    let nanoseconds = deadline.tv_nsec + milliseconds % 1000 * 1_000_000
    deadline.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000
    while !finished {
      if pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT { break }
    }
    return finished
  }

  /// Waits for the thread itself to end, so that its stack and library code are no longer in use. Call once, from one thread.
  public func join() {
    guard started, !joined else { return }
    joined = true
    pthread_join(thread, nil)
  }
}
