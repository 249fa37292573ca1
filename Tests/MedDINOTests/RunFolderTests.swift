import FineTuning
import Glibc
import Platform
import TestSupport
import Testing
import WeightFiles

@testable import MedDINO

/// What a run leaves on disk.
@Suite struct RunFolderTests {
  let context: Context
  let model: Model
  let data: TrainingDataset
  init() throws {
    context = try Context(threads: 2)
    model = try TinyModel.segmenter(context)
    data = try TinyTraining.dataset(like: model)
  }

  private func create(_ folder: String, _ changes: [(String, JSON)] = []) throws -> Trainer {
    try Trainer.create(
      start: model, dataset: data, settings: try TinyTraining.settings(changes, output: folder), context: context)
  }
  private func lines(_ path: String) throws -> [JSON] {
    try String(decoding: InputFile.contents(path), as: UTF8.self).split(separator: "\n").map { try JSON.parse(String($0), source: path) }
  }

  @Test func contents() throws {
    try withTemporaryFolder { parent in
      let folder = parent + "/deep/run"
      let run = try create(folder, [("save_every", .integer(2))])
      #expect(try folderEntries(folder) == ["metrics.jsonl", "run.lock", "settings.json"])
      let settings = try RunSettings(String(decoding: InputFile.contents(folder + "/settings.json"), as: UTF8.self))
      #expect(settings.loop == run.settings && settings.output == folder && settings.fold == .number(0))

      let first = try run.epoch()
      #expect(try folderEntries(folder).contains("progress.png") && FileKind.of(folder + "/checkpoint_latest.safetensors") == .missing)
      #expect((FileKind.of(folder + "/model_best.safetensors") == .regular) == first.isBest)
      _ = try run.epoch()
      let checkpoint = folder + "/checkpoint_latest.safetensors"
      #expect(FileKind.of(checkpoint) == .regular && FileKind.of(folder + "/model_final.safetensors") == .missing)
      try run.run()
      #expect(
        try folderEntries(folder) == [
          "checkpoint_latest.safetensors", "metrics.jsonl", "model_best.safetensors", "model_final.safetensors", "progress.png",
          "run.lock", "settings.json",
        ])
      let metrics = try lines(folder + "/metrics.jsonl")
      #expect(metrics.compactMap { $0["epoch"]?.intValue } == [0, 1, 2] && metrics.compactMap { $0["step"]?.intValue } == [3, 6, 9])
      #expect(metrics.allSatisfy { $0["train_loss"]?.doubleValue != nil && $0["learning_rate"]?.doubleValue != nil })
      #expect(try Array(InputFile.contents(folder + "/progress.png").prefix(4)) == [0x89, 0x50, 0x4e, 0x47])
      let final = try Model.open(folder + "/model_final.safetensors", context: context)
      #expect(try TinyTraining.changes(TinyTraining.bits(run), TinyTraining.bits(final)).isEmpty)
      _ = try final.segment(Image(try testVolume([32, 32, 1], in: context.budget), context: context))
    }
  }

  @Test func aRunIsNotOverwritten() throws {
    try withTemporaryFolder { folder in
      let run = try create(folder)
      _ = try run.epoch()
      let before = try InputFile.contents(folder + "/metrics.jsonl")
      #expect(failure { _ = try create(folder) }.contains("is there already"))
      #expect(try InputFile.contents(folder + "/metrics.jsonl") == before)
    }
  }

  /// Every file with its bytes.
  private func contents(of folder: String) throws -> [String: [UInt8]] {
    var result: [String: [UInt8]] = [:]
    for name in try folderEntries(folder) where FileKind.of(folder + "/" + name) == .regular {
      result[name] = try InputFile.contents(folder + "/" + name)
    }
    return result
  }

  /// A second run in the folder of one that goes on is refused before it touches anything, however the folder is spelled.
  @Test func twoRunsNeverShareAFolder() throws {
    try withTemporaryFolder { parent in
      let folder = parent + "/run"
      do {
        let run = try create(folder, [("save_every", .integer(3))])
        _ = try run.epoch()
        let before = try contents(of: folder)
        #expect(failure { _ = try create(parent + "/./run/") }.hasPrefix("state: \(parent)/./run/: another run uses this folder"))
        #expect(failure { _ = try decoderRun(folder, cache: 64 << 20) }.contains("another run uses this folder"))
        #expect(try contents(of: folder) == before)
        try run.saveLatest()
        let saved = try contents(of: folder)
        let checkpoint = folder + "/checkpoint_latest.safetensors"
        #expect(failure { _ = try Trainer.resume(checkpoint, dataset: data, context: context) }.hasPrefix("state"))
        #expect(try contents(of: folder) == saved)
        // A trainer that only pushes batches may look at it, when it writes elsewhere.
        let other = try Trainer.resume(checkpoint, dataset: data, context: context, output: parent + "/other")
        #expect(other.step == 3 && other.folder?.path == parent + "/other")
        try run.run()
        #expect(try lines(folder + "/metrics.jsonl").compactMap { $0["epoch"]?.intValue } == [0, 1, 2])
      }
      #expect(try !folderEntries(folder).contains("run.lock"))
      #expect(try Trainer.resume(folder + "/checkpoint_latest.safetensors", dataset: data, context: context).isFinished)
    }
  }

  /// A run knows its folder from the root, and is found where it was moved to.
  @Test func runsAreResumedWhereTheyLie() throws {
    try withTemporaryFolder { parent in
      let here = try absolutePath(".")
      let relative = String(repeating: "../", count: here.split(separator: "/").count) + parent.dropFirst() + "/run"
      let name = "/checkpoint_latest.safetensors"
      do {
        let run = try create(relative)
        _ = try run.epoch()
        try run.save(to: parent + "/elsewhere.safetensors")
      }
      let settings = try JSON.parse(InputFile.contents(parent + "/run/settings.json"), source: "settings")
      #expect(settings["output"]?.stringValue == parent + "/run")
      for path in [parent + "/elsewhere.safetensors", parent + "/run" + name] {
        #expect(try Trainer.resume(path, dataset: data, context: context).folder?.path == parent + "/run")
      }
      #expect(rename(parent + "/run", parent + "/moved") == 0)
      #expect(try Trainer.resume(parent + "/moved" + name, dataset: data, context: context).folder?.path == parent + "/moved")
      #expect(FileKind.of(parent + "/run") == .missing)
    }
  }

  /// A run that fails before it began leaves nothing, not even the folder that it would have had.
  @Test func aRunThatDoesNotBeginLeavesNothing() throws {
    try withTemporaryFolder { parent in
      let settings = try TinyTraining.settings(output: parent + "/run")
      #expect(
        failure { _ = try Trainer.create(start: model, dataset: data, settings: settings, context: context, maxBytes: 1000) }
          .hasPrefix("outOfMemory"))
      #expect(try folderEntries(parent).isEmpty)
    }
  }

  /// Killed after its first best model, but before its first checkpoint, a run leaves nothing that the next one may be taken for.
  @Test func theModelOfALostRunGoes() throws {
    try withTemporaryFolder { folder in
      do {
        let lost = try create(folder, [("save_every", .integer(9))])
        while try !lost.epoch().isBest {}
        try makeFolder(folder + "/validation")
        try AtomicFile.write(Array("{}".utf8), to: folder + "/validation/validation.json")
      }
      try AtomicFile.write([], to: folder + "/run.lock")  // a killed process cannot remove it
      #expect(FileKind.of(folder + "/model_best.safetensors") == .regular)
      let run = try create(folder, [("seed", .string("99"))])
      #expect(FileKind.of(folder + "/model_best.safetensors") == .missing)
      #expect(FileKind.of(folder + "/validation/validation.json") == .missing)
      withExtendedLifetime(run) {}
    }
    try withTemporaryFolder { folder in
      do { try create(folder).run() }
      try removeFile(folder + "/checkpoint_latest.safetensors")
      let before = try contents(of: folder)
      #expect(failure { _ = try create(folder) }.contains("model_final.safetensors is there already"))
      #expect(try contents(of: folder) == before)
    }
  }

  /// Every file of a run that was stopped amid an epoch and killed after another equals that of a run that was not.
  @Test func resumedRunHasTheSameFiles() throws {
    try withTemporaryFolder { parent in
      let straight = try create(parent + "/a", [("epochs", .integer(5)), ("save_every", .integer(2))])
      try straight.run()
      let folder = parent + "/b"
      do {
        let run = try create(folder, [("epochs", .integer(5)), ("save_every", .integer(2))])
        for _ in 0..<3 { _ = try run.epoch() }
        _ = try run.step()
      }
      // As after a kill: epoch 2 is in the metrics, but not in the checkpoint, and a file was being written.
      try AtomicFile.write([1, 2, 3], to: folder + "/model_best.safetensors.tmp-999999999-1")
      func resumed() throws -> Trainer {
        try Trainer.resume(folder + "/checkpoint_latest.safetensors", dataset: data, context: context)
      }
      do {
        let run = try resumed()
        #expect(run.epoch == 2 && run.step == 6)
        #expect(try lines(folder + "/metrics.jsonl").count == 2)
        #expect(try !folderEntries(folder).contains { $0.contains(".tmp-") })
        _ = try run.epoch()
        _ = try run.step()
        try run.saveLatest()
      }
      let run = try resumed()
      #expect(run.epoch == 3 && run.step == 10)
      try run.run()
      for file in ["model_best.safetensors", "model_final.safetensors"] {
        #expect(try InputFile.contents(parent + "/a/" + file) == InputFile.contents(folder + "/" + file), "\(file)")
      }
      func plain(_ path: String) throws -> [JSON] {
        try lines(path).map { line in
          var object = line.objectValue ?? JSONObject()
          object["seconds"] = nil
          return .object(object)
        }
      }
      #expect(try plain(parent + "/a/metrics.jsonl").map { $0.text() } == plain(folder + "/metrics.jsonl").map { $0.text() })
    }
  }

  @Test func noFolder() throws {
    let run = try Trainer.create(start: model, dataset: data, settings: try TinyTraining.settings(), context: context)
    #expect(failure { try run.saveLatest() }.contains("no folder"))
    #expect(failure { _ = try create("/proc/none") }.hasPrefix("io"))
  }

  // MARK: kept features

  private func decoderRun(_ output: String, cache: Int, _ more: [(String, JSON)] = []) throws -> Trainer {
    try create(output, [("adapt", .string("decoder")), ("augmentation", .bool(false)), ("feature_cache", .integer(cache))] + more)
  }

  @Test func keptFeaturesChangeNoBit() throws {
    try withTemporaryFolder { parent in
      let plain = try decoderRun(parent + "/plain", cache: 0)
      try plain.run()
      let kept = try decoderRun(parent + "/kept", cache: 64 << 20)
      _ = try kept.epoch()
      _ = try kept.step()
      try kept.saveLatest()
      let cache = try #require(kept.tuner.featureCache)
      let (count, misses) = (cache.count, cache.misses)
      #expect(count > 0 && count == misses)
      #expect(
        failure { _ = try Trainer.resume(parent + "/kept/checkpoint_latest.safetensors", dataset: data, context: context) }
          .contains("another run uses"))
    }
    try withTemporaryFolder { parent in
      let plain = try decoderRun(parent + "/plain", cache: 0)
      try plain.run()
      try stopped(parent + "/kept")
      let resumed = try Trainer.resume(parent + "/kept/checkpoint_latest.safetensors", dataset: data, context: try Context(threads: 1))
      let cache = try #require(resumed.tuner.featureCache)
      #expect(cache.count > 0)
      try resumed.run()
      #expect(cache.hits > 0)
      #expect(try TinyTraining.changes(TinyTraining.bits(plain), TinyTraining.bits(resumed)).isEmpty)
      for file in ["model_best.safetensors", "model_final.safetensors"] {
        #expect(try InputFile.contents(parent + "/plain/" + file) == InputFile.contents(parent + "/kept/" + file))
      }
      // Rounded features are not those of a frozen encoder in float32.
      let frozen = try create(parent + "/frozen", [("adapt", .string("frozen")), ("augmentation", .bool(false))])
      try frozen.run()
      #expect(try !TinyTraining.changes(TinyTraining.bits(plain), TinyTraining.bits(frozen)).isEmpty)
    }
  }
  /// A run that stops amid an epoch and is gone.
  private func stopped(_ output: String) throws {
    let run = try decoderRun(output, cache: 64 << 20)
    _ = try run.epoch()
    _ = try run.step()
    try run.saveLatest()
  }

  @Test func theCacheKeepsToItsSize() throws {
    try withTemporaryFolder { parent in
      // 2 taps of 3 + 16 tokens, 32 channels, 2 bytes, and 40 for the slot.
      let slot = 2 * 19 * 32 * 2 + 40
      #expect(failure { _ = try decoderRun(parent + "/none", cache: 1000) }.contains("expected at least \(slot + 40)"))
      let run = try decoderRun(parent + "/run", cache: 40 + 3 * slot + 7)
      try run.run()
      let cache = try #require(run.tuner.featureCache)
      #expect(cache.capacity == 3 && cache.count == 3)
      #expect(try FileStamp(parent + "/run/features.cache").size == 40 + 3 * slot)
      let plain = try decoderRun(parent + "/plain", cache: 0)
      try plain.run()
      #expect(try TinyTraining.changes(TinyTraining.bits(plain), TinyTraining.bits(run)).isEmpty)
    }
  }
}
