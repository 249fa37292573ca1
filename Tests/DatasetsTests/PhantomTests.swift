import Datasets
import Imaging
import Platform
import Tensors
import TestSupport
import Testing

/// Small cases of a whole torso, for tests.
private func smallOptions() -> PhantomOptions {
  var options = PhantomOptions()
  options.matrix = 48...56
  options.slices = 26...30
  options.spacing = 2.1...2.6
  options.sliceSpacing = 3.8...5.2
  return options
}

private func bytes(_ volume: Volume) -> [UInt8] {
  let count = volume.geometry.voxelCount * volume.dtype.byteCount
  return Array(UnsafeRawBufferPointer(start: volume.base, count: count))
}

struct PhantomTests {
  let budget = MemoryBudget()

  @Test func sameSeedSameCaseWhateverTheOrderAndTheThreads() throws {
    let options = smallOptions()
    let direct = try Phantom.makeCase(index: 3, options: options, in: budget)
    _ = try Phantom.makeCase(index: 0, options: options, in: budget)
    let pooled = try Phantom.makeCase(index: 3, options: options, in: budget, pool: ThreadPool(threads: 3))
    #expect(direct.image.geometry == pooled.image.geometry)
    #expect(bytes(direct.image) == bytes(pooled.image))
    #expect(bytes(direct.labels) == bytes(pooled.labels))
    let alone = try Phantom.makeImage(index: 3, options: options, in: budget)
    #expect(bytes(alone) == bytes(direct.image))

    var other = options
    other.seed = 2
    #expect(try bytes(Phantom.makeCase(index: 3, options: other, in: budget).image) != bytes(direct.image))
    #expect(try bytes(Phantom.makeCase(index: 4, options: options, in: budget).image) != bytes(direct.image))
  }

  /// The same patient stored another way: every voxel is found at its own place, bit for bit.
  @Test(arguments: PhantomOrientation.allCases)
  func orientationMovesVoxelsNotAnatomy(_ orientation: PhantomOrientation) throws {
    var options = smallOptions()
    options.obliqueChance = 0.5
    for index in 0..<2 {
      options.orientations = [.lps]
      let reference = try Phantom.makeCase(index: index, options: options, in: budget)
      options.orientations = [orientation]
      let stored = try Phantom.makeCase(index: index, options: options, in: budget)
      let geometry = stored.image.geometry
      #expect((orientation == .lps) == (geometry == reference.image.geometry))
      #expect(stored.labels.geometry == geometry)
      var random = SeededGenerator(7)
      var differences = 0
      for _ in 0..<400 {
        let at = geometry.dims.map { Int.random(in: 0..<$0, using: &random) }
        let there = nearestIndex(reference.image.geometry, geometry.point(at.map(Double.init)))
        for (volume, other) in [(stored.image, reference.image), (stored.labels, reference.labels)]
        where volume.value(at[0], at[1], at[2]) != other.value(there[0], there[1], there[2]) { differences += 1 }
      }
      #expect(differences == 0)
    }
  }

  private func nearestIndex(_ geometry: Geometry, _ point: [Double]) -> [Int] {
    (0..<3).map { axis in
      let along = (0..<3).reduce(0.0) { $0 + geometry.direction[$1 * 3 + axis] * (point[$1] - geometry.origin[$1]) }
      return Int((along / geometry.spacing[axis]).rounded())
    }
  }

  /// The sampling grid does not change the anatomy: organs keep their volumes when the voxels get smaller.
  @Test func spacingSamplesTheSameAnatomy() throws {
    var coarse = PhantomOptions.fixed(matrix: 60, slices: 40, spacing: 6, sliceSpacing: 10)
    coarse.bodyScale = 0.9
    coarse.missingChance = 0
    var fine = coarse
    fine.matrix = 90...90
    fine.slices = 60...60
    fine.spacing = 4...4
    fine.sliceSpacing = 20.0 / 3...20.0 / 3
    let volumes = try [coarse, fine].map { options -> [Double] in
      let (_, labels) = try Phantom.makeCase(index: 1, options: options, in: budget)
      return histogram(labels).map { Double($0) * labels.geometry.voxelMillilitres }
    }
    for label in 1...7 {
      #expect(volumes[1][label] > 10)
      #expect(abs(volumes[0][label] / volumes[1][label] - 1) < 0.15, "label \(label)")
    }
  }

  private func histogram(_ labels: Volume) -> [Int] {
    bytes(labels).reduce(into: [Int](repeating: 0, count: 256)) { $0[Int($1)] += 1 }
  }

