import Imaging
import Platform
import Tensors
import TestSupport
import Testing

@Suite struct ResamplingTests {
  private let budget = MemoryBudget()

  @Test func separateAxisRules() {
    func axis(_ current: [Double], _ new: [Double], _ force: Bool? = nil) -> Int? {
      Resampling.separateAxis(current: current, new: new, force: force)
    }
    #expect(axis([3, 1, 1], [1, 1, 1]) == nil)  // 3 is not above 3
    #expect(axis([3.01, 1, 1], [1, 1, 1]) == 0)
    #expect(axis([1, 5, 1], [1, 1, 1]) == 1)
    #expect(axis([1, 1, 1], [1, 1, 4]) == 2)
    #expect(axis([5, 5, 1], [1, 1, 9]) == nil)  // two coarsest axes; `new` is not asked
    #expect(axis([2, 1, 1], [1, 1, 1], true) == 0)
    #expect(axis([9, 1, 1], [1, 1, 1], false) == nil)
  }

  @Test func newShapeRoundsHalfToEvenAndRefusesNonsense() throws {
    #expect(try Resampling.newShape(shape: [5, 3, 10], current: [1, 1, 1], new: [2, 2, 1]) == [2, 2, 10])
    for bad in [0, -1, Double.nan, .infinity, 1e300] {
      #expect(throws: MedDINOError.self) { try Resampling.newShape(shape: [5], current: [1], new: [bad]) }
    }
    #expect(throws: MedDINOError.self) { try Resampling.newShape(shape: [5], current: [1e12], new: [1e-12]) }
    #expect(throws: MedDINOError.self) { try Resampling.newShape(shape: [5, 5], current: [1], new: [1]) }
  }

  @Test func equalShapeReturnsTheInput() throws {
    let data = try Tensor([1, 2, 3, 4], in: budget)
    let result = try Resampling.resampleImage(
      data, to: [2, 3, 4], current: [5, 1, 1], new: [5, 1.1, 1], order: 3, orderZ: 0, forceSeparateZ: nil, in: budget)
    #expect(result.pointer == data.pointer)
  }

  /// Along an axis that is resampled on its own nothing but the slice choice may depend on which axis it is.
  @Test func separateAxisCommutesWithPermutation() throws {
    var random = SeededGenerator(7)
    let (n, m) = ([6, 9, 8], [9, 13, 5])
    let data = try Tensor(random.floats(6 * 9 * 8), [1, 6, 9, 8], in: budget)
    let turned = try Tensor([1, 9, 6, 8], in: budget)
    for a in 0..<6 { for b in 0..<9 { for c in 0..<8 { turned.floats[(b * 6 + a) * 8 + c] = data.floats[(a * 9 + b) * 8 + c] } } }
    for orderZ in [0, 1] {
      let first = try Resampling.resampleImage(
        data, to: m, current: [5, 1, 1], new: [3, 1, 1], order: 3, orderZ: orderZ, forceSeparateZ: nil, in: budget)
      let second = try Resampling.resampleImage(
        turned, to: [m[1], m[0], m[2]], current: [1, 5, 1], new: [1, 3, 1], order: 3, orderZ: orderZ, forceSeparateZ: nil, in: budget)
      for a in 0..<m[0] {
        for b in 0..<m[1] {
          for c in 0..<m[2] {
            let difference = first.floats[(a * m[1] + b) * m[2] + c] - second.floats[(b * m[0] + a) * m[2] + c]
            #expect(difference.magnitude < 1e-6)
          }
        }
      }
    }
    #expect(n.count == 3)
  }

  private func failure(_ data: Tensor, _ force: Bool, _ budget: MemoryBudget) -> MedDINOError.Kind? {
    do throws(MedDINOError) {
      _ = try Resampling.resampleLabels(
        data, to: [7, 9, 9], current: [5, 1, 1], new: [3, 1, 1], order: 1, orderZ: 1, forceSeparateZ: force, in: budget)
    } catch { return error.kind }
    return nil
  }

  @Test func allocationFailuresAreErrors() throws {
    let data = try Tensor([2, 4, 5, 6], .int16, in: budget)
    for index in 0..<data.count { data.elements(Int16.self)[index] = Int16(index % 3) }
    for force in [true, false] {
      for failing in 0..<12 {
        let tight = MemoryBudget()
        tight.failAllocation(failing)
        if let kind = failure(data, force, tight) { #expect(kind == .outOfMemory) }
        #expect(tight.bytesInUse == 0)
      }
    }
  }
}
