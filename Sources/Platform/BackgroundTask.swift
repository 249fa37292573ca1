internal import Glibc

/// Work on a thread of its own that others can wait for. All signals are blocked on that thread: they belong to the host.
public final class BackgroundTask: @unchecked Sendable {
  private let monitor = Monitor()
  private var thread = pthread_t()
  private var started = false
  private var joined = false
  private var finished = false
  private var body: (() -> Void)?

  public init(_ body: @escaping () -> Void) {
    self.body = body
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
    monitor.lock()
    finished = true
    monitor.broadcast()
    monitor.unlock()
  }

  /// True when the work is done; waits up to `milliseconds` (negative: without limit).
  public func wait(milliseconds: Int) -> Bool {
    monitor.lock()
    defer { monitor.unlock() }
    if milliseconds < 0 {
      while !finished { monitor.wait() }
      return true
    }
    let deadline = Deadline(milliseconds: milliseconds)
    while !finished, monitor.wait(until: deadline) {}
    return finished
  }

  /// Waits for the thread itself to end, so that its stack and library code are no longer in use. Call once, from one thread.
  public func join() {
    guard started, !joined else { return }
    joined = true
    pthread_join(thread, nil)
  }
}
