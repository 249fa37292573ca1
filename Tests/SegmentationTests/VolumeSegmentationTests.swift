import Imaging
import Platform
import Tensors
import TestSupport
import Testing
import Glibc

@testable import Segmentation

@Suite struct VolumeSegmentationTests {
  let budget = MemoryBudget()

  private func job(_ networks: [any TileNetwork], _ configuration: String = "2d_fine", scheme: LabelScheme? = nil, reader: String? = nil)
    throws
    -> VolumeSegmentation
  {
    let plan = try testPlan(reader.map { [("SimpleITKIO", $0)] } ?? [])
    return try VolumeSegmentation(
      plan: plan, configuration: plan.configuration(configuration), scheme: scheme ?? testScheme(), networks: networks)
  }
  private func labels(
    _ job: VolumeSegmentation, _ volume: Volume, _ options: SegmentationOptions = SegmentationOptions(), threads: Int = 2
  ) throws -> [Double] {
    let labels = try labelVolume(like: volume, in: budget)
    _ = try job.run([volume], labels: labels, options: options, pool: makePool(threads), in: budget)
    return allValues(labels)
  }

  @Test func constantNetworkStaysConstant() throws {
    let volume = try testVolume([61, 45, 2], in: budget)
    let job = try job([ConstantNetwork([0.1, 3.25, -1])])
    let labels = try labelVolume(like: volume, in: budget)
    let scores = try Volume(allocating: .float32, channels: 3, geometry: volume.geometry, in: budget)
    let report = try job.run([volume], labels: labels, probabilities: scores, pool: testPool, in: budget)
    #expect(allValues(labels).allSatisfy { $0 == 1 })
    let expected = 1 / (1 + exp(0.1 - 3.25) + exp(-1 - 3.25))
    #expect(allValues(scores, channel: 1).allSatisfy { abs($0 - expected) < 1e-5 })
    #expect(report.labels.map(\.voxels) == [61 * 45 * 2, 0])
    #expect(report.labels[0].touchesBorder)
    #expect(abs(report.labels[0].millilitres - 61 * 45 * 2 * 0.8 * 0.8 * 2 / 1000) < 1e-9)
  }

  @Test func membersAreAveraged() throws {
    let volume = try testVolume([20, 18, 1], in: budget)
    let mean = try job([ConstantNetwork([1, 2, 0]), ConstantNetwork([3, 0, 0]), ConstantNetwork([0, 2.5, 0])])
    #expect(try labels(mean, volume).allSatisfy { $0 == 1 })
    let other = try job([ConstantNetwork([1, 2, 0]), ConstantNetwork([3, 0, 0])])
    #expect(try labels(other, volume).allSatisfy { $0 == 0 })
  }

  @Test func tiesGoToTheFirstClass() throws {
    let volume = try testVolume([20, 18, 1], in: budget)
    #expect(try labels(job([ConstantNetwork([1, 1, 1])]), volume).allSatisfy { $0 == 0 })
  }

