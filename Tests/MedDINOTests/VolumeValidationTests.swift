import Datasets
import FineTuning
import Imaging
import Platform
import Segmentation
import TestSupport
import Testing
import WeightFiles

@testable import MedDINO

/// Whole volumes after the training, and the folds taken together.
@Suite struct VolumeValidationTests {
  let context: Context
  init() throws { context = try Context(threads: 2) }

  /// A phantom dataset of five cases with patches of 32, planned; "raw" and "pre" in `folder`.
  private func prepare(_ folder: String, configurations: [String] = []) throws -> TrainingDataset {
    var phantom = PhantomOptions.fixed(matrix: 28, slices: 3, spacing: 13, sliceSpacing: 50, seed: 3)
    (phantom.cases, phantom.testCases, phantom.labelCount, phantom.missingChance, phantom.fileEnding) = (5, 0, 2, 0, ".nii")
    let raw = try Phantom.writeDataset(to: folder + "/raw", options: phantom, in: context.budget)
    var options = DatasetPreparation.Options()
    (options.upscale, options.samples, options.jobs, options.configurations) = (32, 50_000, 1, configurations)
    let report = try DatasetPreparation.run(raw, to: folder + "/pre", options: options, context: context)
    #expect(report.problems.isEmpty)
    return try TrainingDataset(report.folder, configuration: configurations.last, context: context)
  }

  private func train(_ data: TrainingDataset, fold: Int, _ output: String, validates: Bool = true) throws -> Trainer {
    let changes: [(String, JSON)] = [
      ("encoder", TinyModel.encoder), ("taps", .integers([0, 1])), ("fold", .integer(fold)), ("epochs", .integer(1)),
      ("validation_iterations", .integer(validates ? 1 : 0)),
    ]
    let trainer = try Trainer.create(
      start: nil, dataset: data, settings: try TinyTraining.settings(changes, output: output), context: context)
    try trainer.run()
    return trainer
  }

  @Test func foldsTogether() throws {
    try withTemporaryFolder { folder in
      let data = try prepare(folder)
      let names = data.identifiers
      var runs: [String] = []
      for fold in 0..<5 {
        let run = "\(folder)/run\(fold)"
        let trainer = try train(data, fold: fold, run)
        let found = try trainer.validateVolumes(data)
        #expect(found.fold == .number(fold) && found.model == "model_best.safetensors" && found.evaluation.cases.count == 1)
        runs.append(run)
      }
      // The label map is what the best model makes of the image file.
      let splits = try #require(data.folder).splits(cases: names)
      let left = try splits.split(.number(2), cases: names).validation
      let best = try Model.open(runs[2] + "/model_best.safetensors", context: context)
      let image = try best.readImage("\(folder)/raw/Dataset900_Phantom/imagesTr/\(left[0])_0000.nii")
      let written = try NIfTI.read("\(runs[2])/validation/\(left[0]).nii", in: context.budget)
      let expected = try best.segment(image).labels.volume
      for index in 0..<expected.geometry.voxelCount {
        let d = expected.geometry.dims
        let (x, y, z) = (index % d[0], index / d[0] % d[1], index / d[0] / d[1])
        #expect(expected.value(x, y, z) == written.value(x, y, z))
        if expected.value(x, y, z) != written.value(x, y, z) { break }
      }

      let output = folder + "/cv"
      let all = try CrossValidation.run(runs, to: output, context: context)
      #expect(all.folds == ["0", "1", "2", "3", "4"] && all.evaluation.cases.map(\.name) == names.map { $0 + ".nii" })
      for file in ["summary.json", "metrics.csv", "postprocessing.json", "postprocessed/summary.json", names[0] + ".nii"] {
        #expect(FileKind.of(output + "/" + file) == .regular, "\(file)")
      }
      #expect(all.search.before.foregroundMean.dice.bitPattern == all.evaluation.foregroundMean.dice.bitPattern)
      let ensemble = try all.ensemble(context: context)
      try ensemble.save(to: folder + "/e.safetensors")
      let opened = try Model.open(folder + "/e.safetensors", context: context)
      try opened.verify()
      #expect(opened.memberCount == 5)
      #expect(try (opened.postprocessing() ?? Postprocessing()) == all.search.postprocessing)
      #expect(opened.metadata["provenance"]?.contains("ensemble") == true)
      try refusals(runs, folder, data)
    }
  }

