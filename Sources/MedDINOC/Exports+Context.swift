internal import CKernels
public import CMedDINO
internal import MedDINO
internal import Platform
internal import Tensors

// include/meddino.h, sections 1 and 2.

@c @implementation public func meddino_version() -> UInt32 {
  UInt32(MEDDINO_VERSION_MAJOR << 16 | MEDDINO_VERSION_MINOR << 8 | MEDDINO_VERSION_PATCH)
}

/// Made once, from constants of the build and of the processor; lives as long as the process.
private struct BuildInfo: @unchecked Sendable {
  let strings = CStrings()
  let text: UnsafePointer<CChar>
  init() {
    #if MEDDINO_OPENMP
    let threads = "OpenMP"
    #else
    let threads = "own thread pool"
    #endif
    text = strings.add("meddino \(Build.version), kernels \(InstructionSet.best.rawValue), \(threads)")
  }
}
private let buildInfo = BuildInfo()
@c @implementation public func meddino_build_info() -> UnsafePointer<CChar>? { buildInfo.text }

@c @implementation public func meddino_status_name(_ status: meddino_status) -> UnsafePointer<CChar>? {
  switch Int(status) {
  case Int(MEDDINO_OK): constant("MEDDINO_OK")
  case Int(MEDDINO_E_INVALID): constant("MEDDINO_E_INVALID")
  case Int(MEDDINO_E_CANCELLED): constant("MEDDINO_E_CANCELLED")
  case Int(MEDDINO_E_NOMEM): constant("MEDDINO_E_NOMEM")
  case Int(MEDDINO_E_IO): constant("MEDDINO_E_IO")
  case Int(MEDDINO_E_FORMAT): constant("MEDDINO_E_FORMAT")
  case Int(MEDDINO_E_SHAPE): constant("MEDDINO_E_SHAPE")
  case Int(MEDDINO_E_UNSUPPORTED): constant("MEDDINO_E_UNSUPPORTED")
  case Int(MEDDINO_E_STATE): constant("MEDDINO_E_STATE")
  case Int(MEDDINO_E_TIMEOUT): constant("MEDDINO_E_TIMEOUT")
  case Int(MEDDINO_E_INTERNAL): constant("MEDDINO_E_INTERNAL")
  default: constant("unknown status")
  }
}

@c @implementation public func meddino_last_error(_ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int) -> Int {
  copy(ck_last_error(), to: buffer, capacity)
}

@c @implementation public func meddino_context_options_init(_ options: UnsafeMutablePointer<meddino_context_options>?, _ size: Int) {
  initialize(options, size, meddino_context_options())
}

@c @implementation public func meddino_context_create(
  _ options: UnsafePointer<meddino_context_options>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    var o = meddino_context_options()
    if let options { o = try read(options, "options", defaults: o) }
    guard (0...4).contains(o.log_level) else { throw .invalid("options.log_level is \(o.log_level), expected 0 to 4") }
    if o.parallel != nil, o.parallel_width < 1 {
      throw .invalid("options.parallel_width is \(o.parallel_width), expected at least 1 when parallel is set")
    }
    let pool = try ThreadPool(
      threads: Int(o.threads), host: o.parallel, hostUser: o.parallel_user, hostWidth: o.parallel == nil ? 0 : Int(o.parallel_width))
    let limit = o.max_bytes == 0 || o.max_bytes > UInt64(Int.max) ? nil : Int(o.max_bytes)
    out.pointee = handle(try Context(pool: pool, maxBytes: limit, log: log(o)))
  }
}

private func log(_ o: meddino_context_options) -> Log {
  guard let sink = o.log else { return .silent }
  nonisolated(unsafe) let user = o.log_user
  let level = Log.Level(rawValue: o.log_level == 0 ? Int32(MEDDINO_LOG_WARNING) : o.log_level) ?? .warning
  return Log(threshold: level) { level, message in
    oneLine(message).withCString { sink(user, level.rawValue, $0) }
  }
}

@c @implementation public func meddino_context_release(_ context: OpaquePointer?) { release(context, Context.self) }
