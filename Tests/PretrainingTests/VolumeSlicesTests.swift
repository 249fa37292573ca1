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