  private func refusals(_ runs: [String], _ folder: String, _ data: TrainingDataset) throws {
    func message(_ runs: [String]) -> String { failure { _ = try CrossValidation.run(runs, to: folder + "/x", context: context) } }
    #expect(message([]).contains("no run is given"))
    #expect(message([runs[0], runs[0]]).contains("expected each fold once"))
    #expect(message(Array(runs.prefix(4))).contains("no run has validated it"))
    #expect(message([folder]).contains("have not been validated"))
    #expect(FileKind.of(folder + "/x") == .missing)
    var partial = CrossValidation.Options()
    partial.allowsMissing = true
    func target(_ output: String) -> String {
      failure { _ = try CrossValidation.run([runs[0]], to: output, options: partial, context: context) }
    }
    // Into a run, however it is spelled: nothing of it changes.
    let summary = try InputFile.contents(runs[0] + "/validation/summary.json")
    for output in [runs[0], runs[0] + "/", runs[0] + "/../run0", runs[0] + "/validation", runs[1]] {
      #expect(target(output).contains("of a run"), "\(output)")
    }
    #expect(try InputFile.contents(runs[0] + "/validation/summary.json") == summary)
    #expect(FileKind.of(runs[0] + "/summary.json") == .missing)
    // A folder that is used again loses the label maps of folds that are no longer in it.
    #expect(target(folder + "/cv").isEmpty)
    for place in ["/cv", "/cv/postprocessed"] {
      #expect(try folderEntries(folder + place).filter { $0.hasSuffix(".nii") }.count == 1)
    }
    try AtomicFile.write([1], to: folder + "/cv/stranger.nii")
    #expect(target(folder + "/cv").contains("cv/stranger.nii, no case of"))
    #expect(
      try CrossValidation.run(Array(runs.prefix(2)), to: folder + "/x", options: partial, context: context).evaluation.cases.count == 2)

