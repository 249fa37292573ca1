internal import CKernels
internal import Synchronization
public import Platform

/// The `Device` of this machine's processor: kernels of one instruction set, one pool of threads, one memory budget.
///
/// Work is split by shape alone, never by the number of threads, so results do not depend on it.
public final class CPUDevice: Device {
  public let budget: MemoryBudget
  public let pool: ThreadPool
  public let instructionSet: InstructionSet
  let table: KernelTable
  /// What training operations need for the length of a call; it stays with the device.
  let scratch: ScratchPool
  var kernels: ck_kernels { table.pointer.pointee }

  /// Throws: `.unsupported` when the processor lacks the instruction set.
  public init(pool: ThreadPool, budget: MemoryBudget, instructionSet: InstructionSet = .best) throws(MedDINOError) {
    guard let pointer = ck_kernels_for(instructionSet.code) else {
      throw .unsupported("the \(instructionSet.rawValue) kernels do not run on this processor")
    }
    self.pool = pool
    self.budget = budget
    scratch = ScratchPool(budget)
    self.instructionSet = instructionSet
    table = KernelTable(pointer: pointer)
  }

  /// The same kernels and threads under another memory budget, for one run.
  public func limited(to budget: MemoryBudget) -> CPUDevice {
    CPUDevice(pool: pool, budget: budget, instructionSet: instructionSet, table: table)
  }
  private init(pool: ThreadPool, budget: MemoryBudget, instructionSet: InstructionSet, table: KernelTable) {
    self.pool = pool
    self.budget = budget
    scratch = ScratchPool(budget)
    self.instructionSet = instructionSet
    self.table = table
  }

  public var name: String { instructionSet.rawValue }
  public var hasFastBFloat16: Bool { instructionSet == .avx512BFloat16 }

  /// Runs `body(lane, index)` for every index; calls of one lane never overlap, so a lane may own scratch memory.
  /// Which lane gets which index is a matter of timing: a body's result must depend on the index alone.
  func forEachLane(_ count: Int, _ body: (_ lane: Int, _ index: Int) -> Void) {
    let next = Atomic<Int>(0)
    pool.forEach(min(pool.width, count)) { lane in
      while true {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        if index >= count { return }
        body(lane, index)
      }
    }
  }
  func laneCount(_ count: Int) -> Int { max(1, min(pool.width, count)) }
}

/// The kernel tables are constants of the C library.
struct KernelTable: @unchecked Sendable {
  let pointer: UnsafePointer<ck_kernels>
}

extension DType {
  var kernelCode: Int32 { self == .bfloat16 ? Int32(CK_BF16) : Int32(CK_F32) }
}
