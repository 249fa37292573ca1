internal import Glibc

/// Seconds of a clock that nobody sets, from some moment on.
public func monotonicSeconds() -> Double {
  let now = Deadline.now()
  return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
}

/// A moment of that clock.
struct Deadline {
  fileprivate var time: timespec
  init(milliseconds: Int) {
    time = Self.now()
    let nanoseconds = time.tv_nsec + milliseconds % 1000 * 1_000_000
    time.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
    time.tv_nsec = nanoseconds % 1_000_000_000
  }
  fileprivate static func now() -> timespec {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time
  }
}

/// A lock with one condition to wait for. `wait` only between `lock` and `unlock`.
public final class Monitor: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  public init() {
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

  public func lock() { pthread_mutex_lock(mutex) }
  public func unlock() { pthread_mutex_unlock(mutex) }
  /// Wakes everyone who waits.
  public func broadcast() { pthread_cond_broadcast(condition) }
  public func wait() { pthread_cond_wait(condition, mutex) }
  /// Waits for at most so long.
  public func wait(milliseconds: Int) { _ = wait(until: Deadline(milliseconds: milliseconds)) }
  /// False when the moment has come.
  func wait(until deadline: Deadline) -> Bool {
    var time = deadline.time
    return pthread_cond_timedwait(condition, mutex, &time) != ETIMEDOUT
  }
}
