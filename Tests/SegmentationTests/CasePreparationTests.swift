import Imaging
import Platform
import Tensors
import TestSupport
import Testing

@testable import Segmentation

@Suite struct CasePreparationTests {
  let budget = MemoryBudget()

  private func configuration(_ plan: Plan, _ schemes: [NormalizationScheme], masks: [Bool]? = nil, spacing: [Double] = [0.5, 0.6]) throws
    -> Plan.Configuration
  {
    Plan.Configuration(name: "t", patchSize: [16, 16], spacing: spacing, normalization: schemes, useMaskForNorm: masks)
  }
  private func plan(transpose: [Int] = [0, 1, 2]) throws -> Plan {
    let inverse = (0..<3).map { axis in transpose.firstIndex(of: axis) ?? 0 }
    return try testPlan([
      (#""transpose_forward": [0, 1, 2]"#, #""transpose_forward": \#(transpose)"#),
      (#""transpose_backward": [0, 1, 2]"#, #""transpose_backward": \#(inverse)"#),
    ])
  }
  /// Voxels of a border of zeros around the given box become 0.
  private func clear(_ volume: Volume, outside box: [Range<Int>]) {
    let d = volume.geometry.dims
    for c in 0..<volume.channels {
      for z in 0..<d[2] {
        for y in 0..<d[1] {
          for x in 0..<d[0] where !(box[0].contains(x) && box[1].contains(y) && box[2].contains(z)) {
            UnsafeMutableRawPointer(mutating: volume.address(x, y, z, channel: c)).storeBytes(of: 0, as: Float.self)
          }
        }
      }
    }
  }

  /// Slice by slice must give what the whole-case path gives, which resamples the dense volume.
  private func compare(
    _ schemes: [NormalizationScheme], masks: [Bool]? = nil, spacing: [Double], target: [Double], transpose: [Int] = [0, 1, 2],
    tolerance: Float = 2e-5
  ) throws {
    let volume = try testVolume([17, 14, 6], spacing: spacing, channels: schemes.count, in: budget)
    clear(volume, outside: [2..<15, 1..<14, 1..<6])
    let plan = try plan(transpose: transpose)
    let configuration = try configuration(plan, schemes, masks: masks, spacing: target)
    let whole = try PreprocessedCase(
      [volume], labels: nil, plan: plan, configuration: configuration, scheme: nil, pool: testPool, in: budget)
    let streamed = try CasePreparation(
      [volume], plan: plan, configuration: configuration, pool: testPool, in: budget, control: RunControl())
    #expect([schemes.count] + streamed.shape == whole.data.shape.extents)
    #expect(streamed.box == whole.properties.boundingBox)
    let expectedData = whole.data.floatArray()
    var slice = [Float](repeating: .nan, count: streamed.sliceFloats)
    let plane = streamed.shape[1] * streamed.shape[2]
    var worst: Float = 0
    for index in 0..<streamed.shape[0] {
      slice.withUnsafeMutableBufferPointer { streamed.slice(index, into: $0.baseAddress!) }
      for channel in schemes.indices {
        for i in 0..<plane {
          let expected = expectedData[(channel * streamed.shape[0] + index) * plane + i]
          let difference = abs(expected - slice[channel * plane + i])
          worst = max(worst, difference.isNaN ? .infinity : difference)
        }
      }
    }
    #expect(worst <= tolerance)
  }

  @Test func isotropicVolumeClip() throws { try compare([.ct], spacing: [0.8, 0.8, 1], target: [0.5, 0.6]) }
  @Test func thickSlicesClipEach() throws { try compare([.ct], spacing: [0.8, 0.8, 5], target: [0.5, 0.6]) }
  @Test func sameSize() throws { try compare([.ct], spacing: [0.8, 0.7, 5], target: [0.7, 0.8], tolerance: 0) }
  @Test func coarseRows() throws { try compare([.ct], spacing: [0.8, 4, 1], target: [3.1, 0.6]) }
  @Test func coarseColumns() throws { try compare([.zScore], spacing: [4, 0.8, 1], target: [0.6, 3.3]) }
  @Test(arguments: [[1, 0, 2], [2, 0, 1], [2, 1, 0]]) func transposed(_ order: [Int]) throws {
    try compare([.ct], spacing: [2, 0.8, 1.2], target: [0.9, 0.7], transpose: order)
  }
  @Test func severalSchemes() throws {
    try compare([.ct, .zScore, .rescale01, .none], spacing: [0.8, 0.8, 1], target: [0.5, 0.6], tolerance: 1e-4)
  }
  @Test func maskedZScore() throws { try compare([.zScore], masks: [true], spacing: [0.8, 0.8, 5], target: [0.5, 0.6]) }

  @Test func brokenVoxelsBecomeTheLowestValue() throws {
    let volume = try testVolume([9, 8, 3], in: budget)
    let plan = try plan()
    let configuration = try configuration(plan, [.none], spacing: [0.8, 0.8])
    for (place, value) in [((1, 2, 0), Float.nan), ((3, 4, 1), .infinity), ((5, 5, 2), -.infinity)] {
      UnsafeMutableRawPointer(mutating: volume.address(place.0, place.1, place.2)).storeBytes(of: value, as: Float.self)
    }
    let lowest = allValues(volume).filter(\.isFinite).min() ?? 0
    let streamed = try CasePreparation(
      [volume], plan: plan, configuration: configuration, pool: testPool, in: budget, control: RunControl())
    var slice = [Float](repeating: .nan, count: streamed.sliceFloats)
    slice.withUnsafeMutableBufferPointer { streamed.slice(1, into: $0.baseAddress!) }
    #expect(Double(slice[4 * 9 + 3]) == lowest)
    #expect(streamed.scan.channels[0].nonFinite == 3)
    #expect(InputWarnings.all(streamed.scan, streamed.source, configuration).contains { $0.hasPrefix("channel 0: 3 voxels are NaN") })
  }

  @Test func nothingFinite() throws {
    let volume = try testVolume([3, 3, 2], in: budget)
    volume.mutableBase.bindMemory(to: Float.self, capacity: 18).update(repeating: .nan, count: 18)
    let plan = try plan()
    let configuration = try configuration(plan, [.ct])
    #expect(throws: MedDINOError.invalid("channel 0 holds no finite value")) {
      try CasePreparation([volume], plan: plan, configuration: configuration, pool: testPool, in: budget, control: RunControl())
    }
  }

  @Test func emptyImageIsNotCropped() throws {
    let volume = try testVolume([5, 4, 3], in: budget)
    clear(volume, outside: [0..<0, 0..<0, 0..<0])
    let plan = try plan()
    let streamed = try CasePreparation(
      [volume], plan: plan, configuration: configuration(plan, [.zScore]), pool: testPool, in: budget, control: RunControl())
    #expect(streamed.croppedShape == [3, 4, 5])
  }

  @Test func bodyCropKeepsAMargin() throws {
    let volume = try testVolume([60, 50, 4], spacing: [1, 2, 5], in: budget)
    let out = volume.mutableBase.bindMemory(to: Float.self, capacity: 60 * 50 * 4)
    for i in 0..<60 * 50 * 4 { out[i] = -1000 }
    for z in 0..<4 { out[(z * 50 + 25) * 60 + 30] = 40 }
    let plan = try plan()
    let streamed = try CasePreparation(
      [volume], plan: plan, configuration: configuration(plan, [.ct]), bodyCrop: true, pool: testPool, in: budget, control: RunControl())
    #expect(streamed.box == CaseBox([0..<4, 20..<31, 20..<41]))
    #expect(throws: MedDINOError.self) {
      try CasePreparation(
        [volume], plan: plan, configuration: configuration(plan, [.zScore]), bodyCrop: true, pool: testPool, in: budget,
        control: RunControl())
    }
  }

