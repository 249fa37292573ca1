import Platform
import Tensors
import TestSupport
import Testing

@testable import Imaging

struct SurfaceDistancesTests {
  let budget = MemoryBudget()
  let pool: ThreadPool
  init() throws { pool = try ThreadPool(threads: 2) }

  private typealias Point = (x: Int, y: Int, z: Int)

  private func edges(_ sample: LabelSample, _ values: [Int]) -> [Point] {
    func holds(_ x: Int, _ y: Int, _ z: Int) -> Bool { sample.isInside(x, y, z) && values.contains(sample.value(x, y, z)) }
    var result: [Point] = []
    sample.forAll { x, y, z in
      let inner =
        holds(x - 1, y, z) && holds(x + 1, y, z) && holds(x, y - 1, z) && holds(x, y + 1, z) && holds(x, y, z - 1) && holds(x, y, z + 1)
      if holds(x, y, z), !inner { result.append((x, y, z)) }
    }
    return result
  }

  private func nearest(_ from: [Point], _ to: [Point], _ spacing: [Double]) -> [Float] {
    from.map { a in
      var best = Double.infinity
      for b in to {
        let d = [Double(a.x - b.x) * spacing[0], Double(a.y - b.y) * spacing[1], Double(a.z - b.z) * spacing[2]]
        best = min(best, d[2] * d[2] + d[1] * d[1] + d[0] * d[0])
      }
      return Float(best.squareRoot())
    }
  }

  @Test(arguments: [
    ([9, 8, 7], 1), ([70, 5, 4], 2), ([12, 11, 1], 3), ([1, 1, 40], 4), ([3, 40, 6], 5), ([130, 2, 2], 6), ([16, 15, 33], 7),
  ])
  func distancesEqualThoseOfAllPairs(_ dims: [Int], _ seed: Int) throws {
    let reference = LabelSample(dims, labels: 3, seed: UInt64(seed))
    let prediction = LabelSample(dims, labels: 3, seed: UInt64(seed) + 100)
    let spacing = [0.8, 1.3, 2.5]
    let volumes = (try reference.volume(spacing: spacing, in: budget), try prediction.volume(.float32, in: budget))
    let pairs = try LabelPairs(reference: volumes.0, prediction: volumes.1, pool: pool, in: budget)
    for values in [[1], [2], [3], [1, 3]] {
      let (r, p) = (edges(reference, values), edges(prediction, values))
      guard let box = pairs.box(values) else {
        #expect(r.isEmpty && p.isEmpty)
        continue
      }
      if r.isEmpty || p.isEmpty {
        #expect(throws: MedDINOError.self) {
          try SurfaceDistances(reference: volumes.0, prediction: volumes.1, values: values, in: box, pool: pool, budget: budget)
        }
        continue
      }
      let found = try SurfaceDistances(reference: volumes.0, prediction: volumes.1, values: values, in: box, pool: pool, budget: budget)
      #expect(found.toReference.floatArray() == nearest(p, r, spacing))
      #expect(found.toPrediction.floatArray() == nearest(r, p, spacing))
      let all = (found.toReference.floatArray() + found.toPrediction.floatArray())
      #expect(found.surfaceDice(tolerance: 1.3) == Double(all.filter { $0 <= 1.3 }.count) / Double(all.count))
      #expect(found.hausdorff(quantile: 1) == all.map(Double.init).max())
    }
  }

  @Test func quantilesEqualThoseOfTheSortedList() throws {
    var random = SeededGenerator(3)
    for count in [1, 2, 3, 20, 21, 1000] {
      let values = (0..<count).map { _ in Float.random(in: 0...5, using: &random).rounded(.down) / 3 }
      let tensor = try Tensor(values, [count], in: budget)
      let sorted = values.sorted()
      for rank in Set([0, count / 3, count / 2, count - 1]) { #expect(OrderStatistics.value(tensor, rank: rank) == sorted[rank]) }
      for q in [0, 0.5, 0.95, 1] {
        let place = q * Double(count - 1)
        let (low, high) = (Double(sorted[Int(place)]), Double(sorted[min(Int(place) + 1, count - 1)]))
        #expect(abs(OrderStatistics.quantile(tensor, q) - (low + (high - low) * (place - place.rounded(.down)))) < 1e-12)
      }
    }
    #expect(OrderStatistics.value(try Tensor([.infinity, 0, 1], [3], in: budget), rank: 2) == .infinity)
  }

  @Test func aToleranceThatIsNoFloatCountsEqualDistances() throws {
    let grid = try BitVolume(dims: [4, 1, 1], in: budget)
    let other = try BitVolume(dims: [4, 1, 1], in: budget)
    grid[0, 0, 0] = true
    other[1, 0, 0] = true
    let found = try SurfaceDistances(reference: grid, prediction: other, spacing: [0.1, 1, 1], pool: pool, budget: budget)
    #expect(found.surfaceDice(tolerance: 0.1) == 1)
    #expect(found.surfaceDice(tolerance: 0.099) == 0)
  }

  @Test func threadsDoNotChangeTheResult() throws {
    let (a, b) = (LabelSample([40, 33, 35], labels: 1, seed: 8), LabelSample([40, 33, 35], labels: 1, seed: 9))
    let volumes = (try a.volume(in: budget), try b.volume(in: budget))
    let results = try [1, 2, 5].map { threads in
      let pool = try ThreadPool(threads: threads)
      let found = try SurfaceDistances(
        reference: volumes.0, prediction: volumes.1, values: [1], in: VoxelBox(dims: a.dims), pool: pool, budget: budget)
      return found.toReference.floatArray() + found.toPrediction.floatArray()
    }
    #expect(results[0] == results[1] && results[0] == results[2])
  }

  @Test func memoryFollowsTheBoxAndTheLimitIsKept() throws {
    var sample = LabelSample([200, 200, 60], labels: 1, seed: 1, boxes: 0, specks: 0)
    for z in 20..<24 { for y in 50..<58 { for x in 60..<70 { sample.values[sample.at(x, y, z)] = 1 } } }
    let volume = try sample.volume(in: budget)
    let own = MemoryBudget()
    let pairs = try LabelPairs(reference: volume, prediction: volume, pool: pool, in: own)
    let box = try #require(pairs.box([1]))
    #expect(box == VoxelBox(lower: [60, 50, 20], upper: [70, 58, 24]))
    _ = try SurfaceDistances(reference: volume, prediction: volume, values: [1], in: box, pool: pool, budget: own)
    #expect(own.peakBytes < 40_000, "peak \(own.peakBytes)")
    #expect(own.bytesInUse == 0)
    do {
      _ = try SurfaceDistances(
        reference: volume, prediction: volume, values: [1], in: VoxelBox(dims: sample.dims), pool: pool,
        budget: MemoryBudget(limit: 1 << 20))
      Issue.record("2.4 million voxels fitted into 1 MiB")
    } catch { #expect(error.kind == .outOfMemory) }
  }

  @Test func aStopIsHonoured() throws {
    let volume = try LabelSample([20, 20, 40], labels: 1, seed: 1).volume(in: budget)
    for limit in 0..<6 {
      var calls = 0
      let control = RunControl { _, _ in
        calls += 1
        return calls <= limit
      }
      do {
        _ = try SurfaceDistances(
          reference: volume, prediction: volume, values: [1], in: VoxelBox(dims: [20, 20, 40]), pool: pool, budget: budget, control: control
        )
        Issue.record("not stopped after \(limit) reports")
      } catch { #expect(error.kind == .cancelled) }
    }
  }
}
