import FineTuning
import Imaging
import Platform
import Segmentation
import Tensors
import TestSupport
import WeightFiles

@testable import MedDINO

/// Runs small enough for any test.
enum TinyTraining {
  /// A body with one bright and one dark organ, different in every case; `ignored` marks a corner with that value.
  static func add(_ identifier: String, seed: UInt64, to dataset: TrainingDataset, ignored: Int? = nil) throws {
    let budget = dataset.context.budget
    let dims = [40, 36, 3]
    let image = try Volume(allocating: .int16, geometry: Geometry(dims: dims, spacing: [1, 1, 3]), in: budget)
    let labels = try Volume(allocating: .uint8, geometry: image.geometry, in: budget)
    let (pixels, marks) = (image.mutableBase.assumingMemoryBound(to: Int16.self), labels.mutableBase.assumingMemoryBound(to: UInt8.self))
    var random = SeededGenerator(seed)
    let (cx, cy) = (Int.random(in: 10...16, using: &random), Int.random(in: 10...16, using: &random))
    for index in 0..<image.geometry.voxelCount {
      let (x, y) = (index % dims[0], index / dims[0] % dims[1])
      var label = 0
      if (x - cx) * (x - cx) + (y - cy) * (y - cy) < 36 { label = 1 }
      if x > 24, x < 33, y > 20, y < 30 { label = 2 }
      pixels[index] = Int16([0, 140, -90][label] + Int.random(in: -20...20, using: &random))
      if let ignored, x < 6, y < 6 { label = ignored }
      marks[index] = UInt8(label)
    }
    try dataset.add(identifier, [image], labels: labels)
  }

  static func dataset(like model: Model, cases: Int = 3, ignored: Int? = nil) throws -> TrainingDataset {
    let dataset = try TrainingDataset(like: model)
    for index in 0..<cases { try add("case-\(index)", seed: UInt64(index), to: dataset, ignored: ignored) }
    return dataset
  }

  /// Three epochs of three updates, everything random switched on.
  static func settings(_ changes: [(String, JSON)] = [], output: String? = nil) throws -> RunSettings {
    var object = JSONObject([
      ("epochs", .integer(3)), ("iterations", .integer(3)), ("validation_iterations", .integer(1)), ("batch_size", .integer(2)),
      ("decoder_lr", .number(0.01)), ("encoder_lr", .number(0.001)), ("workers", .integer(0)), ("seed", .string("7")),
      ("save_every", .integer(1)),
    ])
    for (key, value) in changes { object[key] = value }
    if let output { object["output"] = .string(output) }
    return try RunSettings(JSON.object(object).text())
  }

  /// The bits of every exported tensor that is learned.
  static func bits(_ trainer: Trainer) throws -> [String: [UInt32]] { try bits(trainer.export()) }
  static func bits(_ model: Model) throws -> [String: [UInt32]] {
    var result: [String: [UInt32]] = [:]
    for (name, shape) in model.parameterList where model.members[0].contains(name) || !Self.isBuffer(name) {
      result[name] = try model.members[0].parameter(name, shape, in: model.context.budget).floatArray().map(\.bitPattern)
    }
    return result
  }

  /// What a source of initial values does not hold: it follows from the configuration.
  static func isBuffer(_ name: String) -> Bool { name.hasSuffix(".periods") || name.hasSuffix(".bias_mask") }

  /// Names whose bits differ; buffers that only one of both holds do not count.
  static func changes(_ a: [String: [UInt32]], _ b: [String: [UInt32]]) -> Set<String> {
    Set(a.keys).union(b.keys).filter { name in a[name] != b[name] && !(isBuffer(name) && (a[name] == nil || b[name] == nil)) }
  }
}

/// What a call fails with; empty when it does not.
func failure(_ body: () throws -> Void) -> String {
  do { try body() } catch let error as MedDINOError { return "\(error.kind): \(error.message)" } catch { return "\(error)" }
  return ""
}
