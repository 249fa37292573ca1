internal import Platform

/// Memory that a tape uses again: a buffer is free as soon as no tensor refers to it, and goes to the next tensor of its size, or of one
/// that is not much smaller: groups of images that differ a little in their number of tokens share memory.
///
/// Training asks for the same few sizes in every block and step; asking the system each time would touch fresh pages each time.
final class TensorPool {
  /// The buffers of one size. A class, so that their reference counts are looked at in place.
  private final class Shelf {
    let byteCount: Int
    var buffers: [Buffer] = []
    init(_ byteCount: Int) { self.byteCount = byteCount }
    func free() -> Buffer? {
      for index in buffers.indices.reversed() where isKnownUniquelyReferenced(&buffers[index]) { return buffers[index] }
      return nil
    }
    func dropOne() -> Bool {
      guard let index = buffers.indices.last(where: { isKnownUniquelyReferenced(&buffers[$0]) }) else { return false }
      buffers.remove(at: index)
      return true
    }
    func dropFree() {
      for index in buffers.indices.reversed() where isKnownUniquelyReferenced(&buffers[index]) { buffers.remove(at: index) }
    }
  }
  private let budget: MemoryBudget
  /// By size.
  private var shelves: [Shelf] = []
  init(_ budget: MemoryBudget) { self.budget = budget }

  /// Uninitialised float32 elements. Throws: `.outOfMemory`.
  func tensor(_ shape: Shape, _ purpose: @autoclosure () -> String) throws(MedDINOError) -> Tensor {
    let bytes = try Checked.product([try shape.checkedCount(purpose()), DType.float32.byteCount], purpose())
    let place = firstShelf(from: bytes)
    // Two thirds of a buffer are used at least.
    for shelf in shelves[place...] {
      guard shelf.byteCount / 3 * 2 <= bytes else { break }
      if let buffer = shelf.free() { return Tensor(shape, .float32, buffer: buffer, byteOffset: 0) }
    }
    // One that is a little too small gives way: the new one will serve for both.
    for shelf in shelves[..<place].reversed() {
      if shelf.byteCount < bytes / 3 * 2 || shelf.dropOne() { break }
    }
    let buffer: Buffer
    do { buffer = try budget.allocate(bytes, purpose()) } catch {
      // Sizes of another step or phase may be what is in the way.
      dropFree()
      buffer = try budget.allocate(bytes, purpose())
    }
    if place == shelves.count || shelves[place].byteCount != bytes { shelves.insert(Shelf(bytes), at: place) }
    shelves[place].buffers.append(buffer)
    return Tensor(shape, .float32, buffer: buffer, byteOffset: 0)
  }

  /// Where the shelves of at least so many bytes begin.
  private func firstShelf(from bytes: Int) -> Int {
    var (low, high) = (0, shelves.count)
    while low < high {
      let middle = (low + high) / 2
      if shelves[middle].byteCount < bytes { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Gives what no tensor refers to back to the budget.
  func dropFree() { for shelf in shelves { shelf.dropFree() } }
}
