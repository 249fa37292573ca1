import Platform
import Testing

@testable import Tensors

@Suite struct ScratchPoolTests {
  @Test func freeBuffersOfAFittingSizeAreTakenAgain() throws {
    let budget = MemoryBudget()
    let pool = ScratchPool(budget)
    var first: Buffer? = try pool.buffer(1000, "a")
    let pointer = first?.pointer
    let second = try pool.buffer(1000, "b")
    #expect(second.pointer != pointer, "the first is still in use")
    first = nil
    #expect(try pool.buffer(700, "smaller").pointer == pointer)
    #expect(try pool.buffer(300, "far smaller").pointer != pointer)
    #expect(try pool.buffer(1001, "larger").pointer != pointer)
    withExtendedLifetime(second) {}
  }

  @Test func theSmallestThatFitsIsTaken() throws {
    let pool = ScratchPool(MemoryBudget())
    var made: [Buffer] = []
    for size in [1900, 1200, 1500] { made.append(try pool.buffer(size, "scratch")) }
    let smallest = made[1].pointer
    made = []
    #expect(try pool.buffer(1100, "scratch").pointer == smallest)
  }

  @Test func keptBuffersGiveWayBeforeTheLimitRefuses() throws {
    let budget = MemoryBudget(limit: 1000)
    let pool = ScratchPool(budget)
    _ = try pool.buffer(800, "a")
    #expect(budget.bytesInUse == 800)
    let held = try pool.buffer(300, "b")
    #expect(held.byteCount == 300 && budget.bytesInUse == 300)
    #expect(throws: MedDINOError.self) { try pool.buffer(900, "c") }
  }
}
