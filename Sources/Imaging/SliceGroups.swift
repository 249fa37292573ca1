internal import Platform
internal import Tensors

/// Runs a body once for every slice on the pool's threads, a group at a time; between groups the calling thread reports progress and
/// looks for a stop. Scratch memory is that of one group, so that it depends on neither the slices nor the threads.
struct SliceGroups {
  static let size = 16
  private let count: Int
  private let pool: ThreadPool
  private let control: RunControl?
  private let scratch: Buffer?
  private let stride: Int

  /// `scratchBytes`: for one slice. Throws: `.outOfMemory`.
  init(
    _ count: Int, scratchBytes: Int = 0, pool: ThreadPool, in budget: MemoryBudget, control: RunControl?, _ purpose: String
  ) throws(MedDINOError) {
    self.count = count
    self.pool = pool
    self.control = control
    stride = (try Checked.sum(scratchBytes, 63, purpose)) / 64 * 64
    let bytes = try Checked.product([stride, min(count, Self.size)], purpose)
    scratch = bytes == 0 ? nil : try budget.allocate(bytes, purpose)
  }

  /// `body` gets a slice and its scratch memory (64-byte aligned; the group's own when there is none).
  /// Throws: `.cancelled`.
  func run(_ body: (_ slice: Int, _ scratch: UnsafeMutableRawPointer?) -> Void) throws(MedDINOError) {
    for first in Swift.stride(from: 0, to: count, by: Self.size) {
      try control?.update(Double(first) / Double(count))
      pool.forEach(min(Self.size, count - first)) { index in
        body(first + index, scratch.map { $0.pointer + index * stride })
      }
    }
    withExtendedLifetime(scratch) {}
  }
}

/// One value for each slice of a group, which only that slice's task touches.
final class GroupSlots<Value> {
  private let base: UnsafeMutablePointer<Value>
  init(repeating value: Value) {
    base = .allocate(capacity: SliceGroups.size)
    base.initialize(repeating: value, count: SliceGroups.size)
  }
  deinit {
    base.deinitialize(count: SliceGroups.size)
    base.deallocate()
  }
  func withSlot(_ slice: Int, _ body: (inout Value) -> Void) { body(&base[slice % SliceGroups.size]) }
  /// In the order of the slices of a group.
  var values: [Value] { Array(UnsafeBufferPointer(start: base, count: SliceGroups.size)) }
}
