import Imaging
import Platform
import Testing

@testable import Segmentation

/// Numbers at the edge of their types: refused by name, never a trap.
@Suite struct ExtremeValueTests {
  @Test func aSpanBeyondFloat32IsRefused() {
    let statistics = ChannelNormalizer.Statistics(minimum: -3e38, maximum: 3e38, mean: 0, std: 1)
    #expect(throws: MedDINOError.self) { try ChannelNormalizer(.rescale01, channel: 0, properties: nil, statistics: statistics) }
    let wide = ChannelNormalizer.Statistics(minimum: 0, maximum: 1, mean: 0, std: 1e300)
    #expect(throws: MedDINOError.self) { try ChannelNormalizer(.zScore, channel: 0, properties: nil, statistics: wide) }
  }

  @Test func aRangeOfNaNIsNoTrap() {
    let values: [Float] = [.nan, .nan]
    #expect(PlaneResampling.range(values, 2) == 0...0)
  }

  @Test func tooManyTilesAreRefusedBeforeTheyAreListed() {
    #expect(throws: MedDINOError.self) { try SlidingWindow.axis(size: Int(Int32.max), tile: 64, step: 1.0 / 64) }
  }
}
