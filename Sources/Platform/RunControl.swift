import Synchronization

/// A flag that any thread may raise to stop a run.
public final class Cancellation: Sendable {
  private let flag = Atomic<Bool>(false)
  public init() {}
  public func request() { flag.store(true, ordering: .relaxed) }
  public var isRequested: Bool { flag.load(ordering: .relaxed) }
}

/// Progress and cancellation of one run: a fraction in [0, 1] and a stage name go out, a wish to stop comes in.
///
/// `report` is called on the thread that runs the work, at least once per tile and per network block.
public final class RunControl: @unchecked Sendable {
  /// Returns false to stop the run.
  public typealias Report = (_ fraction: Double, _ stage: String) -> Bool
  private let cancellation: Cancellation?
  private let report: Report?
  private var stage = ""
  private var base = 0.0
  private var span = 1.0

  public init(cancellation: Cancellation? = nil, report: Report? = nil) {
    self.cancellation = cancellation
    self.report = report
  }

  /// A run inside this one that stops with it and reports to `report`: for pieces of work on other threads.
  public func branch(_ report: Report?) -> RunControl { RunControl(cancellation: cancellation, report: report) }

  /// A run whose whole is the part [from, to] of this one, for work that names stages of its own.
  public func span(_ from: Double, _ to: Double) -> RunControl {
    guard let report else { return branch(nil) }
    return branch { fraction, stage in report(from + (to - from) * fraction, stage) }
  }

  /// The part [from, to] of the current stage, for work that goes from 0 to 1 and names no stage.
  public func part(_ from: Double, _ to: Double) -> RunControl {
    branch { [self] fraction, _ in
      do throws(MedDINOError) { try update(from + (to - from) * fraction) } catch { return false }
      return true
    }
  }

  /// A control for a part of the work that is too short to show: a stop reaches it, its own progress goes nowhere.
  ///
  /// `fraction`: what is reported of the current stage meanwhile.
  public func still(at fraction: Double) -> RunControl { part(fraction, fraction) }

  /// Names the stage that follows and the part [from, to] of the whole run that it fills.
  public func begin(_ stage: String, from: Double, to: Double) throws(MedDINOError) {
    self.stage = stage
    base = from
    span = to - from
    try update(0)
  }

  /// `fraction`: done part of the current stage. Throws: `.cancelled`.
  public func update(_ fraction: Double) throws(MedDINOError) {
    try check()
    if let report, !report(base + span * min(max(fraction, 0), 1), stage) { throw .cancelled }
  }

  /// Throws `.cancelled` when a stop was asked for; cheap, for inner loops.
  public func check() throws(MedDINOError) {
    if let cancellation, cancellation.isRequested { throw .cancelled }
  }
}

/// Where the library says things that are not errors. Silent unless a sink is given.
public struct Log: Sendable {
  public enum Level: Int32, Sendable { case error = 1, warning, info, debug }
  private let threshold: Level
  private let sink: (@Sendable (Level, String) -> Void)?
  public static let silent = Log(threshold: .error, sink: nil)
  public init(threshold: Level, sink: (@Sendable (Level, String) -> Void)?) {
    self.threshold = threshold
    self.sink = sink
  }
  public func callAsFunction(_ level: Level, _ message: @autoclosure () -> String) {
    if let sink, level.rawValue <= threshold.rawValue { sink(level, message()) }
  }
}
