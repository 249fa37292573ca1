import Glibc
import Synchronization

/// The throwing allocator. Every buffer whose size comes from an input or a file comes from here, under the context's limit.
///
/// A budget may have a parent (a run inside a context); an allocation counts in both.
public final class MemoryBudget: Sendable {
  private struct State {
    var inUse = 0
    var peak = 0
    var allocations = 0
    var failAt = -1
  }
  /// Bytes that may be in use at once; `Int.max` when unlimited.
  public let limit: Int
  private let parent: MemoryBudget?
  private let state = Mutex(State())

  public init(limit: Int? = nil, parent: MemoryBudget? = nil) {
    self.limit = limit ?? Int.max
    self.parent = parent
  }

  public var bytesInUse: Int { state.withLock { $0.inUse } }
  public var peakBytes: Int { state.withLock { $0.peak } }

  /// Number of allocations asked for so far; with `failAllocation(_:)` it lets a test make each one fail once.
  package var allocationCount: Int { state.withLock { $0.allocations } }
  /// Makes allocation number `index` (counted from 0 since the budget was made) fail; a negative index turns this off.
  package func failAllocation(_ index: Int) { state.withLock { $0.failAt = index } }
  package func restartCount() { state.withLock { $0.allocations = 0 } }

  /// `byteCount` uninitialised bytes, 64-byte aligned.
  /// Throws: `.outOfMemory` when the limit or the system does not allow it.
  public func allocate(_ byteCount: Int, _ purpose: @autoclosure () -> String) throws(MedDINOError) -> Buffer {
    try reserve(byteCount, purpose())
    var pointer: UnsafeMutableRawPointer?
    guard byteCount >= 0, posix_memalign(&pointer, 64, max(byteCount, 64)) == 0, let pointer else {
      release(byteCount)
      throw MedDINOError(.outOfMemory, "\(purpose()): the system refused \(byteCount) bytes")
    }
    return Buffer(pointer: pointer, byteCount: byteCount, budget: self)
  }

  /// The same, filled with zero bytes.
  public func allocateZeroed(_ byteCount: Int, _ purpose: @autoclosure () -> String) throws(MedDINOError) -> Buffer {
    let buffer = try allocate(byteCount, purpose())
    memset(buffer.pointer, 0, byteCount)
    return buffer
  }

  fileprivate func reserve(_ byteCount: Int, _ purpose: String) throws(MedDINOError) {
    let refusal: String? = state.withLock { state in
      let index = state.allocations
      state.allocations += 1
      if index == state.failAt { return "\(purpose): allocation of \(byteCount) bytes failed" }
      let (total, overflow) = state.inUse.addingReportingOverflow(byteCount)
      if byteCount < 0 || overflow || total > limit {
        return "\(purpose): needs \(byteCount) bytes over the \(state.inUse) in use, the limit is \(limit) (max_bytes)"
      }
      state.inUse = total
      state.peak = max(state.peak, total)
      return nil
    }
    if let refusal { throw MedDINOError(.outOfMemory, refusal) }
    guard let parent else { return }
    do { try parent.reserve(byteCount, purpose) } catch {
      state.withLock { $0.inUse -= byteCount }
      throw error
    }
  }

  fileprivate func release(_ byteCount: Int) {
    state.withLock { $0.inUse -= byteCount }
    parent?.release(byteCount)
  }
}

/// A block of memory from a `MemoryBudget`, given back when the last reference goes.
///
/// Who writes to it is the owner's business: the class itself does no locking.
public final class Buffer: @unchecked Sendable {
  public let pointer: UnsafeMutableRawPointer
  public let byteCount: Int
  private let budget: MemoryBudget

  fileprivate init(pointer: UnsafeMutableRawPointer, byteCount: Int, budget: MemoryBudget) {
    self.pointer = pointer
    self.byteCount = byteCount
    self.budget = budget
  }
  deinit {
    free(pointer)
    budget.release(byteCount)
  }

  /// The bytes as elements of `type`; trailing bytes that do not fill an element are left out.
  public func elements<T: BitwiseCopyable>(_ type: T.Type) -> UnsafeMutableBufferPointer<T> {
    let count = byteCount / MemoryLayout<T>.stride
    return UnsafeMutableBufferPointer(start: pointer.bindMemory(to: type, capacity: count), count: count)
  }
  public var bytes: UnsafeMutableRawBufferPointer { .init(start: pointer, count: byteCount) }
}

/// Memory that something else allocates, such as a tree of values read from a file, counted against a budget until the charge goes.
///
/// Grown by one thread at a time. The budget hears of it in steps, so that a charge may grow by a few bytes cheaply.
public final class MemoryCharge: Sendable {
  private static let step = 1 << 16
  private let budget: MemoryBudget
  private let purpose: String
  private let state = Mutex((held: 0, reserved: 0))

  public init(_ budget: MemoryBudget, _ purpose: String) {
    self.budget = budget
    self.purpose = purpose
  }
  deinit { budget.release(state.withLock { $0.reserved }) }

  /// Counts `byteCount` more. Throws: `.outOfMemory` when the limit does not allow it; what was counted before stays.
  public func grow(by byteCount: Int) throws(MedDINOError) {
    let wanted: Int = state.withLock { state in
      state.held += byteCount
      return state.held > state.reserved ? max(state.held - state.reserved, Self.step) : 0
    }
    guard wanted > 0 else { return }
    try budget.reserve(wanted, purpose)
    state.withLock { $0.reserved += wanted }
  }
}
