import Imaging
import MedDINO
import Networks
import Platform
import Pretraining
import Probing
import Tensors
import TestSupport
import Testing
import WeightFiles

private func device() throws -> CPUDevice { try CPUDevice(pool: ThreadPool(threads: 2), budget: MemoryBudget()) }

/// A block of label 1 (bright) and one of label 2 (dark) in noise; labels beside the image.
private func write(_ folder: String, cases: Int) throws {
  try makeFolder(folder)
  for name in ["images", "labels"] { try makeFolder(folder + "/" + name) }
  for number in 0..<cases {
    let geometry = Geometry(dims: [40, 32, 6])
    let image = try Volume(allocating: .float32, geometry: geometry, in: MemoryBudget())
    let labels = try Volume(allocating: .uint8, geometry: geometry, in: MemoryBudget())
    var random = SeededGenerator(UInt64(number + 1))
    for z in 0..<6 {
      for y in 0..<32 {
        for x in 0..<40 {
          let label: UInt8 = (8..<24).contains(y) && (4..<16).contains(x) ? 1 : (4..<20).contains(y) && (22..<36).contains(x) ? 2 : 0
          let value = Float([-50, 250, -400][Int(label)]) + Float.random(in: -20...20, using: &random)
          UnsafeMutableRawPointer(mutating: image.address(x, y, z)).storeBytes(of: value, as: Float.self)
          UnsafeMutableRawPointer(mutating: labels.address(x, y, z)).storeBytes(of: label, as: UInt8.self)
        }
      }
    }
    try NIfTI.write(image, to: "\(folder)/images/c\(number)_0000.nii.gz")
    try NIfTI.write(labels, to: "\(folder)/labels/c\(number).nii.gz")
  }
}

private func settings(_ watch: String, _ more: String = "") throws -> PretrainingSettings {
  let text = """
    {"student": {"embed_dim": 16, "depth": 2, "num_heads": 2},
     "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
     "ibot": {"head_n_prototypes": 20, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
     "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
     "train": {"batch_size_per_gpu": 3, "OFFICIAL_EPOCH_LENGTH": 2, "num_workers": 0}, "optim": {"epochs": 2},
     "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 0}},
     "checkpointing": {"period": 2}, "evaluation": {"eval_period_iterations": 0}, "watch": \(watch)\(more)}
    """
  return try PretrainingSettings(preset: "tiny", JSON.parse(text, source: "test"))
}

private func records(_ folder: String) throws -> [JSON] {
  try String(decoding: try InputFile.contents(folder + "/metrics.jsonl"), as: UTF8.self).split(separator: "\n").map {
    try JSON.parse(String($0), source: "metrics")
  }
}

@Suite struct PretrainingWatchTests {
  @Test func aWatchedRunHasTheBitsOfAnUnwatchedOne() throws {
    try withTemporaryFolder { folder in
      try write(folder + "/data", cases: 3)
      let source = try VolumeSlices(files: ["\(folder)/data/images/c0_0000.nii.gz"], in: MemoryBudget())
      let alone = try Pretrainer(settings("{}"), source: source, folder: folder + "/a", device: device())
      try alone.run()
      let watch = #"{"every": 2, "slices": 3, "maps": 2, "probe_data": "\#(folder)/data"}"#
      do {
        let watched = try Pretrainer(settings(watch), source: source, folder: folder + "/b", device: device())
        watched.watcher = try PretrainingWatch(watched)
        try watched.run(until: 2)
      }
      let resumed = try Pretrainer(settings(watch), source: source, folder: folder + "/b", device: device())
      resumed.watcher = try PretrainingWatch(resumed)
      try resumed.run()
      for (a, b) in zip(alone.trainer.model.teacherState, resumed.trainer.model.teacherState) {
        #expect(a.name == b.name && a.tensor.floatArray() == b.tensor.floatArray())
      }
      let (plain, found) = (try records(folder + "/a"), try records(folder + "/b"))
      #expect(plain.count == 4 && found.count == 6)
      #expect(found.map { $0["step"]?.intValue } == [1, 2, 2, 3, 4, 4])
      for record in found where record["patch_rank"] == nil {
        let entropy = record["teacher_entropy"]?.doubleValue ?? -1
        #expect(entropy > 0 && entropy <= logarithm(24.0) + 1e-6)
      }
      for record in [found[2], found[5]] {
        for (name, range) in [
          ("class_rank", 1...3.0), ("patch_rank", 1...16.0), ("patch_cosine", -1...1), ("patch_neighbour_cosine", -1...1),
          ("class_patch_cosine", -1...1), ("probe_knn_dice", 0...1), ("probe_linear_dice", 0...1),
        ] {
          #expect(record[name]?.doubleValue.map { range.contains($0) } == true, "\(name) \(record.text())")
        }
        #expect(record["gram_drift"] == nil)
      }
      for name in ["progress.png", "watch/maps_2.png", "watch/maps_4.png"] {
        #expect(try InputFile.contents(folder + "/b/" + name).starts(with: [0x89, 0x50, 0x4e, 0x47]), "\(name)")
      }
      #expect(FileKind.of(folder + "/a/watch") == .missing)
    }
  }

