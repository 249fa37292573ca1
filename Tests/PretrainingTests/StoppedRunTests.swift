import Glibc
import Platform
import Pretraining
import Tensors
import TestSupport
import Testing
import Training
import WeightFiles

private func device() throws -> CPUDevice { try CPUDevice(pool: ThreadPool(threads: 2), budget: MemoryBudget()) }

/// A watcher that counts its looks and can be stopped in one of them.
private final class CountingWatcher: PretrainingWatcher {
  var looks: [Int] = []
  var stopAt: Int?
  func note(_ record: MetricsRecord) {}
  func observe(_ run: Pretrainer, control: RunControl) throws(MedDINOError) -> JSONObject {
    if stopAt == run.iteration { throw .cancelled }
    looks.append(run.iteration)
    return JSONObject([("class_rank", .number(1))])
  }
  func draw(_ run: Pretrainer) throws(MedDINOError) {}
}

private func records(_ folder: String) throws -> [[String]] {
  try String(decoding: try InputFile.contents(folder + "/metrics.jsonl"), as: UTF8.self).split(separator: "\n").map { line in
    let json = try JSON.parse(String(line), source: "metrics")
    return [json["step"]?.text() ?? "", json["class_rank"] == nil ? "iteration" : "look"]
  }
}

/// What a run that was stopped between an iteration and its files still has to write.
@Suite struct StoppedRunTests {
  private static let exports = ["teacher_checkpoint.safetensors", "teacher_checkpoint.pth", "backbone.safetensors"]

  @Test func aLostExportIsWrittenAgain() throws {
    try withTemporaryFolder { folder in
      try Pretrainer(small(), source: noiseSource(), folder: folder, device: device()).run()
      let whole = try Self.exports.map { try InputFile.contents("\(folder)/eval/training_6/\($0)") }
      // As a kill leaves it that comes while the second of three files is written.
      for lost in [Self.exports, Array(Self.exports.dropFirst())] {
        for name in lost { #expect(remove("\(folder)/eval/training_6/\(name)")) }
        let again = try Pretrainer(small(), source: noiseSource(), folder: folder, device: device())
        #expect(again.isFinished)
        try again.run()
        #expect(try Self.exports.map { try InputFile.contents("\(folder)/eval/training_6/\($0)") } == whole)
      }
    }
  }

  @Test func aLostExportOnTheWayIsWrittenAgain() throws {
    try withTemporaryFolder { folder in
      let settings = try small(#"{"evaluation": {"eval_period_iterations": 2}, "checkpointing": {"period": 2, "keep_every": 2}}"#)
      try Pretrainer(settings, source: noiseSource(), folder: folder, device: device()).run(until: 4)
      #expect(remove(folder + "/eval/training_4/backbone.safetensors") && remove(folder + "/kept_4.safetensors"))
      try Pretrainer(settings, source: noiseSource(), folder: folder, device: device()).run()
      for name in ["eval/training_2", "eval/training_4", "eval/training_6"] {
        for file in Self.exports { #expect(FileKind.of("\(folder)/\(name)/\(file)") == .regular, "\(name)/\(file)") }
      }
      for step in [2, 4, 6] { #expect(FileKind.of("\(folder)/kept_\(step).safetensors") == .regular) }
    }
  }

  @Test(arguments: [3, 6]) func aLookThatWasStoppedIsMadeFirst(stop: Int) throws {
    try withTemporaryFolder { folder in
      let settings = try small(#"{"watch": {"every": 3}}"#)
      let plain = try Pretrainer(settings, source: noiseSource(), folder: folder + "/a", device: device())
      plain.watcher = CountingWatcher()
      try plain.run()
      do {
        let run = try Pretrainer(settings, source: noiseSource(), folder: folder + "/b", device: device())
        let watcher = CountingWatcher()
        watcher.stopAt = stop
        run.watcher = watcher
        let error = #expect(throws: MedDINOError.self) { try run.run() }
        #expect(error?.kind == .cancelled && run.iteration == stop)
      }
      let resumed = try Pretrainer(settings, source: noiseSource(), folder: folder + "/b", device: device())
      let second = CountingWatcher()
      resumed.watcher = second
      try resumed.run()
      #expect(second.looks == (stop == 3 ? [3, 6] : [6]))
      #expect(try records(folder + "/b") == records(folder + "/a"))
      #expect(numbers(resumed) == numbers(plain))
      #expect(FileKind.of(folder + "/b/eval/training_6/backbone.safetensors") == .regular)
    }
  }

  /// A checkpoint of broken weights would replace those that a run can go on from.
  @Test func weightsThatAreNotFiniteAreNotSaved() throws {
    try withTemporaryFolder { folder in
      try Pretrainer(small(), source: noiseSource(), folder: folder, device: device()).run(until: 2)
      var run: Pretrainer! = try Pretrainer(small(), source: noiseSource(), folder: folder, device: device())
      run.trainer.model.studentParameters[3].value.floats[1] = .infinity
      let name = run.trainer.model.studentParameters[3].name
      for attempt in 0..<3 {
        let error = #expect(throws: MedDINOError.self) {
          switch attempt {
          case 0: try run.save()
          case 1: try run.save(to: folder + "/other.safetensors")
          default: try run.exportTeacher()
          }
        }
        #expect(error?.kind == .state && error?.message.contains(name) == true)
      }
      #expect(throws: MedDINOError.self) { try run.run() }
      #expect(try CheckpointFolder(folder, name: "pretraining").steps() == [2])
      #expect(FileKind.of(folder + "/other.safetensors") == .missing && FileKind.of(folder + "/eval/training_6") == .missing)
      run = nil  // which lets the folder go
      try Pretrainer(small(), source: noiseSource(), folder: folder, device: device()).run()
    }
  }

  @Test func metricsThatAreGoneAreCounted() throws {
    try withTemporaryFolder { folder in
      try Pretrainer(small(), source: noiseSource(), folder: folder, device: device()).run(until: 4)
      #expect(try Pretrainer(small(), source: noiseSource(), folder: folder, device: device()).lostMetrics == 0)
      #expect(remove(folder + "/metrics.jsonl"))
      #expect(try Pretrainer(small(), source: noiseSource(), folder: folder, device: device()).lostMetrics == 4)
    }
  }

  private func remove(_ path: String) -> Bool { unlink(path) == 0 }
}
