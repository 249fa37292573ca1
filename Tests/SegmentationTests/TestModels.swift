import Imaging
import Platform
import Tensors
import TestSupport
import WeightFiles

@testable import Segmentation

let testPool: ThreadPool = makePool(2)
func makePool(_ threads: Int) -> ThreadPool {
  guard let pool = try? ThreadPool(threads: threads) else { preconditionFailure("no thread pool") }
  return pool
}

/// Logits of class c: a 3×3 mean (zeros outside the tile) of the channels, turned and shifted by class. Depends on the tile's borders,
/// so that a wrong tile, weight or mirror shows.
final class BlurNetwork: TileNetwork, @unchecked Sendable {
  let classes: Int
  let inputChannels: Int
  let gain: Float
  private(set) var calls = 0
  init(classes: Int, channels: Int = 1, gain: Float = 1) {
    self.classes = classes
    inputChannels = channels
    self.gain = gain
  }
  func logits(
    tile: UnsafePointer<Float>, height: Int, width: Int, into logits: UnsafeMutablePointer<Float>, control: RunControl
  ) throws(MedDINOError) {
    try control.check()
    calls += 1
    for y in 0..<height {
      for x in 0..<width {
        var sum: Float = 0
        for channel in 0..<inputChannels {
          for v in max(0, y - 1)...min(height - 1, y + 1) {
            for u in max(0, x - 1)...min(width - 1, x + 1) { sum += tile[(channel * height + v) * width + u] * Float(1 + channel) }
          }
        }
        for c in 0..<classes {
          let offset = Float(c) * 0.9 - 0.2 * Float(x % 3) + (c == 1 ? Float((2 * x + y) % 7) - 3 : 0)
          logits[(c * height + y) * width + x] = gain * (sum / 9 * (c % 2 == 0 ? 1 : -1) + offset * (c == 0 ? 0.1 : 0.3))
        }
      }
    }
  }
}

/// The same logits everywhere.
final class ConstantNetwork: TileNetwork {
  let classes: Int
  let inputChannels: Int
  let values: [Float]
  init(_ values: [Float], channels: Int = 1) {
    self.values = values
    classes = values.count
    inputChannels = channels
  }
  func logits(
    tile: UnsafePointer<Float>, height: Int, width: Int, into logits: UnsafeMutablePointer<Float>, control: RunControl
  ) throws(MedDINOError) {
    for (c, value) in values.enumerated() { (logits + c * height * width).update(repeating: value, count: height * width) }
  }
}

let testPlanText = """
  {"dataset_name": "Dataset001_T", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
   "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
   "configurations": {
     "2d": {"data_identifier": "nnUNetPlans_2d", "batch_size": 12, "patch_size": [16, 12], "spacing": [0.8, 0.8],
            "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [false],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": false, "order": 3, "order_z": 0, "force_separate_z": null},
            "batch_dice": true},
     "2d_fine": {"inherits_from": "2d", "patch_size": [24, 20], "spacing": [0.5, 0.6], "data_identifier": "nnUNetPlans_2d_fine"},
     "3d": {"inherits_from": "2d", "patch_size": [8, 16, 16], "spacing": [2, 0.8, 0.8]}},
   "foreground_intensity_properties_per_channel": {"0": {"max": 900, "mean": 100.0, "median": 90, "min": -500,
     "percentile_00_5": -150, "percentile_99_5": 300, "std": 80}}}
  """

func testPlan(_ replacements: [(String, String)] = []) throws -> Plan {
  var text = testPlanText
  for (old, new) in replacements {
    let parts = text.split(separator: old, omittingEmptySubsequences: false)
    precondition(parts.count > 1, "\(old) is not in the plan")
    text = parts.joined(separator: new)
  }
  return try Plan.parse(Array(text.utf8))
}

func testScheme(_ labels: String = #"{"background": 0, "a": 1, "b": 2}"#, _ rest: String = "") throws -> LabelScheme {
  let text = #"{"channel_names": {"0": "CT"}, "labels": \#(labels), "numTraining": 3, "file_ending": ".nii.gz"\#(rest)}"#
  return try LabelScheme(DatasetDescription.parse(Array(text.utf8)))
}

/// A float32 volume of smooth shapes and noise, in Hounsfield-like values.
func testVolume(
  _ dims: [Int], spacing: [Double] = [0.8, 0.8, 2], seed: UInt64 = 1, channels: Int = 1, in budget: MemoryBudget
) throws -> Volume {
  var random = SeededGenerator(seed)
  let volume = try Volume(allocating: .float32, channels: channels, geometry: Geometry(dims: dims, spacing: spacing), in: budget)
  let out = volume.mutableBase.bindMemory(to: Float.self, capacity: dims[0] * dims[1] * dims[2] * channels)
  for index in 0..<dims[0] * dims[1] * dims[2] * channels {
    let x = index % dims[0], y = index / dims[0] % dims[1], z = index / dims[0] / dims[1]
    let wave = Float((x / 4 + y / 3 + z) % 3) * 200 - 150
    out[index] = (wave + Float.random(in: -40...40, using: &random)).rounded()
  }
  return volume
}

func labelVolume(like volume: Volume, _ dtype: DType = .uint8, fill: UInt8 = 0xff, in budget: MemoryBudget) throws -> Volume {
  let result = try Volume(allocating: dtype, geometry: volume.geometry, in: budget)
  let bytes = volume.geometry.voxelCount * dtype.byteCount
  result.mutableBase.initializeMemory(as: UInt8.self, repeating: fill, count: bytes)
  return result
}

func allValues(_ volume: Volume, channel: Int = 0) -> [Double] {
  let d = volume.geometry.dims
  var result: [Double] = []
  for z in 0..<d[2] {
    for y in 0..<d[1] {
      for x in 0..<d[0] { result.append(volume.value(x, y, z, channel: channel)) }
    }
  }
  return result
}