  @Test func everyOrganOccursAndSomeAreMissing() throws {
    let options = smallOptions()
    var seen = [Int](repeating: 0, count: 9)
    for index in 0..<10 {
      let phantom = try PhantomCase(index: index, options: options)
      let (_, labels) = try Phantom.makeCase(index: index, options: options, in: budget)
      let counts = histogram(labels)
      #expect(counts[9...].allSatisfy { $0 == 0 })
      for label in 1...8 where counts[label] > 0 {
        seen[label] += 1
        #expect(phantom.organsPresent.contains(label))
      }
    }
    #expect(seen[1...8].allSatisfy { $0 >= 3 })
    #expect(seen[1...8].contains { $0 < 10 })
    var complete = options
    complete.missingChance = 0
    for index in 0..<10 { #expect(try PhantomCase(index: index, options: complete).organsPresent == Array(1...8)) }
  }

  @Test func scansVaryAsAsked() throws {
    let options = PhantomOptions()
    let cases = try (0..<200).map { try PhantomCase(index: $0, options: options) }
    #expect(Set(cases.map(\.orientation)).count == PhantomOrientation.allCases.count)
    let tilted = cases.count { phantom in phantom.geometry.direction.contains { $0 != 0 && $0.magnitude != 1 } }
    #expect((10...60).contains(tilted))
    for phantom in cases {
      let geometry = phantom.geometry
      let slice = phantom.orientation.rawValue.map { "SI".contains($0) }.firstIndex(of: true) ?? 0
      #expect((36...44).contains(geometry.dims[slice]) && (2.5...4.2).contains(geometry.spacing[slice]))
      for axis in 0..<3 where axis != slice {
        #expect(geometry.dims[axis] == 128 && (0.9...1.3).contains(geometry.spacing[axis]))
      }
      for a in 0..<3 {
        for b in 0..<3 {
          let dot = (0..<3).reduce(0.0) { $0 + geometry.direction[$1 * 3 + a] * geometry.direction[$1 * 3 + b] }
          #expect(abs(dot - (a == b ? 1 : 0)) < 1e-12)
        }
      }
    }
  }

  @Test func kidneysLieOnTheirSides() throws {
    var options = smallOptions()
    options.missingChance = 0
    for index in 0..<3 {
      let (_, labels) = try Phantom.makeCase(index: index, options: options, in: budget)
      #expect(try meanX(labels, 3) < meanX(labels, 4) - 20)
      #expect(try meanX(labels, 1) < meanX(labels, 2) - 20)
    }
  }

  private func meanX(_ labels: Volume, _ label: Double) throws -> Double {
    var (sum, count) = (0.0, 0.0)
    let dims = labels.geometry.dims
    for z in 0..<dims[2] {
      for y in 0..<dims[1] {
        for x in 0..<dims[0] where labels.value(x, y, z) == label {
          sum += labels.geometry.point([Double(x), Double(y), Double(z)])[0]
          count += 1
        }
      }
    }
    try #require(count > 0)
    return sum / count
  }

  @Test func fewerLabelsLeaveTheRestBackground() throws {
    var options = smallOptions()
    let all = try Phantom.makeCase(index: 0, options: options, in: budget)
    options.labelCount = 2
    let two = try Phantom.makeCase(index: 0, options: options, in: budget)
    #expect(bytes(all.image) == bytes(two.image))
    #expect(bytes(two.labels) == bytes(all.labels).map { $0 > 2 ? 0 : $0 })
    #expect(Phantom.labels(2).map(\.name) == ["liver", "spleen"])
  }

  @Test func refusesWhatCannotBe() throws {
    func refuses(_ change: (inout PhantomOptions) -> Void) -> Bool {
      var options = smallOptions()
      change(&options)
      do throws(MedDINOError) {
        _ = try PhantomCase(index: 0, options: options)
        return false
      } catch { return error.kind == .invalid }
    }
    #expect(refuses { $0.matrix = 0...10 })
    #expect(refuses { $0.matrix = 10...Int.max })
    #expect(refuses { $0.slices = -3...4 })
    #expect(refuses { $0.spacing = 0...1 })
    #expect(refuses { $0.sliceSpacing = 1...Double.infinity })
    #expect(refuses { $0.noise = -1...1 })
    #expect(refuses { $0.bodyScale = .nan })
    #expect(refuses { $0.orientations = [] })
    #expect(refuses { $0.labelCount = 9 })
    #expect(refuses { $0.fileEnding = ".dcm" })
    #expect(refuses { $0.name = "../up" })
    #expect(!refuses { $0.matrix = 1...1 })
    #expect(throws: MedDINOError.self) { try PhantomCase(index: -1, options: PhantomOptions()) }
    #expect(throws: MedDINOError.self) {
      try Phantom.makeCase(index: 0, options: smallOptions(), in: MemoryBudget(limit: 1000))
    }
  }

  @Test func smallestVolumesRender() throws {
    let options = PhantomOptions.fixed(matrix: 1, slices: 1)
    let (image, labels) = try Phantom.makeCase(index: 0, options: options, in: budget)
    #expect(image.geometry.dims == [1, 1, 1] && labels.geometry.dims == [1, 1, 1])
  }
}
