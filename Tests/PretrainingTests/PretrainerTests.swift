import Networks
import Platform
import Pretraining
import Tensors
import TestSupport
import Testing
import Training
import WeightFiles

/// Settings of runs that take a second.
func small(_ more: String = "{}", preset: String = "tiny") throws -> PretrainingSettings {
  let base = """
    {
      "student": {"embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0.3, "pos_embed_rope_rescale_coords": 2},
      "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
      "ibot": {"head_n_prototypes": 20, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
      "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
      "train": {"batch_size_per_gpu": 3, "OFFICIAL_EPOCH_LENGTH": 3, "num_workers": 2},
      "optim": {"epochs": 2},
      "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 0}},
      "checkpointing": {"period": 2}, "evaluation": {"eval_period_iterations": 0}
    }
    """
  func merge(_ a: JSON, _ b: JSON) -> JSON {
    guard var object = a.objectValue, let other = b.objectValue else { return b }
    for entry in other.entries { object[entry.key] = merge(object[entry.key] ?? .null, entry.value) }
    return .object(object)
  }
  return try PretrainingSettings(
    preset: preset, merge(JSON.parse(base, source: "test"), JSON.parse(more, source: "test")))
}

private func device(threads: Int = 2) throws -> CPUDevice { try CPUDevice(pool: ThreadPool(threads: threads), budget: MemoryBudget()) }

/// All numbers of a run that matter.
func numbers(_ run: Pretrainer) -> [String: [Float]] {
  let model = run.trainer.model
  var result: [String: [Float]] = [:]
  for entry in model.studentState { result["student." + entry.name] = entry.tensor.floatArray() }
  for entry in model.teacherState { result["teacher." + entry.name] = entry.tensor.floatArray() }
  for entry in model.gramTeacherState ?? [] { result["gram." + entry.name] = entry.tensor.floatArray() }
  for member in run.trainer.optimizer.members {
    result["first." + member.parameter.name] = member.firstMoment.floatArray()
    result["second." + member.parameter.name] = member.secondMoment.floatArray()
  }
  return result
}

