import Imaging
import Platform
import Tensors
import TestSupport
import Testing

@Suite struct VolumeCheckTests {
  /// Compared with counting which bytes are used twice.
  @Test func sharedVoxelsAreFound() throws {
    var generator = SeededGenerator(77)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 16)
    defer { memory.deallocate() }
    var (refused, accepted) = (0, 0)
    for _ in 0..<4000 {
      let dims = (0..<3).map { _ in Int.random(in: 1...3, using: &generator) }
      let steps = (0..<4).map { _ in Int.random(in: -14...14, using: &generator) }
      let channels = Int.random(in: 1...2, using: &generator)
      let dtype = [DType.uint8, .int16, .float32][Int.random(in: 0...2, using: &generator)]
      let volume = Volume(
        dtype: dtype, channels: channels, geometry: Geometry(dims: dims), base: UnsafeRawPointer(memory + 2048),
        strides: Array(steps.prefix(3)), channelStride: steps[3])
      var used: Set<Int> = []
      var isShared = false
      for c in 0..<channels {
        for z in 0..<dims[2] {
          for y in 0..<dims[1] {
            for x in 0..<dims[0] {
              let at = x * steps[0] + y * steps[1] + z * steps[2] + c * steps[3]
              for byte in at..<at + dtype.byteCount where !used.insert(byte).inserted { isShared = true }
            }
          }
        }
      }
      let isRefused = (try? VolumeCheck.separateVoxels(volume)) == nil
      if isShared { #expect(isRefused, "\(dims) \(steps) \(channels) \(dtype)") }
      refused += isRefused ? 1 : 0
      accepted += isRefused ? 0 : 1
    }
    #expect(refused > 500 && accepted > 500)
  }

  @Test func viewsOfPackedVolumesHaveVoxelsOfTheirOwn() throws {
    let volume = try Volume(allocating: .int16, channels: 2, geometry: Geometry(dims: [4, 3, 2]), in: MemoryBudget())
    try VolumeCheck.separateVoxels(volume)
    for orientation in AxisOrientation.all { try VolumeCheck.separateVoxels(volume.reoriented(to: orientation)) }
    try VolumeCheck.separateVoxels(volume.cropped(to: VoxelBox(lower: [1, 1, 0], upper: [3, 2, 2])))
    let other = try Volume(allocating: .int16, geometry: Geometry(dims: [4, 3, 2]), in: MemoryBudget())
    try VolumeCheck.separateMemory(volume, "a", other, "b")
    var part = volume.cropped(to: VoxelBox(lower: [3, 2, 1], upper: [4, 3, 2]))
    part.channels = 1
    #expect(throws: MedDINOError.invalid("a overlaps the memory of b, expected a buffer of its own")) {
      try VolumeCheck.separateMemory(volume, "a", part, "b")
    }
  }

  @Test func geometryFieldsAreNamed() throws {
    try VolumeCheck.geometry(Geometry(dims: [1, 1, 1]))
    try VolumeCheck.geometry(Geometry(dims: [2, 2, 2], direction: [-1, 0, 0, 0, 1, 0.3, 0, 0, 1]))  // left-handed and tilted
    let changes: [(String, (inout Geometry) -> Void)] = [
      ("dims", { $0.dims[0] = 0 }), ("dims", { $0.dims[2] = 1 << 31 }), ("dims", { $0.dims[1] = Int.min }),
      ("geometry", { $0.dims = [1, 2] }),
      ("spacing", { $0.spacing[1] = 0 }), ("spacing", { $0.spacing[1] = -1 }), ("spacing", { $0.spacing[0] = .nan }),
      ("spacing", { $0.spacing[0] = .infinity }), ("origin", { $0.origin[2] = .nan }), ("direction", { $0.direction[4] = .infinity }),
      ("direction", { $0.direction[4] = 0 }), ("direction", { $0.direction = [1, 1, 0, 0, 0.005, 0, 0, 0, 1] }),
    ]
    for (field, change) in changes {
      var geometry = Geometry(dims: [4, 4, 4])
      change(&geometry)
      do {
        try VolumeCheck.geometry(geometry)
        Issue.record("\(field) was accepted")
      } catch {
        #expect(error.kind == .invalid && error.message.contains(field), "\(error)")
      }
    }
  }

  @Test func extentsOfStridedViews() throws {
    func extent(_ dims: [Int], _ strides: [Int], channels: Int = 1, _ channelStride: Int = 0) throws -> Range<Int> {
      try VolumeCheck.extent(dtype: .int16, dims: dims, channels: channels, strides: strides, channelStride: channelStride)
    }
    #expect(try extent([4, 5, 6], [2, 8, 40]) == 0..<240)
    #expect(try extent([4, 5, 6], [2, -8, 40]) == -32..<208)
    #expect(try extent([4, 5, 6], [2, 8, 40], channels: 3, -240) == -480..<240)
    #expect(try extent([1, 1, 1], [.max, .min, .max]) == 0..<2)
    for (dims, strides) in [
      ([4, 5, 6], [Int.max, 1, 1]), ([2, 2, 2], [Int.max, 1, 1]), ([2, 2, 2], [Int.min, -1, 0]),
      ([2, 3, 2], [Int.max / 2, Int.min / 2, 0]), ([0, 1, 1], [1, 1, 1]), ([1, 1], [1, 1]),
    ] {
      #expect(throws: MedDINOError.self, "\(dims) \(strides)") { try extent(dims, strides) }
    }
    #expect(throws: MedDINOError.self) { try extent([1, 1, 1], [1, 1, 1], channels: 0) }
  }

  @Test func viewsMustFitTheirBytes() throws {
    let volume = try makeVolume(.int16, Geometry(dims: [4, 5, 6])) { Double($0) }
    try VolumeCheck.view(volume, dataBytes: 240)
    #expect(throws: MedDINOError.self) { try VolumeCheck.view(volume, dataBytes: 239) }
    try VolumeCheck.view(try volume.reoriented(to: .ras), dataBytes: 240)
  }
}