  @Test func laterRegionsOverwrite() throws {
    let scheme = try testScheme(
      #"{"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}"#, #", "regions_class_order": [1, 3, 2]"#)
    let volume = try testVolume([20, 18, 1], in: budget)
    #expect(try labels(job([ConstantNetwork([1, -1, -1])], scheme: scheme), volume).allSatisfy { $0 == 1 })
    #expect(try labels(job([ConstantNetwork([1, 2, -1])], scheme: scheme), volume).allSatisfy { $0 == 3 })
    #expect(try labels(job([ConstantNetwork([1, 2, 0.5])], scheme: scheme), volume).allSatisfy { $0 == 2 })
    #expect(try labels(job([ConstantNetwork([0, 0, 0])], scheme: scheme), volume).allSatisfy { $0 == 0 })
  }

  @Test(arguments: ["2d", "2d_fine"]) func sameBitsForAnyThreadCount(_ configuration: String) throws {
    let volume = try testVolume([61, 45, 3], in: budget)
    let job = try job([BlurNetwork(classes: 3), BlurNetwork(classes: 3, gain: 0.5)], configuration)
    var seen: [[Double]] = []
    for threads in 1...3 {
      let labels = try labelVolume(like: volume, in: budget)
      let scores = try Volume(allocating: .float32, channels: 3, geometry: volume.geometry, in: budget)
      _ = try job.run([volume], labels: labels, probabilities: scores, pool: makePool(threads), in: budget)
      seen.append(allValues(labels) + (0..<3).flatMap { allValues(scores, channel: $0) })
    }
    #expect(seen[0] == seen[1] && seen[0] == seen[2])
    #expect(Set(seen[0].prefix(61 * 45 * 3)).count > 1)
  }

  @Test(arguments: ["2d", "2d_fine"]) func regionOfInterestEqualsFullRun(_ configuration: String) throws {
    let volume = try testVolume([61, 45, 5], in: budget)
    let network = BlurNetwork(classes: 3)
    let job = try job([network], configuration)
    let full = try labels(job, volume)
    let fullCalls = network.calls
    for (lower, upper) in [
      ([20, 30, 1], [27, 33, 3]), ([0, 0, 0], [1, 1, 1]), ([60, 44, 4], [61, 45, 5]), ([0, 0, 0], [61, 45, 5]),
    ] {
      var options = SegmentationOptions()
      options.regionOfInterest = VoxelBox(lower: lower, upper: upper)
      let before = network.calls
      let part = try labels(job, volume, options)
      var index = 0
      var same = true
      for z in 0..<5 {
        for y in 0..<45 {
          for x in 0..<61 {
            let inside = zip([x, y, z], zip(lower, upper)).allSatisfy { $0 >= $1.0 && $0 < $1.1 }
            same = same && part[index] == (inside ? full[index] : 0)
            index += 1
          }
        }
      }
      #expect(same)
      if lower == [0, 0, 0], upper == [61, 45, 5] {
        #expect(network.calls - before == fullCalls)
      } else {
        #expect(network.calls - before < fullCalls / 2)
      }
      let estimate = try job.estimate(volume.geometry, options: options, pool: testPool)
      #expect(estimate.networkCalls == network.calls - before)
    }
  }

  @Test func subsetKeepsOnlyItsLabels() throws {
    let volume = try testVolume([40, 33, 2], in: budget)
    let job = try job([BlurNetwork(classes: 3)])
    let full = try labels(job, volume)
    var options = SegmentationOptions()
    options.labelSubset = [2]
    #expect(try labels(job, volume, options) == full.map { $0 == 2 ? 2 : 0 })
    options.labelSubset = [7]
    #expect(throws: MedDINOError.self) { try labels(job, volume, options) }
  }

  @Test(arguments: [[1, 1, 1], [1, 7, 2], [30, 1, 1], [2, 2, 1]]) func tinyImages(_ dims: [Int]) throws {
    let volume = try testVolume(dims, spacing: [0.3, 0.2, 1], in: budget)
    let got = try labels(job([ConstantNetwork([0, 0, 1])]), volume)
    #expect(got.allSatisfy { $0 == 2 })
  }

  @Test func labelsOfAnyStrideAndType() throws {
    let volume = try testVolume([31, 22, 3], in: budget)
    let job = try job([BlurNetwork(classes: 3)])
    let expected = try labels(job, volume)
    for dtype in [DType.int16, .uint16, .int32] {
      let packed = try labelVolume(like: volume, dtype, in: budget)
      _ = try job.run([volume], labels: packed, pool: testPool, in: budget)
      #expect(allValues(packed) == expected)
    }
    // z fastest, x running backwards.
    var turned = try labelVolume(like: volume, in: budget)
    turned.base += 30 * 22 * 3
    turned.strides = [-22 * 3, 3, 1]
    _ = try job.run([volume], labels: turned, pool: testPool, in: budget)
    #expect(allValues(turned) == expected)
  }

  @Test func reorientedReaderFollowsTheGeometry() throws {
    let volume = try testVolume([31, 22, 3], spacing: [0.8, 0.9, 2], in: budget)
    var unmirrored = SegmentationOptions()
    unmirrored.mirrorAxes = []
    // Identity in LPS is not RAS: x and y run backwards for the network.
    let seen = try labels(job([BlurNetwork(classes: 3)], reader: "NibabelIOWithReorient"), volume, unmirrored)
    let steps = try volume.geometry.orientation().steps(to: .ras)
    let turned = volume.rearranged(steps)
    let asStored = try labels(job([BlurNetwork(classes: 3)], reader: "NibabelIOWithReorient"), turned, unmirrored)
    let back = try labelVolume(like: turned, in: budget)
    for (index, value) in asStored.enumerated() { back.mutableBase.storeBytes(of: UInt8(value), toByteOffset: index, as: UInt8.self) }
    let ways = try turned.geometry.orientation().steps(to: volume.geometry.orientation())
    #expect(allValues(back.rearranged(ways)) == seen)
    #expect(try labels(job([BlurNetwork(classes: 3)]), volume, unmirrored) != seen)
  }

  /// Some oblique grids would be turned once more; a volume that its reader has turned stays as it is.
  @Test func aVolumeIsTurnedOnce() throws {
    var random = SeededGenerator(3)
    var found: Volume?
    while found == nil {
      let q = (0..<3).map { _ in Double.random(in: -1...1, using: &random) }
      guard let unit = Quaternion(q) else { continue }
      let volume = try Volume(allocating: .int16, geometry: Geometry(dims: [3, 4, 5], direction: unit.matrix), in: budget)
      let turned = try volume.reoriented(to: .ras)
      if try turned.geometry.orientation() != .ras { found = turned }
    }
    var turned = try #require(found)
    let plan = try job([BlurNetwork(classes: 3)], reader: "NibabelIOWithReorient").plan
    let again = try VoxelOrientation(plan: plan, volume: turned).apply(turned)
    #expect(again.geometry != turned.geometry)
    turned.isReoriented = true
    let kept = try VoxelOrientation(plan: plan, volume: turned).apply(turned)
    #expect(kept.geometry == turned.geometry && kept.strides == turned.strides)
  }

  /// A rotation by three components of a quaternion of length 1.
  private struct Quaternion {
    let matrix: [Double]
    init?(_ v: [Double]) {
      let (b, c, d) = (v[0], v[1], v[2])
      let rest = 1 - b * b - c * c - d * d
      guard rest > 0 else { return nil }
      let a = rest.squareRoot()
      matrix = [
        a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c), 2 * (b * c + a * d), a * a + c * c - b * b - d * d,
        2 * (c * d - a * b), 2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c,
      ]
    }
  }

