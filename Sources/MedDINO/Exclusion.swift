public import Platform
internal import Synchronization

/// Lets one call at a time use a trainer; another one fails instead of waiting.
final class Exclusion: Sendable {
  private let isBusy = Mutex(false)

  /// Throws: `.state` while another call runs.
  func run<T>(_ body: () throws(MedDINOError) -> T) throws(MedDINOError) -> T {
    try take()
    defer { giveBack() }
    return try body()
  }

  fileprivate func take() throws(MedDINOError) {
    let isFree = isBusy.withLock { busy in
      if busy { return false }
      busy = true
      return true
    }
    guard isFree else { throw .state("the trainer is at work in another call or job") }
  }
  fileprivate func giveBack() { isBusy.withLock { $0 = false } }
}

/// A trainer for one run on another thread: until this is let go, other calls on it fail.
public final class ReservedRun: @unchecked Sendable {
  private let exclusion: Exclusion
  private let body: (RunControl) throws(MedDINOError) -> Void

  /// Throws: `.state` while another call runs.
  init(_ exclusion: Exclusion, _ body: @escaping (RunControl) throws(MedDINOError) -> Void) throws(MedDINOError) {
    try exclusion.take()
    self.exclusion = exclusion
    self.body = body
  }
  deinit { exclusion.giveBack() }

  /// Everything that is left of the run. Throws: what its trainer's `run` throws.
  public func run(control: RunControl = RunControl()) throws(MedDINOError) { try body(control) }
}
