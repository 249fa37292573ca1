import Imaging
import Platform
import Pretraining
import Tensors
import TestSupport
import Testing

@Suite struct VolumeSlicesTests {
  /// A volume whose voxel (x, y, z) holds 100 z + 10 y + x, stored with a slope.
  private func volume(_ dims: [Int], channels: Int = 1) throws -> Volume {
    let geometry = Geometry(dims: dims, spacing: [1, 1, 3], origin: [0, 0, 0], direction: [1, 0, 0, 0, 1, 0, 0, 0, 1])
    var volume = try Volume(allocating: .int16, channels: channels, geometry: geometry, in: MemoryBudget())
    let values = volume.mutableBase.bindMemory(to: Int16.self, capacity: dims.reduce(channels, *))
    for z in 0..<dims[2] {
      for y in 0..<dims[1] {
        for x in 0..<dims[0] { values[(z * dims[1] + y) * dims[0] + x] = Int16(100 * z + 10 * y + x) }
      }
    }
    (volume.slope, volume.intercept) = (2, -1000)
    return volume
  }

  @Test func slicesOfAllVolumesInOrder() throws {
    let source = try VolumeSlices([volume([3, 4, 2]), volume([5, 2, 0]), volume([5, 2, 3])])
    #expect(source.count == 5)
    for (index, shape, z) in [(0, [1, 4, 3], 0), (1, [1, 4, 3], 1), (2, [1, 2, 5], 0), (4, [1, 2, 5], 2)] {
      let slice = try source.slice(at: index, in: MemoryBudget())
      #expect(slice.pixels.shape == Shape(shape) && slice.units == .hounsfield)
      let expected = (0..<shape[1] * shape[2]).map { Float(2 * (100 * z + 10 * ($0 / shape[2]) + $0 % shape[2]) - 1000) }
      #expect(slice.pixels.floatArray() == expected)
    }
    let error = #expect(throws: MedDINOError.self) { try source.slice(at: 5, in: MemoryBudget()) }
    #expect(error?.kind == .invalid)
  }

  /// The slices of a volume are axial whatever the order of its axes in the file.
  @Test func slicesAreAxialInAnyOrderOfAxes() throws {
    let upright = try volume([3, 4, 2])
    let expected = try VolumeSlices([upright])
    for orientation in AxisOrientation.all {
      let name = orientation.name
      let source = try VolumeSlices([upright.rearranged(AxisOrientation.lps.steps(to: orientation))])
      #expect(source.count == 2, "\(name)")
      for index in 0..<source.count {
        let (own, other) = (try source.slice(at: index, in: MemoryBudget()), try expected.slice(at: index, in: MemoryBudget()))
        #expect(own.pixels.shape == other.pixels.shape && own.pixels.floatArray() == other.pixels.floatArray(), "\(name)")
      }
      #expect(source.fingerprint == expected.fingerprint)
    }
  }

  @Test func valuesThatAreNoNumbersAreAir() throws {
    let volume = try Volume(allocating: .float32, geometry: Geometry(dims: [2, 2, 1]), in: MemoryBudget())
    for (place, value) in [Float.nan, .infinity, -.infinity, -2000].enumerated() {
      volume.mutableBase.storeBytes(of: value, toByteOffset: 4 * place, as: Float.self)
    }
    let slice = try VolumeSlices([volume]).slice(at: 0, in: MemoryBudget())
    #expect(slice.pixels.floatArray() == [-1000, 1000, -1000, -2000])
    var values: [Float] = [.nan, -1000, 2000, 65.1084213256836]
    values.withUnsafeMutableBufferPointer { HounsfieldNormalization.apply($0) }
    #expect(values[0] == values[1] && values[2].isFinite && values[3] == 0)
  }

  @Test func volumesWithoutSlicesAndSeveralChannelsAreRefused() throws {
    #expect(throws: MedDINOError.self) { try VolumeSlices([]) }
    #expect(throws: MedDINOError.self) { try VolumeSlices([volume([3, 4, 0])]) }
    let error = #expect(throws: MedDINOError.self) { try VolumeSlices([volume([3, 4, 2], channels: 2)]) }
    #expect(error?.message.contains("2 channels") == true)
  }

  /// Crops of a real CT: in the range of body and air, with structure.
  @Test func realScansGiveCrops() throws {
    let file = (sharedData ?? "") + "/ts-abdpelvis-ct/ct_sm.nii.gz"
    guard FileKind.of(file) == .regular else {
      print("skipped: no CT beside the checkout (MEDDINO_DATA)")
      return
    }
    let budget = MemoryBudget()
    let source = try VolumeSlices(files: [file], in: budget)
    var crops = CropOptions()
    crops.resolutions = [.init(global: 96, local: 48, gram: 128)]
    crops.localCount = 2
    let maker = try CropMaker(
      source, crops: crops, pixels: PixelOptions(), masks: MaskOptions(), batchSize: 2, channels: 3, patchSize: 16, seed: 3)
    let batch = try maker.batch(at: 0, in: budget)
    for crops in [batch.globalCrops, batch.localCrops, batch.gramCrops].compactMap({ $0 }) {
      let values = crops.floatArray()
      #expect(values.allSatisfy { $0.isFinite && abs($0) < 30 })
      let mean = values.reduce(0, +) / Float(values.count)
      #expect(values.contains { abs($0 - mean) > 0.2 })
    }
  }
}
