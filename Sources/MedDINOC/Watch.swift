internal import CMedDINO
internal import Platform

/// How a host watches a run and stops it, copied from its options.
struct Watch: @unchecked Sendable {
  private var progress: meddino_progress_fn?
  private var user: UnsafeMutableRawPointer?
  private var cancellation: Cancellation?

  /// Nobody watches.
  init() {}

  init(_ progress: meddino_progress_fn?, _ user: UnsafeMutableRawPointer?, _ cancel: OpaquePointer?) throws(MedDINOError) {
    self.progress = progress
    self.user = user
    if let cancel { cancellation = try object(cancel, "options.cancel", Cancellation.self) }
  }

  /// Progress to the caller (and to the job), cancellation from the caller's handle (and from the job).
  func control(_ job: Job? = nil) -> RunControl {
    let (progress, user, cancellation) = (progress, user, cancellation)
    return RunControl(cancellation: job?.cancellation ?? cancellation) { fraction, stage in
      job?.note(fraction)
      if job != nil, cancellation?.isRequested == true { return false }
      guard let progress else { return true }
      return stage.withCString { progress(user, fraction, $0) } == 0
    }
  }
}
