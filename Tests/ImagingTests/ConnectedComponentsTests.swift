import Imaging
import Platform
import Tensors
import TestSupport
import Testing

struct ConnectedComponentsTests {
  let budget = MemoryBudget()
  let pool: ThreadPool
  init() throws { pool = try ThreadPool(threads: 2) }

  /// Component numbers by flooding from each unseen voxel; -1 outside the mask.
  private func flooded(_ sample: LabelSample, _ values: [Int]) -> (numbers: [Int], sizes: [Int]) {
    var numbers = [Int](repeating: -1, count: sample.values.count)
    var sizes: [Int] = []
    sample.forAll { x, y, z in
      guard values.contains(sample.value(x, y, z)), numbers[sample.at(x, y, z)] < 0 else { return }
      var stack = [(x, y, z)]
      numbers[sample.at(x, y, z)] = sizes.count
      var size = 0
      while let (x, y, z) = stack.popLast() {
        size += 1
        for dz in -1...1 {
          for dy in -1...1 {
            for dx in -1...1 where sample.isInside(x + dx, y + dy, z + dz) {
              let at = sample.at(x + dx, y + dy, z + dz)
              if numbers[at] < 0, values.contains(sample.values[at]) {
                numbers[at] = sizes.count
                stack.append((x + dx, y + dy, z + dz))
              }
            }
          }
        }
      }
      sizes.append(size)
    }
    return (numbers, sizes)
  }

  @Test(arguments: [
    ([12, 10, 8], 1, 200), ([66, 4, 3], 2, 120), ([7, 7, 1], 3, 12), ([1, 30, 5], 4, 40), ([129, 3, 2], 5, 200), ([20, 20, 20], 6, 900),
  ])
  func componentsEqualThoseOfFlooding(_ dims: [Int], _ seed: Int, _ specks: Int) throws {
    let sample = LabelSample(dims, labels: 3, seed: UInt64(seed), boxes: 3, specks: specks)
    let volume = try sample.volume(in: budget)
    for values in [[1], [2, 3]] {
      let expected = flooded(sample, values)
      let mask = try BitVolume(volume, in: VoxelBox(dims: dims), values: values, pool: pool, in: budget)
      let found = try ConnectedComponents(mask, in: budget)
      #expect(found.sizes == expected.sizes)
      var numbers = [Int](repeating: -1, count: sample.values.count)
      found.forRuns { xs, y, z, component in for x in xs { numbers[sample.at(x, y, z)] = component } }
      #expect(numbers == expected.numbers)
      let kept = try sample.volume(.int16, in: budget)
      let removed = try LargestComponent.keep(values, in: kept, pool: pool, budget: budget)
      let largest = expected.sizes.max() ?? 0
      var count = 0
      sample.forAll { x, y, z in
        let number = expected.numbers[sample.at(x, y, z)]
        let goes = number >= 0 && expected.sizes[number] < largest
        if goes { count += 1 }
        #expect(Int(kept.value(x, y, z)) == (goes ? 0 : sample.value(x, y, z)))
      }
      #expect(removed == count)
    }
  }

  @Test func nothingToDo() throws {
    var sample = LabelSample([5, 5, 5], labels: 1, seed: 1, boxes: 0, specks: 0)
    let empty = try sample.volume(in: budget)
    #expect(try LargestComponent.keep([1], in: empty, pool: pool, budget: budget) == 0)
    // Two of the same size stay, joined only by a corner they are one.
    sample.values[sample.at(0, 0, 0)] = 1
    sample.values[sample.at(4, 4, 4)] = 1
    #expect(try LargestComponent.keep([1], in: try sample.volume(in: budget), pool: pool, budget: budget) == 0)
    sample.values[sample.at(1, 1, 1)] = 1
    #expect(try LargestComponent.keep([1], in: try sample.volume(in: budget), pool: pool, budget: budget) == 1)
    var scaled = empty
    scaled.intercept = 1
    let volume = scaled
    #expect(throws: MedDINOError.self) { try LargestComponent.keep([1], in: volume, pool: pool, budget: budget) }
  }

  @Test func memoryLimitIsKept() throws {
    let sample = LabelSample([64, 64, 16], labels: 1, seed: 2, specks: 20000)
    let volume = try sample.volume(in: budget)
    let own = MemoryBudget(limit: 20_000)
    #expect(throws: MedDINOError.self) { try LargestComponent.keep([1], in: volume, pool: pool, budget: own) }
    #expect(own.bytesInUse == 0)
  }
}
