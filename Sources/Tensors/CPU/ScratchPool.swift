internal import Platform
internal import Synchronization

/// Memory of a device's training operations that is used again: packed factors, partial sums and the like, which live for one call.
///
/// A buffer is free as soon as nobody refers to it. Asking the system for megabytes in every layer would touch fresh pages each time,
/// and leave holes of every size between what training keeps.
final class ScratchPool: Sendable {
  /// Larger buffers than asked for are taken up to this factor.
  private static let slack = 2
  private let budget: MemoryBudget
  private let buffers = Mutex<[Buffer]>([])

  init(_ budget: MemoryBudget) { self.budget = budget }

  /// At least `byteCount` uninitialised bytes. Throws: `.outOfMemory`.
  func buffer(_ byteCount: Int, _ purpose: @autoclosure () -> String) throws(MedDINOError) -> Buffer {
    if let free = takeFree(byteCount) { return free }
    let made: Buffer
    do { made = try budget.allocate(byteCount, purpose()) } catch {
      dropFree()  // what is kept for other sizes may be in the way
      made = try budget.allocate(byteCount, purpose())
    }
    buffers.withLock { $0.append(made) }
    return made
  }

  /// Uninitialised float32 elements. Throws: `.outOfMemory`.
  func tensor(_ shape: Shape, _ purpose: @autoclosure () -> String) throws(MedDINOError) -> Tensor {
    let bytes = try Checked.product([try shape.checkedCount(purpose()), DType.float32.byteCount], purpose())
    return Tensor(shape, .float32, buffer: try buffer(bytes, purpose()), byteOffset: 0)
  }

  /// The smallest free one that is large enough, and not far too large.
  private func takeFree(_ byteCount: Int) -> Buffer? {
    buffers.withLock { buffers in
      var best: Int?
      for index in buffers.indices {
        let size = buffers[index].byteCount
        guard size >= byteCount, size / Self.slack <= byteCount, best.map({ size < buffers[$0].byteCount }) ?? true,
          isKnownUniquelyReferenced(&buffers[index])
        else { continue }
        best = index
      }
      return best.map { buffers[$0] }
    }
  }

  private func dropFree() {
    buffers.withLock { buffers in
      for index in buffers.indices.reversed() where isKnownUniquelyReferenced(&buffers[index]) { buffers.remove(at: index) }
    }
  }
}
