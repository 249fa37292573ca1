public import CMedDINO
internal import MedDINO
internal import Platform
internal import Segmentation
internal import Synchronization

// include/meddino.h, section 5.

/// A run on a thread of its own. The handle and the thread both hold it; `release` cancels, waits and lets go.
final class Job: @unchecked Sendable {
  private struct State {
    var progress = 0.0
    var result: Result<Report?, MedDINOError>?
  }
  let cancellation = Cancellation()
  private let state = Mutex(State())
  private var task: BackgroundTask?

  /// `body` gives the run's report, or nil where runs have none. Throws: `.outOfMemory` when there is no thread.
  func start(_ body: @escaping (Job) throws(MedDINOError) -> Report?) throws(MedDINOError) {
    let task = BackgroundTask { [self] in
      let result: Result<Report?, MedDINOError>
      do throws(MedDINOError) { result = .success(try body(self)) } catch { result = .failure(error) }
      state.withLock { state in
        if case .success = result { state.progress = 1 }
        state.result = result
      }
    }
    self.task = task
    do { try task.start() } catch {
      self.task = nil  // it holds this job
      throw error
    }
  }

  var progress: Double { state.withLock { $0.progress } }
  func note(_ fraction: Double) { state.withLock { $0.progress = fraction } }
  var result: Result<Report?, MedDINOError>? { state.withLock { $0.result } }

  func wait(_ milliseconds: Int) -> Bool { task?.wait(milliseconds: milliseconds) ?? true }
  func finish() {
    cancellation.request()
    _ = wait(-1)
    task?.join()
  }
}

@c @implementation public func meddino_cancel_create(_ out: UnsafeMutablePointer<OpaquePointer?>?) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in try required(out, "out").pointee = handle(Cancellation()) }
}
@c @implementation public func meddino_cancel_request(_ cancel: OpaquePointer?) { existing(cancel, Cancellation.self)?.request() }
@c @implementation public func meddino_cancel_release(_ cancel: OpaquePointer?) { release(cancel, Cancellation.self) }

@c @implementation public func meddino_job_wait(_ job: OpaquePointer?, _ timeout: Int32) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let job = try object(job, "job", Job.self)
    guard job.wait(Int(timeout)), let result = job.result else {
      throw MedDINOError(.timeout, "the job was not done within \(timeout) ms")
    }
    if case .failure(let error) = result { throw error }
  }
}

@c @implementation public func meddino_job_progress(_ job: OpaquePointer?) -> Double { existing(job, Job.self)?.progress ?? .nan }

@c @implementation public func meddino_job_cancel(_ job: OpaquePointer?) { existing(job, Job.self)?.cancellation.request() }

@c @implementation public func meddino_job_error(_ job: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int) -> Int {
  var message = ""
  if case .failure(let error)? = existing(job, Job.self)?.result { message = oneLine(error.message) }
  return message.withCString { copy($0, to: buffer, capacity) }
}

@c @implementation public func meddino_job_report(_ job: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let job = try object(job, "job", Job.self)
    guard case .success(let found)? = job.result else {
      throw .state(job.result == nil ? "the job is still running" : "the job failed and has no report")
    }
    guard let report = found else { throw .state("the job was a training run, which has no report") }
    out.pointee = handle(report)
  }
}

@c @implementation public func meddino_job_release(_ job: OpaquePointer?) {
  existing(job, Job.self)?.finish()
  release(job, Job.self)
}

/// Statistics and warnings of one run, with the C strings that its accessors lend out.
final class Report: Sendable {
  let labels: [SegmentationReport.Label]
  private let strings = CStrings()
  nonisolated(unsafe) let warnings: [UnsafePointer<CChar>]

  init(_ report: SegmentationReport) {
    labels = report.labels
    let strings = strings
    warnings = report.warnings.map { strings.add(oneLine($0)) }
  }
}

@c @implementation public func meddino_report_label_count(_ report: OpaquePointer?) -> Int {
  existing(report, Report.self)?.labels.count ?? 0
}

@c @implementation public func meddino_report_get_label(
  _ report: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<meddino_label_stats>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let report = try object(report, "report", Report.self)
    guard report.labels.indices.contains(index) else { throw .invalid("index is \(index), the report has \(report.labels.count) labels") }
    let label = report.labels[index]
    var stats = meddino_label_stats()
    stats.value = Int32(clamping: label.value)
    stats.touches_border = label.touchesBorder ? 1 : 0
    stats.voxels = Int64(label.voxels)
    stats.millilitres = label.millilitres
    try write(stats, to: out, "out")
  }
}

@c @implementation public func meddino_report_warning_count(_ report: OpaquePointer?) -> Int {
  existing(report, Report.self)?.warnings.count ?? 0
}

@c @implementation public func meddino_report_warning(_ report: OpaquePointer?, _ index: Int) -> UnsafePointer<CChar>? {
  guard let report = existing(report, Report.self), report.warnings.indices.contains(index) else { return nil }
  return report.warnings[index]
}

@c @implementation public func meddino_report_release(_ report: OpaquePointer?) { release(report, Report.self) }
