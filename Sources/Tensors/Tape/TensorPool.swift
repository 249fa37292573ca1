internal import Platform

/// Memory that a tape uses again: a buffer is free as soon as no tensor refers to it, and goes to the next tensor of its size.
///
/// Training asks for the same few sizes in every block and step; asking the system each time would touch fresh pages each time.
final class TensorPool {
  /// The buffers of one size. A class, so that their reference counts are looked at in place.
  private final class Shelf {
    var buffers: [Buffer] = []
    func free() -> Buffer? {
      for index in buffers.indices.reversed() where isKnownUniquelyReferenced(&buffers[index]) { return buffers[index] }
      return nil
    }
    func dropFree() {
      for index in buffers.indices.reversed() where isKnownUniquelyReferenced(&buffers[index]) { buffers.remove(at: index) }
    }
  }
  private let budget: MemoryBudget
  private var shelves: [Int: Shelf] = [:]
  init(_ budget: MemoryBudget) { self.budget = budget }

  /// Uninitialised float32 elements. Throws: `.outOfMemory`.
  func tensor(_ shape: Shape, _ purpose: @autoclosure () -> String) throws(MedDINOError) -> Tensor {
    let bytes = try Checked.product([try shape.checkedCount(purpose()), DType.float32.byteCount], purpose())
    let shelf = shelves[bytes] ?? Shelf()
    shelves[bytes] = shelf
    if let buffer = shelf.free() { return Tensor(shape, .float32, buffer: buffer, byteOffset: 0) }
    let buffer: Buffer
    do { buffer = try budget.allocate(bytes, purpose()) } catch {
      // Sizes of another step or phase may be what is in the way.
      dropFree()
      buffer = try budget.allocate(bytes, purpose())
    }
    shelf.buffers.append(buffer)
    return Tensor(shape, .float32, buffer: buffer, byteOffset: 0)
  }

  /// Gives what no tensor refers to back to the budget.
  func dropFree() { for shelf in shelves.values { shelf.dropFree() } }
}