  @Test func memoryDoesNotGrowWithSlices() throws {
    func peak(_ slices: Int) throws -> Int {
      let volume = try testVolume([40, 30, slices], spacing: [0.8, 0.8, 2], in: budget)
      let own = MemoryBudget()
      let plan = try plan()
      let streamed = try CasePreparation(
        [volume], plan: plan, configuration: configuration(plan, [.ct]), pool: testPool, in: own, control: RunControl())
      _ = streamed.shape
      return own.peakBytes
    }
    #expect(try peak(4) == peak(60))
  }

  @Test func channelsMustFit() throws {
    let plan = try plan()
    let configuration = try configuration(plan, [.ct, .ct])
    let a = try testVolume([5, 4, 3], in: budget)
    let b = try testVolume([5, 4, 2], in: budget)
    for volumes in [[], [a], [a, b], [a, a, a]] {
      #expect(throws: MedDINOError.self) {
        try CasePreparation(volumes, plan: plan, configuration: configuration, pool: testPool, in: budget, control: RunControl())
      }
    }
  }

  @Test func constantsOfSchemes() throws {
    let statistics = ChannelNormalizer.Statistics(minimum: -2, maximum: 6, mean: 1, std: 0)
    let constant = try ChannelNormalizer(.zScore, channel: 0, properties: nil, statistics: statistics)
    #expect(constant.value(1) == 0)
    let rescaled = try ChannelNormalizer(.rescale01, channel: 0, properties: nil, statistics: statistics)
    #expect(rescaled.value(-2) == 0 && rescaled.value(6) == 1 && rescaled.value(2) == 0.5)
    #expect(throws: MedDINOError.self) { try ChannelNormalizer(.rgb01, channel: 0, properties: nil, statistics: statistics) }
    #expect(throws: MedDINOError.self) { try ChannelNormalizer(.ct, channel: 3, properties: nil, statistics: nil) }
  }
}