  /// At its start the Gram teacher is the moving average: nothing has drifted.
  @Test func driftIsMeasuredAgainstTheGramTeacher() throws {
    try withTemporaryFolder { folder in
      try write(folder + "/data", cases: 1)
      let source = try VolumeSlices(files: ["\(folder)/data/images/c0_0000.nii.gz"], in: MemoryBudget())
      let first = try Pretrainer(settings("{}"), source: source, folder: folder + "/one", device: device())
      try first.run(until: 1)
      let previous = #", "gram": {"use_loss": true, "rep_update": false}"#
      var document = try settings(#"{"every": 1, "slices": 2, "maps": 0}"#, previous).document.objectValue ?? JSONObject()
      var train = document["train"]?.objectValue ?? JSONObject()
      train["previous_checkpoint"] = .string(folder + "/one/pretraining_0000000001.safetensors")
      document["train"] = .object(train)
      let run = try Pretrainer(PretrainingSettings(.object(document)), source: source, folder: folder + "/two", device: device())
      let watch = try PretrainingWatch(run)
      let before = try watch.observe(run, control: RunControl())
      #expect(before["gram_drift"]?.doubleValue == 0 && before["gram_distance"]?.doubleValue == 0)
      run.trainer.model.teacherAverages[0].tensor.floats[0] += 3
      let after = try watch.observe(run, control: RunControl())
      #expect(after["gram_distance"]?.doubleValue.map { $0 > 0 } == true && after["gram_drift"]?.doubleValue != 0)
    }
  }
}

@Suite struct ProbeDataTests {
  @Test func foldersAndPairsAreRead() throws {
    try withTemporaryFolder { folder in
      try write(folder, cases: 2)
      let all = try ProbeData.read(folder, in: MemoryBudget())
      #expect(all.labels == ["label 1", "label 2"] && all.slices.count == 12 && all.slices.map(\.caseNumber).max() == 1)
      let pair = "\(folder)/images/c0_0000.nii.gz,\(folder)/labels/c0.nii.gz"
      let some = try ProbeData.read(pair, labels: [2], maximum: 4, in: MemoryBudget())
      #expect(some.labels == ["label 2"] && some.slices.count == 4)
      // The files' RAS or LPS order does not matter: image and labels stay together.
      let slice = some.slices[0]
      for index in 0..<slice.pixels.count {
        #expect((slice.classes.elements(Int16.self)[index] == 1) == (slice.pixels.floats[index] < -300))
      }
      for (path, labels, word) in [
        (folder + "/none", [Int](), "no folder"), (folder + "/images", [], "neither dataset.json"), (folder, [9], "label 9"),
      ] {
        let error = #expect(throws: MedDINOError.self) { try ProbeData.read(path, labels: labels, in: MemoryBudget()) }
        #expect(error?.message.contains(word) == true, "\(error?.message ?? "")")
      }
    }
  }

  /// More labels than a probe tells apart, above what 16 bits with a sign hold: an error, no trap.
  @Test func tooManyLabelsAreRefused() throws {
    try withTemporaryFolder { folder in
      for (name, type) in [("images", DType.float32), ("labels", .uint16)] {
        try makeFolder(folder + "/" + name)
        let volume = try Volume(allocating: type, geometry: Geometry(dims: [256, 140, 1]), in: MemoryBudget())
        for place in 0..<256 * 140 {
          if type == .uint16 { volume.mutableBase.storeBytes(of: UInt16(place + 1), toByteOffset: 2 * place, as: UInt16.self) }
          if type == .float32 { volume.mutableBase.storeBytes(of: Float(place % 99), toByteOffset: 4 * place, as: Float.self) }
        }
        try NIfTI.write(volume, to: "\(folder)/\(name)/c.nii.gz")
      }
      let error = #expect(throws: MedDINOError.self) { try ProbeData.read(folder, in: MemoryBudget()) }
      #expect(error?.kind == .invalid && error?.message.contains("35840 labels") == true, "\(error?.message ?? "")")
      let twice = #expect(throws: MedDINOError.self) { try ProbeData.read(folder, labels: [7, 7], in: MemoryBudget()) }
      #expect(twice?.message.contains("label 7 is given twice") == true)
    }
  }

  @Test func aSetBesideOtherSourcesIsRefused() throws {
    try withTemporaryFolder { folder in
      try makeFolder(folder + "/set/resume")
      try AtomicFile.write(Array("{}".utf8), to: folder + "/set/resume/plan.json")
      let context = try Context(threads: 1)
      let error = #expect(throws: MedDINOError.self) { try PretrainingDataset(sources: [folder, folder + "/set"], context: context) }
      #expect(error?.message.contains("expected one set alone") == true, "\(error?.message ?? "")")
    }
  }

  @Test func backbonesAreProbedWithoutBeingChanged() throws {
    try withTemporaryFolder { folder in
      try write(folder, cases: 3)
      let context = try Context(threads: 2)
      let model = try TinyModel.backbone(context)
      let data = try ProbeData.read(folder, in: context.budget)
      let found = try SegmentationProbe(data, encoder: ModelEncoder(model), device: context.device).run()
      // Random projections of so different blocks tell them apart already.
      #expect(found.linear.mean > 0.3 && found.neighbours.mean > 0.3, "\(found)")
      let random = model.withRandomEncoder(seed: 1)
      #expect(try SegmentationProbe(data, encoder: ModelEncoder(random), device: context.device).run() == found)
      let other = model.withRandomEncoder(seed: 2)
      #expect(try SegmentationProbe(data, encoder: ModelEncoder(other), device: context.device).run() != found)
    }
  }
}