private let gram = #"""
  {"gram": {"use_loss": true, "compute_stats": true, "update_frequency": 2, "it_first_update": 2, "max_updates": 1,
    "loss_weight_schedule": {"start": 0.5, "peak": 0.5, "end": 2, "warmup_epochs": 0, "cosine_epochs": 1}},
   "crops": {"gram_teacher_crops_size": 48}, "train": {"previous_checkpoint": "PATH"}}
  """#

@Suite struct PretrainerTests {
  @Test func resumedRunsHaveTheBitsOfUninterruptedOnes() throws {
    try withTemporaryFolder { folder in
      let source = try noiseSource(count: 7)
      let whole = try Pretrainer(small(), source: source, folder: folder + "/a", device: device(threads: 1))
      try whole.run()
      #expect(whole.isFinished && whole.iteration == 6)
      try Pretrainer(small(), source: source, folder: folder + "/b", device: device()).run(until: 3)
      let other = try small(#"{"train": {"num_workers": 0}}"#)
      let resumed = try Pretrainer(other, source: source, folder: folder + "/b", device: device())
      #expect(resumed.isResumed && resumed.iteration == 3)
      try resumed.run()
      #expect(numbers(resumed) == numbers(whole))
      let lines = try ["/a", "/b"].map { String(decoding: try InputFile.contents(folder + $0 + "/metrics.jsonl"), as: UTF8.self) }
      let steps = lines.map { $0.split(separator: "\n").map(String.init) }
      #expect(steps[0].count == 6 && steps[1].count == 6)
      for (a, b) in zip(steps[0], steps[1]) {
        var (first, second) = (try JSON.parse(a, source: "a").objectValue, try JSON.parse(b, source: "b").objectValue)
        first?["seconds"] = nil
        second?["seconds"] = nil
        #expect(first == second && first?["total_loss"]?.doubleValue != nil && first?["backbone_grad_norm"]?.doubleValue != nil)
      }
      #expect(try CheckpointFolder(folder + "/a", name: "pretraining").steps() == [2, 4, 6])
    }
  }

  @Test func stagesFollowEachOther() throws {
    try withTemporaryFolder { folder in
      let source = try noiseSource(count: 7)
      let first = try Pretrainer(small(), source: source, folder: folder + "/one", device: device())
      try first.run()
      let checkpoint = try #require(try CheckpointFolder(folder + "/one", name: "pretraining").latest())
      let exported = folder + "/one/eval/training_6/teacher_checkpoint.safetensors"
      for path in [checkpoint, exported] {
        let settings = try small(gram.replacing("PATH", with: path))
        let name = folder + (path == exported ? "/two" : "/three")
        var second: Pretrainer! = try Pretrainer(settings, source: source, folder: name, device: device())
        let (start, end) = (numbers(second), numbers(first))
        for (key, values) in end where key.hasPrefix("teacher.") {
          let part = key.dropFirst("teacher.".count)
          #expect(start[key] == values && start["student." + part] == values)
          if part.hasPrefix("backbone.") { #expect(start["gram." + part] == values) }
        }
        try second.run(until: 3)
        #expect(second.trainer.gramUpdates == 1)
        let reached = numbers(second)
        second = nil  // which lets the folder go
        let resumed = try Pretrainer(settings, source: source, folder: name, device: device())
        #expect(numbers(resumed) == reached && resumed.trainer.gramUpdates == 1)
        let report = try resumed.step().report
        #expect(report.losses.gram.map { $0 > 0 } == true && report.losses.maskedGram != nil && report.losses.unmaskedGram != nil)
      }
    }
  }

  /// The third stage: every iteration has its resolution, anchors see another grid, and a resumed run has the same bits.
  @Test func resolutionsMixWithinARun() throws {
    try withTemporaryFolder { folder in
      let source = try noiseSource(count: 5)
      try Pretrainer(small(), source: source, folder: folder + "/one", device: device()).run(until: 1)
      let settings = try small(
        #"""
        {"crops": {"global_crops_size": [32, 48], "local_crops_size": [16, 24], "gram_teacher_crops_size": [48, 40],
           "global_local_crop_pairs_ratios": [0.5, 0.5]},
         "gram": {"use_loss": true, "rep_update": false}, "dino": {"koleo_loss_distributed": true},
         "train": {"OFFICIAL_EPOCH_LENGTH": 4, "previous_checkpoint": "\#(folder)/one/pretraining_0000000001.safetensors"}}
        """#)
      let whole = try Pretrainer(settings, source: source, folder: folder + "/a", device: device())
      try whole.run()
      try Pretrainer(settings, source: source, folder: folder + "/b", device: device(threads: 1)).run(until: 5)
      let resumed = try Pretrainer(settings, source: source, folder: folder + "/b", device: device())
      try resumed.run()
      #expect(numbers(resumed) == numbers(whole))
      let text = String(decoding: try InputFile.contents(folder + "/a/metrics.jsonl"), as: UTF8.self)
      let sizes = try text.split(separator: "\n").map { try JSON.parse(String($0), source: "metrics")["global_crops_size"]?.intValue }
      #expect(sizes == (0..<8).map { settings.crops.resolution(at: $0).global } && Set(sizes).count == 2)
    }
  }

  @Test func anchoringWithoutAnEarlierTeacherIsRefused() throws {
    try withTemporaryFolder { folder in
      let settings = try small(gram.replacing("PATH", with: ""))
      let error = #expect(throws: MedDINOError.self) {
        try Pretrainer(settings, source: noiseSource(), folder: folder, device: device())
      }
      #expect(error?.kind == .invalid && error?.message.contains("gram.ckpt") == true)
    }
  }

  @Test func exportedBackbonesAreReadLikeReleasedOnes() throws {
    try withTemporaryFolder { folder in
      let run = try Pretrainer(small(), source: noiseSource(), folder: folder, device: device())
      try run.step()
      let target = try run.exportTeacher()
      let expected = numbers(run)
      let files = [
        ("teacher_checkpoint.safetensors", CheckpointLayout.teacher), ("teacher_checkpoint.pth", .teacher),
        ("backbone.safetensors", .official),
      ]
      for (name, layout) in files {
        let contents = try Checkpoint.open("\(target)/\(name)", in: MemoryBudget())
        #expect(contents.layout == layout)
        let parameters = try NetworkParameters.collect(run.settings.networks.encoder, from: contents)
        for spec in run.settings.networks.encoder.parameters {
          let values = try parameters.parameter(spec.name, spec.shape, in: MemoryBudget()).floatArray()
          #expect(values == expected["teacher.backbone." + spec.name], "\(spec.name)")
        }
      }
      // A run may start from it, with heads of its own.
      let settings = try small(#"{"student": {"pretrained_weights": "\#(target)/backbone.safetensors"}, "train": {"seed": 9}}"#)
      let started = numbers(try Pretrainer(settings, source: noiseSource(), folder: folder + "/next", device: device()))
      #expect(started["student.backbone.blocks.1.mlp.fc1.weight"] == expected["teacher.backbone.blocks.1.mlp.fc1.weight"])
      #expect(started["student.dino_head.mlp.0.weight"] != expected["teacher.dino_head.mlp.0.weight"])
    }
  }

  @Test func otherSettingsInAFolderAreNamed() throws {
    try withTemporaryFolder { folder in
      try Pretrainer(small(), source: noiseSource(), folder: folder, device: device()).run(until: 1)
      let other = try small(#"{"optim": {"clip_grad": 1}}"#)
      let error = #expect(throws: MedDINOError.self) { try Pretrainer(other, source: noiseSource(), folder: folder, device: device()) }
      #expect(error?.kind == .invalid && error?.message.contains("optim.clip_grad") == true)
      let fewer = #expect(throws: MedDINOError.self) {
        try Pretrainer(small(), source: noiseSource(count: 4), folder: folder, device: device())
      }
      #expect(fewer?.kind == .invalid && fewer?.message.contains("other slices") == true)
    }
  }

  @Test func cancelledRunsAreSaved() throws {
    try withTemporaryFolder { folder in
      var run: Pretrainer! = try Pretrainer(small(), source: noiseSource(), folder: folder, device: device())
      let cancellation = Cancellation()
      let error = #expect(throws: MedDINOError.self) {
        try run.run(control: RunControl(cancellation: cancellation)) { report, _ in if report.iteration == 2 { cancellation.request() } }
      }
      #expect(error?.kind == .cancelled)
      #expect(try CheckpointFolder(folder, name: "pretraining").steps() == [2, 3])
      let reached = numbers(run)
      run = nil  // which lets the folder go
      let resumed = try Pretrainer(small(), source: noiseSource(), folder: folder, device: device())
      #expect(resumed.iteration == 3 && numbers(resumed) == reached)
    }
  }

  /// A second run in the folder of one that goes on is refused before it touches anything.
  @Test func twoRunsNeverShareAFolder() throws {
    try withTemporaryFolder { folder in
      let source = try noiseSource(count: 7)
      func files() throws -> [String: [UInt8]] {
        let names = try folderEntries(folder).filter { FileKind.of(folder + "/" + $0) == .regular }
        return Dictionary(uniqueKeysWithValues: try names.map { ($0, try InputFile.contents(folder + "/" + $0)) })
      }
      do {
        let run = try Pretrainer(small(), source: source, folder: folder, device: device())
        try run.run(until: 3)
        let before = try files()
        let other = try small(#"{"train": {"seed": 9}}"#)
        for settings in [try small(), other] {
          let error = #expect(throws: MedDINOError.self) { try Pretrainer(settings, source: source, folder: folder, device: device()) }
          #expect(error?.kind == .state && error?.message.contains("another run uses this folder") == true)
        }
        #expect(try files() == before)
        try run.run()
      }
      #expect(try files()["run.lock"] == nil)
      #expect(try Pretrainer(small(), source: source, folder: folder, device: device()).isFinished)
    }
  }

  /// Counters that a damaged checkpoint holds are refused before arithmetic overflows with them.
  @Test func damagedCountersAreRefused() throws {
    try withTemporaryFolder { folder in
      let source = try noiseSource()
      try Pretrainer(small(), source: source, folder: folder, device: device()).run(until: 1)
      let path = folder + "/pretraining_0000000001.safetensors"
      let bytes = try InputFile.contents(path)
      let size = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
      let header = String(decoding: bytes[8..<8 + size], as: UTF8.self)
      let edits = [
        ("step", 1, "9223372036854775807"), ("step", 1, "7"), ("gram_updates", 0, "9223372036854775807"),
        ("undefined_in_row", 0, "9223372036854775807"), ("steps", 1, "9223372036854775807"),
      ]
      for (key, value, wrong) in edits {
        var text = header
        let place = try #require(text.firstRange(of: #"\"\#(key)\": \#(value)"#), "\(key)")
        text.replaceSubrange(place, with: #"\"\#(key)\": \#(wrong)"#)
        while text.utf8.count % 64 != 0 { text += " " }
        let length = (0..<8).map { UInt8(truncatingIfNeeded: text.utf8.count >> (8 * $0)) }
        try AtomicFile.write(length + Array(text.utf8) + bytes[(8 + size)...], to: path)
        let error = #expect(throws: MedDINOError.self) { try Pretrainer(small(), source: source, folder: folder, device: device()) }
        #expect(error?.kind == .format, "\(key) \(wrong): \(String(describing: error))")
      }
    }
  }

  @Test func lossesThatAreNoNumbersEndTheRun() throws {
    try withTemporaryFolder { folder in
      let run = try Pretrainer(small(), source: noiseSource(), folder: folder, device: device())
      run.trainer.model.studentParameters[0].value.floats[0] = .nan
      let error = #expect(throws: MedDINOError.self) { try run.run() }
      #expect(error?.kind == .state && run.iteration == 2)
    }
  }

  /// The only block is the last one, which is made for the tokens that the losses read.
  @Test func aStudentOfOneBlockLearns() throws {
    for rate in ["0", "0.3"] {
      let settings = try small(#"{"student": {"depth": 1, "drop_path_rate": \#(rate)}}"#)
      let run = try Pretrainer(settings, source: noiseSource(), folder: nil, device: device())
      let report = try run.step().report
      #expect(report.losses.total.isFinite && report.norms.allSatisfy { $0.value.isFinite && $0.value > 0 })
    }
  }

  @Test func oneImageIsTooFewForTheSpread() throws {
    try withTemporaryFolder { folder in
      let run = try Pretrainer(small(#"{"train": {"batch_size_per_gpu": 1}}"#), source: noiseSource(), folder: folder, device: device())
      let error = #expect(throws: MedDINOError.self) { try run.step() }
      #expect(error?.kind == .invalid && error?.message.contains("koleo") == true)
    }
  }

  /// With a fixed teacher and batch, the student comes closer to the teacher's assignments.
  @Test func studentsLearnWhatTheTeacherSays() throws {
    try withTemporaryFolder { folder in
      let settings = try small(
        #"""
        {"optim": {"epochs": 20}, "student": {"drop_path_rate": 0, "pos_embed_rope_rescale_coords": null, "layerscale": 0.1},
         "schedules": {"lr": {"start": 3e-3, "peak": 3e-3, "end": 3e-3, "warmup_epochs": 0}, "momentum": {"start": 1, "peak": 1, "end": 1}}}
        """#)
      let run = try Pretrainer(settings, source: noiseSource(count: 3), folder: folder, device: device())
      let maker = try CropMaker(
        noiseSource(count: 3), crops: settings.crops, pixels: settings.pixels, masks: settings.masks, batchSize: 3, channels: 3,
        patchSize: 8,
        seed: 1)
      let batch = try maker.batch(at: 0, in: MemoryBudget())
      let tape = Tape(try device())
      var losses: [DistillationLosses] = []
      for _ in 0..<30 { losses.append(try run.trainer.step(batch, seed: nil, on: tape).losses) }
      let (first, last) = (losses[0], losses[29])
      // An untrained teacher's assignments are nearly even: their entropy is the least that a cross entropy can reach.
      #expect(last.dinoLocal < first.dinoLocal - 0.01 && last.dinoGlobal < first.dinoGlobal - 0.01, "\(first) \(last)")
      #expect(last.ibot < first.ibot - 0.01 && last.koLeo < first.koLeo - 1, "\(first) \(last)")
    }
  }
}