    var options = FoldValidation.Options()
    func validation() -> String { failure { _ = try FoldValidation.run(runs[0], dataset: data, options: options, context: context) } }
    options.raw = folder + "/nowhere"
    #expect(validation().contains("nowhere: no such folder"))
    options.raw = nil
    #expect(failure { _ = try FoldValidation.run(folder, dataset: data, context: context) }.contains("no settings.json"))
    let memory = try TrainingDataset(like: Model.open(runs[0] + "/model_final.safetensors", context: context))
    #expect(failure { _ = try FoldValidation.run(runs[0], dataset: memory, context: context) }.hasPrefix("state"))
  }

  /// Of two prepared configurations a run keeps its own: the other one is refused before anything is written.
  @Test func otherConfiguration() throws {
    try withTemporaryFolder { folder in
      let data = try prepare(folder, configurations: ["2d", "2d_32"])
      let prepared = try #require(data.folder).folder
      #expect(failure { _ = try TrainingDataset(prepared, context: context) }.contains("configuration is not named"))
      let run = folder + "/run"
      _ = try train(data, fold: 0, run)
      let latest = run + "/checkpoint_latest.safetensors"
      #expect(try FoldValidation.configuration(of: run) == "2d_32" && Trainer.configuration(ofCheckpoint: latest) == "2d_32")
      #expect(failure { _ = try FoldValidation.configuration(of: folder) }.contains("no settings.json"))
      let other = try TrainingDataset(prepared, configuration: "2d", context: context)
      let words = "has the configuration \"2d_32\", the dataset \"2d\""
      #expect(failure { _ = try FoldValidation.run(run, dataset: other, context: context) }.contains(words))
      #expect(FileKind.of(run + "/validation") == .missing)
      #expect(failure { _ = try Trainer.resume(latest, dataset: other, context: context) }.contains(words))
    }
  }

  /// All channels in one file, which planning reads too, are no missing files.
  @Test func channelsInOneFile() throws {
    try withTemporaryFolder { folder in
      var phantom = PhantomOptions.fixed(matrix: 28, slices: 3, spacing: 13, sliceSpacing: 50, seed: 3)
      (phantom.cases, phantom.testCases, phantom.labelCount, phantom.missingChance, phantom.fileEnding) = (5, 0, 2, 0, ".nii")
      let raw = try Phantom.writeDataset(to: folder + "/raw", options: phantom, in: context.budget)
      for name in try folderEntries(raw + "/imagesTr") {
        let image = try NIfTI.read(raw + "/imagesTr/" + name, in: context.budget)
        let both = try Volume(allocating: .float32, channels: 2, geometry: image.geometry, in: context.budget)
        let (out, d) = (both.mutableBase.assumingMemoryBound(to: Float.self), image.geometry.dims)
        for index in 0..<image.geometry.voxelCount {
          let value = Float(image.value(index % d[0], index / d[0] % d[1], index / (d[0] * d[1])))
          (out[index], out[image.geometry.voxelCount + index]) = (value, 40 - value / 2)
        }
        try NIfTI.write(both, to: raw + "/imagesTr/" + name)
      }
      let path = raw + "/dataset.json"
      var object = try JSON.parse(InputFile.contents(path), source: path).objectValue ?? JSONObject()
      object["channel_names"] = .object(("0", .string("CT")), ("1", .string("T1")))
      try AtomicFile.write(Array(JSON.object(object).text().utf8), to: path)
      var options = DatasetPreparation.Options()
      (options.upscale, options.samples, options.jobs) = (32, 50_000, 1)
      let report = try DatasetPreparation.run(raw, to: folder + "/pre", options: options, context: context)
      #expect(report.problems.isEmpty, "\(report.problems)")
      let data = try TrainingDataset(report.folder, context: context)
      var encoder = TinyModel.encoder.objectValue ?? JSONObject()
      encoder["in_chans"] = .integer(2)
      let changes: [(String, JSON)] = [("encoder", .object(encoder)), ("taps", .integers([0, 1])), ("epochs", .integer(1))]
      let trainer = try Trainer.create(
        start: nil, dataset: data, settings: try TinyTraining.settings(changes, output: folder + "/run"), context: context)
      try trainer.run()
      #expect(failure { try FoldValidation.check(data, fold: .number(0)) }.isEmpty)
      let found = try trainer.validateVolumes(data)
      #expect(found.evaluation.cases.count == 1)
      let written = try NIfTI.read("\(folder)/run/validation/\(found.evaluation.cases[0].name)", in: context.budget)
      #expect(written.channels == 1 && written.geometry.dims == [28, 28, 3])
    }
  }

  /// Without validation batches there is no best model: the final one is validated, unless the best is asked for.
  @Test func finalModel() throws {
    try withTemporaryFolder { folder in
      let data = try prepare(folder)
      let trainer = try train(data, fold: 0, folder + "/run", validates: false)
      var options = FoldValidation.Options()
      options.measuresSurfaces = false
      #expect(try trainer.validateVolumes(data, options: options).model == "model_final.safetensors")
      options.choice = .best
      #expect(failure { _ = try trainer.validateVolumes(data, options: options) }.contains("no model_best.safetensors"))
      let alone = try Trainer.create(
        start: Model.open(folder + "/run/model_final.safetensors", context: context), dataset: data,
        settings: try TinyTraining.settings(), context: context)
      #expect(failure { _ = try alone.validateVolumes(data) }.contains("no folder"))
      let cancelled = RunControl { _, stage in stage != "evaluate" && stage != "overlap" }
      options.choice = nil
      #expect(failure { _ = try trainer.validateVolumes(data, options: options, control: cancelled) }.hasPrefix("cancelled"))
      #expect(failure { try FoldValidation.check(data, fold: .number(0)) }.isEmpty)
      let prepared = try #require(data.folder)
      try AtomicFile.write(Array("{}".utf8), to: prepared.folder + "/raw_dataset.json")
      #expect(failure { try FoldValidation.check(data, fold: .number(0)) }.contains("folder is missing"))
    }
  }
}
