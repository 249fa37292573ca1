import Tensors
import Testing

/// Numbers below come from an independent implementation in Python integers; the first three are also Random123's
/// published vectors.
struct CounterRandomTests {
  @Test func philoxKnownAnswers() {
    let zero = CounterRandom.block(counter: SIMD4(repeating: 0), key: SIMD2(repeating: 0))
    #expect(zero == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    let ones = CounterRandom.block(counter: SIMD4(repeating: .max), key: SIMD2(repeating: .max))
    #expect(ones == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    let digits = CounterRandom.block(
      counter: SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: SIMD2(0xa409_3822, 0x299f_31d0))
    #expect(digits == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }

  @Test func streamKnownAnswers() {
    var random = CounterRandom(seed: 42, purpose: "augment", step: 7, item: 3)
    let words = (0..<10).map { _ in random.nextWord() }
    #expect(
      words == [
        0x24fc_9986, 0xf021_c326, 0xfdff_61f3, 0x3fdf_043e, 0x163_d86b, 0x4aaa_31bd, 0x37bb_97c7, 0x3582_1660,
        0x4621_f5be,
        0x78a3_5015,
      ])
    #expect(CounterRandom.Purpose("augment").code == 0xb8e6_3d78)
    var far = CounterRandom(seed: .max, purpose: "", step: 1 << 40 + 5, item: 1 << 63)
    #expect(
      (0..<6).map { _ in far.nextWord() } == [
        0x15e0_8ada, 0xff88_6ffc, 0xd71a_d234, 0x22b_8460, 0xc799_9b43, 0xff88_5f6e,
      ])
    var floats = CounterRandom(seed: 42, purpose: "augment", step: 7, item: 3)
    #expect(floats.uniformFloat() == 0.14447933435440063)
    var doubles = CounterRandom(seed: 42, purpose: "augment", step: 7, item: 3)
    #expect(doubles.uniform() == 0.9380151718259974)
    #expect(doubles.uniform() == 0.24949671304602594)
  }

  @Test func everyPartOfTheKeyCounts() {
    var first: Set<UInt64> = []
    for seed in [1, 2, 1 << 32] as [UInt64] {
      for purpose in ["a", "b"] as [CounterRandom.Purpose] {
        for step in [0, 1, 1 << 33] as [UInt64] {
          for item in [0, 1, 1 << 33] as [UInt64] {
            var random = CounterRandom(seed: seed, purpose: purpose, step: step, item: item)
            first.insert(random.next())
          }
        }
      }
    }
    #expect(first.count == 54)
  }

  @Test func aCopyContinuesWhereItWasTaken() {
    var random = CounterRandom(seed: 5, purpose: "copy")
    _ = (random.nextWord(), random.normal())
    var copy = random
    #expect((0..<9).map { _ in random.normal() } == (0..<9).map { _ in copy.normal() })
  }

  @Test func belowIsUniformAndStaysInside() {
    var random = CounterRandom(seed: 11, purpose: "below")
    var counts = [Int](repeating: 0, count: 7)
    for _ in 0..<70_000 { counts[random.below(7)] += 1 }
    let chiSquare = counts.reduce(0.0) { $0 + (Double($1) - 10_000) * (Double($1) - 10_000) / 10_000 }
    #expect(chiSquare < 22.5)  // 6 degrees of freedom, p = 0.001
    #expect(random.below(0) == 0 && random.below(1) == 0 && random.below(-5) == 0)
    // A bound of 3/4 of the word range: plain modulo would send two thirds of the draws below its first third.
    let large = Int.max / 2 + Int.max / 4
    let low = (0..<3000).count { _ in random.below(large) < large / 3 }
    #expect(abs(low - 1000) < 130)
    #expect((0..<100).allSatisfy { _ in (-2...2).contains(random.integer(-2...2)) })
    _ = random.integer(Int.min...Int.max)
  }

  @Test func normalHasTheMomentsOfANormal() {
    var random = CounterRandom(seed: 3, purpose: "normal")
    let values = (0..<40_000).map { _ in random.normal() }
    let mean = values.reduce(0, +) / 40_000
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 40_000
    let fourth = values.reduce(0) { $0 + $1 * $1 * $1 * $1 } / 40_000
    #expect(abs(mean) < 0.02)
    #expect(abs(variance - 1) < 0.03)
    #expect(abs(fourth - 3) < 0.2)
    #expect(values.allSatisfy { $0.isFinite })
  }

  @Test func permutationHoldsEachNumberOnceAndEachOrderOften() {
    var random = CounterRandom(seed: 8, purpose: "order")
    #expect(random.permutation(100).sorted() == Array(0..<100))
    #expect(random.permutation(0).isEmpty && random.permutation(-1).isEmpty)
    var seen: [[Int]: Int] = [:]
    for _ in 0..<6000 { seen[random.permutation(3), default: 0] += 1 }
    #expect(seen.count == 6)
    #expect(seen.values.allSatisfy { abs($0 - 1000) < 150 })
  }
}
