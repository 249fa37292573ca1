import Imaging
import Platform
import Tensors
import TestSupport
import Testing

struct LabelPairsTests {
  let budget = MemoryBudget()
  let pool: ThreadPool
  init() throws { pool = try ThreadPool(threads: 2) }

  @Test(arguments: [([17, 9, 20], 1), ([1, 1, 1], 2), ([64, 3, 1], 3), ([5, 6, 40], 4)])
  func countsEqualThoseOfPlainLoops(_ dims: [Int], _ seed: Int) throws {
    let (a, b) = (LabelSample(dims, labels: 4, seed: UInt64(seed)), LabelSample(dims, labels: 4, seed: UInt64(seed) + 50))
    let pairs = try LabelPairs(
      reference: try a.volume(.int16, in: budget), prediction: try b.volume(.float64, in: budget), pool: pool, in: budget)
    #expect(pairs.referenceLabels == Set(a.values).sorted() && pairs.predictionLabels == Set(b.values).sorted())
    for (values, ignored) in [([1], nil), ([2, 3], nil), ([1, 2, 3], 4), ([9], nil)] as [([Int], Int?)] {
      var counts = OverlapCounts()
      var (low, high) = ([Int.max, Int.max, Int.max], [0, 0, 0])
      a.forAll { x, y, z in
        let (isReference, isPrediction) = (values.contains(a.value(x, y, z)), values.contains(b.value(x, y, z)))
        if isReference || isPrediction {
          for (axis, at) in [x, y, z].enumerated() { (low[axis], high[axis]) = (min(low[axis], at), max(high[axis], at + 1)) }
        }
        if a.value(x, y, z) == ignored { return }
        switch (isReference, isPrediction) {
        case (true, true): counts.truePositives += 1
        case (true, false): counts.falseNegatives += 1
        case (false, true): counts.falsePositives += 1
        case (false, false): counts.trueNegatives += 1
        }
      }
      #expect(pairs.overlap(values, ignoring: ignored) == counts)
      #expect(pairs.box(values) == (high == [0, 0, 0] ? nil : VoxelBox(lower: low, upper: high)))
    }
  }

  @Test func overlapMeasures() {
    let counts = OverlapCounts(truePositives: 6, falsePositives: 2, falseNegatives: 1, trueNegatives: 100)
    #expect(counts.dice == 12.0 / 15 && counts.iou == 6.0 / 9 && counts.predicted == 8 && counts.referenced == 7)
    #expect(OverlapCounts().dice.isNaN && OverlapCounts().iou.isNaN)
    #expect(OverlapCounts(truePositives: 0, falsePositives: 3, falseNegatives: 0, trueNegatives: 0).dice == 0)
  }

  @Test func faultsAreNamed() throws {
    let sample = LabelSample([4, 4, 4], labels: 2, seed: 1)
    let good = try sample.volume(in: budget)
    let other = try LabelSample([4, 4, 5], labels: 2, seed: 1).volume(in: budget)
    func message(_ reference: Volume, _ prediction: Volume) -> String {
      do throws(MedDINOError) {
        _ = try LabelPairs(reference: reference, prediction: prediction, pool: pool, in: budget)
        return ""
      } catch { return error.message }
    }
    #expect(message(good, other).contains("[4, 4, 5]"))
    let fractional = try sample.volume(.float32, in: budget)
    UnsafeMutableRawPointer(mutating: fractional.address(1, 2, 3)).storeBytes(of: Float(1.5), as: Float.self)
    #expect(message(good, fractional).contains("prediction holds 1.5"))
    UnsafeMutableRawPointer(mutating: fractional.address(1, 2, 3)).storeBytes(of: Float.nan, as: Float.self)
    #expect(message(fractional, good).contains("reference holds nan"))
    var scaled = good
    scaled.slope = 3
    let pairs = try LabelPairs(reference: scaled, prediction: good, pool: pool, in: budget)
    #expect(pairs.referenceLabels == Set(sample.values.map { $0 * 3 }).sorted())
  }

  @Test func noiseIsNoLabelMap() throws {
    let geometry = Geometry(dims: [300, 300, 1])
    let noise = try Volume(allocating: .int32, geometry: geometry, in: budget)
    let values = noise.mutableBase.bindMemory(to: Int32.self, capacity: 90000)
    for index in 0..<90000 { values[index] = Int32(index) }
    #expect(throws: MedDINOError.self) { try LabelPairs(reference: noise, prediction: noise, pool: pool, in: budget) }
  }
}
