internal import Glibc
public import Platform
public import Tensors

/// The root of all state: threads, memory limit, log, and the device that computes.
public final class Context: Sendable {
  public let device: CPUDevice
  public let log: Log
  public var budget: MemoryBudget { device.budget }
  public var pool: ThreadPool { device.pool }

  /// `instructionSet`: nil takes what MEDDINO_SIMD names, else the best of this processor.
  /// Throws: `.unsupported` when the processor lacks it, `.invalid`.
  public init(
    pool: ThreadPool, maxBytes: Int? = nil, log: Log = .silent, instructionSet: InstructionSet? = nil
  ) throws(MedDINOError) {
    let set: InstructionSet
    if let instructionSet {
      set = instructionSet
    } else if let forced = getenv("MEDDINO_SIMD") {
      set = try InstructionSet.named(String(cString: forced))
    } else {
      set = .best
    }
    device = try CPUDevice(pool: pool, budget: MemoryBudget(limit: maxBytes), instructionSet: set)
    self.log = log
  }

  public convenience init(threads: Int = 0, maxBytes: Int? = nil, log: Log = .silent) throws(MedDINOError) {
    try self.init(pool: ThreadPool(threads: threads), maxBytes: maxBytes, log: log)
  }
}

/// What this build is.
public enum Build {
  public static let version = "0.1.0"
  public static let modelFormat = 1
}
