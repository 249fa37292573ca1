internal import Glibc
internal import Platform
internal import Synchronization
internal import Tensors

/// Works through cases, several at a time, with progress and cancellation of the whole.
///
/// Progress is reported from the thread that called, as `RunControl` promises, while that thread takes its share of the cases.
struct CaseLanes {
  private struct Shared {
    var parts: [Double]
    var failure: (index: Int, error: MedDINOError)?
  }
  let pool: ThreadPool
  /// Cases in memory at once.
  let width: Int

  /// `jobs`: cases at once; 0 takes as many as there are threads, but no more than fit in the memory that is left when each
  /// needs `bytesPerCase`.
  init(jobs: Int, bytesPerCase: Int, pool: ThreadPool, budget: MemoryBudget) throws(MedDINOError) {
    guard (0...1024).contains(jobs) else { throw .invalid("jobs is \(jobs), expected 0 (auto) to 1024") }
    self.pool = pool
    if jobs > 0 {
      width = min(jobs, pool.width)
    } else {
      let physical = Int(sysconf(Int32(_SC_PHYS_PAGES))) / 2 * Int(sysconf(Int32(_SC_PAGESIZE)))
      let left = min(max(physical, 0), budget.limit - min(budget.limit, budget.bytesInUse))
      width = max(1, min(pool.width, left / max(bytesPerCase, 1)))
    }
  }

  /// Calls `body` once for every index; the order is free.
  /// Throws: the error of the first case that failed; `.cancelled`.
  func run(_ count: Int, _ control: RunControl, _ body: @Sendable (Int, RunControl) throws(MedDINOError) -> Void) throws(MedDINOError) {
    let caller = pthread_self()
    let shared = Mutex(Shared(parts: [Double](repeating: 0, count: count), failure: nil))
    let next = Atomic<Int>(0)
    func work() {
      while true {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        if index >= count { return }
        let own = control.branch { fraction, _ in
          let (done, stopped) = shared.withLock { state in
            state.parts[index] = max(state.parts[index], fraction)
            return (state.parts.reduce(0, +) / Double(count), state.failure != nil)
          }
          if stopped { return false }
          if pthread_equal(caller, pthread_self()) != 0 {
            do throws(MedDINOError) { try control.update(done) } catch { return false }
          }
          return true
        }
        do throws(MedDINOError) {
          try own.update(0)
          try body(index, own)
          try own.update(1)
        } catch {
          shared.withLock { state in
            // Lanes that were only stopped by another's failure say "cancelled": they must not hide its cause.
            if state.failure == nil || (state.failure?.error.kind == .cancelled && error.kind != .cancelled) {
              state.failure = (index, error)
            }
          }
          next.store(count, ordering: .relaxed)
        }
      }
    }
    pool.forEach(width) { _ in work() }
    if let failure = shared.withLock({ $0.failure }) { throw failure.error }
    try control.update(1)
  }
}
