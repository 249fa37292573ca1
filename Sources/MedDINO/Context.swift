internal import Glibc
public import Platform
public import Tensors

/// The root of all state: threads, memory limit, log, and the device that computes.
public final class Context: Sendable {
  public let device: CPUDevice
  public let log: Log
  /// The processes that share training runs. Every rank makes the same calls.
  public let ranks: any Communicator
  public var budget: MemoryBudget { device.budget }
  public var pool: ThreadPool { device.pool }

  /// `instructionSet`: nil takes what MEDDINO_SIMD names, else the best of this processor.
  /// Throws: `.unsupported` when the processor lacks it, `.invalid`.
  public init(
    pool: ThreadPool, maxBytes: Int? = nil, log: Log = .silent, instructionSet: InstructionSet? = nil,
    ranks: any Communicator = SoloCommunicator()
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
    self.ranks = ranks
  }

  public convenience init(
    threads: Int = 0, maxBytes: Int? = nil, log: Log = .silent, ranks: any Communicator = SoloCommunicator()
  ) throws(MedDINOError) {
    try self.init(pool: ThreadPool(threads: threads), maxBytes: maxBytes, log: log, ranks: ranks)
  }
}

/// What this build is.
public enum Build {
  public static let version = "0.1.0"
  public static let modelFormat = 1
}
