import Testing

@testable import Segmentation

/// Expected numbers from NumPy's RandomState.
@Suite struct LegacyRandomTests {
  @Test func rawBits() {
    var random = LegacyRandom(seed: 1234)
    #expect((0..<5).map { _ in random.next() } == [822_569_775, 2_137_449_171, 2_671_936_806, 3_512_589_365, 1_880_026_316])
  }
  @Test func permutations() {
    var random = LegacyRandom(seed: 1234)
    #expect(random.permutation(20) == [3, 13, 2, 16, 14, 5, 4, 0, 8, 18, 17, 11, 10, 9, 7, 1, 19, 12, 6, 15])
    #expect(random.permutation(7) == [6, 4, 1, 5, 3, 0, 2])
    #expect(random.permutation(1) == [0])
    #expect(random.permutation(0) == [])
  }
  @Test func longShuffle() {
    var random = LegacyRandom(seed: 12345)
    let shuffled = random.permutation(1000)
    #expect(Array(shuffled.prefix(12)) == [144, 833, 270, 468, 962, 186, 942, 516, 286, 458, 890, 957])
    #expect(shuffled.enumerated().reduce(0) { $0 + $1.offset * $1.element } == 247_366_674)
  }
  @Test func uniform() {
    var random = LegacyRandom(seed: 0)
    #expect((0..<3).map { _ in random.uniform() } == [0.5488135039273248, 0.7151893663724195, 0.6027633760716439])
  }
}
