import FineTuning
import Platform
import TestSupport
import Testing
import WeightFiles

@testable import MedDINO

/// A checkpoint whose counters are none is refused before arithmetic overflows with them.
@Suite struct DamagedCheckpointTests {
  /// A copy of a checkpoint with one piece of its header replaced.
  private func edit(_ path: String, _ old: String, _ new: String, to target: String) throws {
    let bytes = try InputFile.contents(path)
    let size = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    var header = String(decoding: bytes[8..<8 + size], as: UTF8.self)
    let place = try #require(header.firstRange(of: old), "\(old) is not in the header")
    header.replaceSubrange(place, with: new)
    while header.utf8.count % 64 != 0 { header += " " }
    let count = UInt64(header.utf8.count)
    let length = (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * UInt64($0))) }
    try AtomicFile.write(length + Array(header.utf8) + bytes[(8 + size)...], to: target)
  }

  @Test func countersOfARun() throws {
    try withTemporaryFolder { folder in
      let context = try Context(threads: 1)
      let model = try TinyModel.segmenter(context)
      let data = try TinyTraining.dataset(like: model)
      let run = try Trainer.create(start: model, dataset: data, settings: try TinyTraining.settings(), context: context)
      let isBest = try run.epoch().isBest
      _ = try run.step()
      let (path, other) = (folder + "/c.safetensors", folder + "/d.safetensors")
      try run.save(to: path)
      let counters = [
        ("step", 4), ("epoch", 1), ("data_position", 4), ("steps", 4), ("count", 1), ("epochs_since_best", isBest ? 0 : 1),
      ]
      for (key, value) in counters {
        for wrong in ["9223372036854775807", "9007199254740993", "-1", "1.5"] {
          try edit(path, #"\"\#(key)\": \#(value)"#, #"\"\#(key)\": \#(wrong)"#, to: other)
          let error = failure { _ = try Trainer.resume(other, dataset: data, context: context) }
          #expect(error.hasPrefix("format: \(other)"), "\(key) \(wrong): \(error)")
        }
      }
      let name = try #require(run.tuner.optimizer.members.first?.parameter.name)
      try edit(path, #"\"\#(name)\": 4"#, #"\"\#(name)\": 9223372036854775807"#, to: other)
      #expect(failure { _ = try Trainer.resume(other, dataset: data, context: context) }.contains("the optimiser's counts"))
      try edit(path, #"\"epoch\": 1"#, #"\"epoch\": 4"#, to: other)
      #expect(
        failure { _ = try Trainer.resume(other, dataset: data, context: context) }.contains("epoch is 4, expected at most the run's 3"))
      #expect(failure { _ = try Trainer.resume(path, dataset: data, context: context) }.isEmpty)
    }
  }
}