@Suite struct LabelStatisticsTests {
  @Test func countsVolumesAndBorders() throws {
    let geometry = Geometry(dims: [5, 5, 5], spacing: [2, 2, 2.5])
    let volume = try makeVolume(.uint8, geometry) { index in
      let (x, y, z) = (index % 5, index / 5 % 5, index / 25)
      return (x, y, z) == (2, 2, 2) ? 7 : x == 4 && y == 2 ? 3 : 0
    }
    let entries = try LabelStatistics.of(volume)
    #expect(entries.map(\.label) == [0, 3, 7])
    #expect(entries.map(\.voxels) == [119, 5, 1])
    #expect(entries.map(\.touchesBorder) == [true, true, false])
    #expect(entries[2].millilitres == 0.01)
  }

  @Test func oneSliceDoesNotTouchAlongItsAxis() throws {
    let volume = try makeVolume(.int16, Geometry(dims: [3, 3, 1])) { $0 == 4 ? -1 : 0 }
    let entries = try LabelStatistics.of(volume)
    #expect(entries.map(\.label) == [-1, 0] && entries.map(\.touchesBorder) == [false, true])
  }

  @Test func everyIntegerTypeCountsAlike() throws {
    for dims in [[6, 5, 4], [1, 5, 4], [6, 1, 1], [1, 1, 1], [2, 3, 1]] {
      let wanted = try LabelStatistics.of(try makeVolume(.float64, Geometry(dims: dims)) { Double($0 % 5) })
      for dtype in [DType.uint8, .int8, .int16, .uint16, .int32, .float32] {
        let volume = try makeVolume(dtype, Geometry(dims: dims)) { Double($0 % 5) }
        #expect(try LabelStatistics.of(volume) == wanted)
        let turned = try LabelStatistics.of(volume.reoriented(to: .ras))
        #expect(turned == wanted)
      }
    }
  }

  @Test func nonIntegersAreRefused() throws {
    for bad in [0.5, Double.nan, .infinity, 1e300] {
      let volume = try makeVolume(.float64, Geometry(dims: [2, 1, 1])) { $0 == 1 ? bad : 0 }
      #expect(throws: MedDINOError.self) { try LabelStatistics.of(volume) }
    }
  }
}