  @Test func outputsAreCheckedFirst() throws {
    let volume = try testVolume([10, 9, 2], in: budget)
    let job = try job([ConstantNetwork([0, 1, 0])])
    let wrong = try testVolume([10, 9, 3], in: budget)
    #expect(throws: MedDINOError.self) { try job.run([volume], labels: labelVolume(like: wrong, in: budget), pool: testPool, in: budget) }
    #expect(throws: MedDINOError.self) { try job.run([volume], labels: volume, pool: testPool, in: budget) }
    let labels = try labelVolume(like: volume, in: budget)
    #expect(throws: MedDINOError.self) { try job.run([volume], labels: labels, probabilities: volume, pool: testPool, in: budget) }
    let many = "{\"background\": 0, " + (1..<300).map { "\"l\($0)\": \($0)" }.joined(separator: ", ") + "}"
    let wide = try self.job([ConstantNetwork([Float](repeating: 0, count: 300))], scheme: testScheme(many))
    #expect(throws: MedDINOError.invalid("labels has dtype uint8, which does not hold the label value 299")) {
      try wide.run([volume], labels: labels, pool: testPool, in: budget)
    }
    for bad in [
      VoxelBox(lower: [0, 0, 0], upper: [11, 1, 1]), VoxelBox(lower: [3, 0, 0], upper: [3, 1, 1]),
      VoxelBox(lower: [-1, 0, 0], upper: [3, 1, 1]),
    ] {
      var options = SegmentationOptions()
      options.regionOfInterest = bad
      #expect(throws: MedDINOError.self) { try job.run([volume], labels: labels, options: options, pool: testPool, in: budget) }
    }
    #expect(throws: MedDINOError.self) { try self.job([]) }
    #expect(throws: MedDINOError.self) { try self.job([ConstantNetwork([1, 2])]) }
    #expect(throws: MedDINOError.self) { try self.job([ConstantNetwork([1, 2, 3], channels: 2)]) }
  }

  @Test func brokenLogitsAreAnError() throws {
    let volume = try testVolume([10, 9, 2], in: budget)
    let labels = try labelVolume(like: volume, in: budget)
    for value in [Float.nan, .infinity] {
      let job = try job([ConstantNetwork([0, value, 0])])
      do {
        _ = try job.run([volume], labels: labels, pool: testPool, in: budget)
        Issue.record("accepted \(value)")
      } catch { #expect(error.kind == .invalid) }
    }
  }

  @Test func progressAndCancel() throws {
    let volume = try testVolume([40, 40, 3], in: budget)
    let job = try job([BlurNetwork(classes: 3)])
    let labels = try labelVolume(like: volume, in: budget)
    var fractions: [Double] = []
    _ = try job.run(
      [volume], labels: labels, pool: testPool, in: budget,
      control: RunControl { fraction, _ in
        fractions.append(fraction)
        return true
      }, progress: 0.2...0.9)
    #expect(fractions == fractions.sorted())
    #expect(fractions.first == 0.2 && fractions.last == 0.9)
    let total = fractions.count
    #expect(total > 50)
    for stop in [0, 1, total / 2, total - 1] {
      var count = 0
      let control = RunControl { _, _ in
        count += 1
        return count <= stop
      }
      #expect(throws: MedDINOError.cancelled) { try job.run([volume], labels: labels, pool: testPool, in: budget, control: control) }
    }
    let cancellation = Cancellation()
    cancellation.request()
    #expect(throws: MedDINOError.cancelled) {
      try job.run([volume], labels: labels, pool: testPool, in: budget, control: RunControl(cancellation: cancellation))
    }
  }

  @Test func memoryIsConstantInSlicesAndAsEstimated() throws {
    let job = try job([BlurNetwork(classes: 3)])
    for probabilities in [false, true] {
      var peaks: [Int] = []
      for slices in [2, 40] {
        let volume = try testVolume([40, 30, slices], in: budget)
        let labels = try labelVolume(like: volume, in: budget)
        let scores = probabilities ? try Volume(allocating: .float32, channels: 3, geometry: volume.geometry, in: budget) : nil
        let own = MemoryBudget()
        _ = try job.run([volume], labels: labels, probabilities: scores, pool: testPool, in: own)
        peaks.append(own.peakBytes)
        #expect(own.bytesInUse == 0)
        let estimate = try job.estimate(volume.geometry, probabilities: probabilities, pool: testPool).peakBytes
        #expect(Double(estimate) > 0.97 * Double(own.peakBytes) && Double(estimate) < 1.1 * Double(own.peakBytes))
      }
      #expect(peaks[0] == peaks[1])
    }
  }

  @Test func everyAllocationMayFail() throws {
    let volume = try testVolume([20, 18, 2], in: budget)
    let labels = try labelVolume(like: volume, in: budget)
    let job = try job([BlurNetwork(classes: 3)])
    let own = MemoryBudget()
    _ = try job.run([volume], labels: labels, pool: testPool, in: own)
    let count = own.allocationCount
    #expect(count > 5)
    for index in 0..<count {
      own.restartCount()
      own.failAllocation(index)
      do {
        _ = try job.run([volume], labels: labels, pool: testPool, in: own)
        Issue.record("allocation \(index) may not have failed")
      } catch { #expect(error.kind == .outOfMemory) }
      #expect(own.bytesInUse == 0)
    }
  }
}
