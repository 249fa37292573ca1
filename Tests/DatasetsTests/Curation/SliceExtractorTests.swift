import Glibc
import Imaging
import Platform
import Slices
import Tensors
import TestSupport
import Testing

@testable import Datasets

struct SliceExtractorTests {
  private func slices(_ volume: Volume, _ rules: SliceRules, threads: Int = 2) throws -> (pixels: [[Int16]], facts: [SliceExtractor.Facts])
  {
    let extractor = try SliceExtractor(volume, rules: rules, in: MemoryBudget())
    var pixels = [Int16](repeating: 0, count: extractor.area * extractor.count)
    let pool = try ThreadPool(threads: threads)
    var facts: [SliceExtractor.Facts] = []
    try pixels.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      facts = try extractor.extract(0..<extractor.count, into: base, pool, RunControl())
    }
    return ((0..<extractor.count).map { Array(pixels[$0 * extractor.area..<($0 + 1) * extractor.area]) }, facts)
  }

  /// The same patient in all 48 orders of the axes gives the same slices.
  @Test func orientationDoesNotMatter() throws {
    let volume = try CurationSample.volume(seed: 3, dims: [9, 7, 4])
    let rules = CurationSample.rules(size: 16, spacing: 1.1)
    let expected = try slices(volume, rules)
    for orientation in AxisOrientation.all {
      let turned = volume.rearranged(try volume.geometry.orientation().steps(to: orientation))
      #expect(try turned.geometry.orientation() == orientation)
      let got = try slices(turned, rules)
      #expect(got.pixels == expected.pixels && got.facts.map(\.digest) == expected.facts.map(\.digest), "\(orientation)")
    }
  }

  /// Row 0 is the front, column 0 the right side, slice 0 the feet.
  @Test func rowsColumnsAndSlicesRunAsStated() throws {
    let geometry = Geometry(dims: [5, 4, 3], origin: [0, 0, 0])
    let volume = try Volume(allocating: .int16, geometry: geometry, in: MemoryBudget())
    let voxels = volume.mutableBase.assumingMemoryBound(to: Int16.self)
    for z in 0..<3 { for y in 0..<4 { for x in 0..<5 { voxels[(z * 4 + y) * 5 + x] = Int16(100 * z + 10 * y + x) } } }
    let got = try slices(volume, CurationSample.rules(size: nil, spacing: nil))
    for z in 0..<3 { for y in 0..<4 { for x in 0..<5 { #expect(got.pixels[z][y * 5 + x] == Int16(100 * z + 10 * y + x)) } } }
    let extractor = try SliceExtractor(
      volume.rearranged(try geometry.orientation().steps(to: .ras)), rules: SliceRules(), in: MemoryBudget())
    #expect((0..<3).map(extractor.position) == [0, 1, 2] && extractor.tilt == 0)
  }

  /// Against a plain double loop over both axes at once, for enlarging, shrinking and both.
  @Test func resamplingAgreesWithAnOracle() throws {
    for (dims, spacing) in [([13, 11, 2], [1.5, 1.5, 2.0]), ([13, 11, 2], [0.4, 0.4, 2.0]), ([12, 12, 2], [1.3, 0.3, 1.0])] {
      let volume = try CurationSample.volume(seed: 5, dims: dims, spacing: spacing)
      let rules = CurationSample.rules(size: nil, spacing: 0.8)
      let got = try slices(volume, rules)
      let rows = Int((Double(dims[1]) * spacing[1] / 0.8).rounded(.toNearestOrEven))
      let columns = Int((Double(dims[0]) * spacing[0] / 0.8).rounded(.toNearestOrEven))
      for z in 0..<2 {
        #expect(got.pixels[z].count == rows * columns)
        for row in 0..<rows {
          for column in 0..<columns {
            var sum = 0.0
            for (y, wy) in taps(row, dims[1], rows) {
              for (x, wx) in taps(column, dims[0], columns) { sum += wy * wx * max(-1000, volume.value(x, y, z)) }
            }
            #expect(abs(sum - Double(got.pixels[z][row * columns + column])) <= 0.51)
          }
        }
      }
    }
  }

  /// Weights of one output of a triangle filter with half-pixel centres.
  private func taps(_ output: Int, _ count: Int, _ wanted: Int) -> [(Int, Double)] {
    let scale = Double(count) / Double(wanted)
    let width = max(1, scale)
    let centre = (Double(output) + 0.5) * scale - 0.5
    let weights = (0..<count).map { ($0, max(0, 1 - abs(Double($0) - centre) / width)) }.filter { $0.1 > 0 }
    let sum = weights.reduce(0) { $0 + $1.1 }
    return weights.map { ($0.0, $0.1 / sum) }
  }

  @Test func cropCutsAndPadsAboutTheCentre() throws {
    let volume = try CurationSample.volume(seed: 1, dims: [40, 9, 1])
    var rules = CurationSample.rules(size: 16, spacing: nil)
    rules.fit = .crop
    let got = try slices(volume, rules).pixels[0]
    let (top, left) = (3, 12)
    for row in 0..<16 {
      for column in 0..<16 {
        let source = row - top
        let value = source >= 0 && source < 9 ? max(-1000, volume.value(column + left, source, 0)) : -1000
        #expect(got[row * 16 + column] == Int16(value))
      }
    }
  }

  /// The whole field of view, padded to a square first, so that nothing is stretched.
  @Test func resizeKeepsTheProportions() throws {
    let geometry = Geometry(dims: [64, 32, 1])
    let volume = try Volume(allocating: .int16, geometry: geometry, in: MemoryBudget())
    let voxels = volume.mutableBase.assumingMemoryBound(to: Int16.self)
    for place in 0..<64 * 32 { voxels[place] = 100 }
    let got = try slices(volume, CurationSample.rules(size: 32, spacing: nil)).pixels[0]
    for row in 0..<32 {
      let expected: Int16? = row < 7 || row > 24 ? -1000 : row > 8 && row < 23 ? 100 : nil
      for column in 1..<31 where expected != nil { #expect(got[row * 32 + column] == expected) }
    }
  }

  @Test func clipsAndReplacesWhatIsNoNumber() throws {
    let volume = try Volume(allocating: .float32, geometry: Geometry(dims: [4, 1, 1]), in: MemoryBudget())
    let voxels = volume.mutableBase.assumingMemoryBound(to: Float.self)
    for (place, value) in [Float.nan, -.infinity, .infinity, 12.5].enumerated() { voxels[place] = value }
    #expect(try slices(volume, CurationSample.rules(size: nil, spacing: nil)).pixels[0] == [-1000, -1000, 1000, 12])
  }

  /// A digest depends on the published pixels alone.
  @Test func digestsAreOfThePublishedPixels() throws {
    let volume = try CurationSample.volume(seed: 1)
    let facts = try slices(volume, CurationSample.rules()).facts.map(\.digest)
    var other = CurationSample.rules(size: 32, spacing: 0.7)
    other.clip = -100...100
    #expect(try slices(volume, other).facts.map(\.digest) == facts && Set(facts).count == 6)
    let wide = try Volume(allocating: .float64, geometry: volume.geometry, in: MemoryBudget())
    let voxels = wide.mutableBase.assumingMemoryBound(to: Double.self)
    var place = 0
    for z in 0..<6 {
      for y in 0..<20 {
        for x in 0..<24 {
          voxels[place] = volume.value(x, y, z) + 0.3
          place += 1
        }
      }
    }
    #expect(try slices(wide, CurationSample.rules()).facts.map(\.digest) == facts)
    let extractor = try SliceExtractor(volume, rules: SliceRules(), in: MemoryBudget())
    #expect(try extractor.digests(ThreadPool(threads: 2), RunControl()) == facts)
  }

  @Test func tiltIsTheAngleOfThePlane() {
    for degrees in [0.0, 10, 25, 44, 90] {
      let (c, s) = (cos(degrees * .pi / 180), sin(degrees * .pi / 180))
      #expect(abs(SliceExtractor.tilt([1, 0, 0, 0, c, -s, 0, s, c]) - degrees) < 1e-9)
      #expect(abs(SliceExtractor.tilt([-1, 0, 0, 0, c, -s, 0, -s, -c]) - degrees) < 1e-9)
    }
  }

  @Test func refusesSlicesThatBecomeTooLarge() throws {
    let volume = try CurationSample.volume(seed: 1, dims: [24, 20, 1], spacing: [900, 1, 1])
    let error = #expect(throws: MedDINOError.self) { try SliceExtractor(volume, rules: SliceRules(), in: MemoryBudget()) }
    #expect(error?.kind == .unsupported && error?.message.contains("16384") == true)
  }

  @Test(.enabled(if: sharedData != nil, "no real CT beside the checkout")) func realVolumes() throws {
    let data = try #require(sharedData)
    try withTemporaryFolder { root in
      var options = CurationOptions()
      options.rules.size = 64
      options.shardSlices = 50
      let source = CurationSource(name: "ct", folders: [data + "/ts-abdpelvis-ct"])
      let pool = try ThreadPool(threads: 2)
      let report = try Curation.run(source, to: root, options: options, pool: pool, in: MemoryBudget())
      // ct_sm is a part of ct, and the label maps of the folder are named seg.
      let cases = Dictionary(uniqueKeysWithValues: report.cases.map { ($0.name, $0) })
      let ct = try #require(cases["ct"])
      let small = try #require(cases["ct_sm"])
      #expect(ct.dims == [101, 122, 112] && ct.orientation == "RAS" && ct.slices.seen == 112 && ct.slices.kept > 100)
      #expect(small.slices.duplicate == 30 && small.slices.kept == 0)
      let set = try SliceSet(root)
      #expect(try set.check(pool: pool).problems.isEmpty)
      let slice = try set.slice(at: set.count / 2)
      // The spine is behind: the back half of the picture has more bone than the front half.
      let half = slice.values.count / 2
      #expect(slice.values[half...].count { $0 > 250 } > slice.values[..<half].count { $0 > 250 })
    }
  }
}
