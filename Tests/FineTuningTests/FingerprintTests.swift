import Platform
import Segmentation
import Testing

@testable import FineTuning

@Suite struct FingerprintTests {
  /// The bulk draw is the same stream as single draws, also when it is cut in pieces.
  @Test func countedDraws() {
    for places in [1, 2, 17, 1000, 1 << 16, 70_001] {
      var single = LegacyRandom(seed: 1234)
      var bulk = LegacyRandom(seed: 1234)
      var expected = [UInt32](repeating: 0, count: places)
      var counts = [UInt32](repeating: 0, count: places)
      for _ in 0..<5000 { expected[single.bounded(places - 1)] += 1 }
      counts.withUnsafeMutableBufferPointer {
        bulk.count(1234, into: $0)
        bulk.count(5000 - 1234, into: $0)
      }
      #expect(counts == expected)
      #expect(single.next() == bulk.next())
    }
  }

  /// Against sorting all samples, with and without the second pass.
  @Test(arguments: [1 << 21, 100]) func ranksOfAHistogram(limit: Int) throws {
    let histogram = try IntensityHistogram(in: MemoryBudget(), distinctLimit: limit)
    var random = LegacyRandom(seed: 5)
    var parts: [(values: [Float], counts: [UInt32])] = []
    for part in 0..<3 {
      let values = (0..<4000).map { _ in Float(random.uniform() * 200 - 100) * (part == 2 ? 1e-6 : 1) }
      parts.append((values + [0, -0.0, -1e30, 1e30], (0..<4004).map { _ in UInt32(random.bounded(5)) }))
    }
    for part in parts {
      try part.values.withUnsafeBufferPointer { (values) throws in
        try part.counts.withUnsafeBufferPointer { (counts) throws in try histogram.add(values, counts) }
      }
    }
    let all = parts.flatMap { part in zip(part.values, part.counts).flatMap { [Float](repeating: $0, count: Int($1)) } }.sorted()
    #expect(histogram.total == all.count)
    #expect(histogram.extremes.smallest == all.first && histogram.extremes.largest == all.last)
    let ranks = [0, 1, all.count / 200, all.count / 2, all.count - 2, all.count - 1]
    #expect(try histogram.prepareRefinement(ranks) == (limit == 100))
    if limit == 100 {
      for part in parts {
        part.values.withUnsafeBufferPointer { values in part.counts.withUnsafeBufferPointer { histogram.refine(values, $0) } }
      }
    }
    #expect(try histogram.samples(ranks) == ranks.map { all[$0] })
  }

  @Test func percentiles() {
    #expect(Order.percentile([3, 1, 2, 4], 0.5) == 2.5)
    #expect(Order.percentile([10, 0], 0.1) == 1)
    #expect(Order.percentile([7], 0.995) == 7)
    #expect(Order.median([5, 1, 3]) == 3 && Order.median([4, 1, 3, 2]) == 2.5)
  }

  @Test func readsWhatItWrites() throws {
    let fingerprint = DatasetFingerprint(
      spacings: [[3, 0.800000011920929, 0.7], [1, 1, 1]], shapesAfterCrop: [[10, 20, 30], [1, 2, 3]],
      intensities: [.init(max: 9, mean: 1.5, median: 2, min: -7, percentile005: -6.25, percentile995: 8, std: 3)],
      medianRelativeSizeAfterCropping: 0.5)
    #expect(try DatasetFingerprint(fingerprint.json) == fingerprint)
    #expect(throws: MedDINOError.self) { try DatasetFingerprint(.object(("spacings", .array([])))) }
  }
}
