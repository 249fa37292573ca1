import Imaging
import Platform
import Segmentation
import Tensors
import TestSupport
import Testing
import WeightFiles

@testable import MedDINO

struct EvaluationTests {
  let context: Context
  init() throws { context = try Context(threads: 2) }

  /// A row of voxels, 1 mm apart, as a file.
  private func write(_ labels: [UInt8], to path: String, spacing: Double = 1) throws {
    let volume = try Volume(
      allocating: .uint8, geometry: Geometry(dims: [labels.count, 1, 1], spacing: [spacing, 1, 1]), in: context.budget)
    volume.mutableBase.copyMemory(from: labels, byteCount: labels.count)
    try NIfTI.write(volume, to: path)
  }

  /// Folders "ref" and "pred" with the given cases.
  private func withCases<T>(_ cases: [(String, reference: [UInt8]?, prediction: [UInt8]?)], _ body: (String) throws -> T) throws -> T {
    try withTemporaryFolder { folder in
      try makeFolder(folder + "/ref")
      try makeFolder(folder + "/pred")
      for (name, reference, prediction) in cases {
        if let reference { try write(reference, to: "\(folder)/ref/\(name).nii.gz") }
        if let prediction { try write(prediction, to: "\(folder)/pred/\(name).nii.gz") }
      }
      return try body(folder)
    }
  }

  private func message(_ body: () throws(MedDINOError) -> Void) -> String {
    do throws(MedDINOError) {
      try body()
      return ""
    } catch { return error.message }
  }

  @Test func bothRulesForEmptyMasks() throws {
    let cases: [(String, reference: [UInt8]?, prediction: [UInt8]?)] = [
      ("a", [1, 1, 0, 0, 2, 0], [1, 1, 0, 0, 0, 0]), ("b", [0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
      ("c", [0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0]),
    ]
    try withCases(cases) { folder in
      let pairs = try CasePair.find(predictions: [folder + "/pred"], reference: folder + "/ref")
      let results = try [1, 2, 3].map { try Evaluation.run(pairs, jobs: $0, context: context) }
      let found = results[0]
      #expect(found.structures.map(\.description) == ["1", "2"] && found.classes == [1, 2])
      // nnU-Net: a false alarm counts 0. MedDINOv3: case b does not count for label 1.
      #expect(found.means.map(\.dice) == [0.5, 0] && found.foregroundMean.dice == 0.25)
      let lines = found.metricsCSV.split(separator: "\n").map(String.init)
      #expect(lines[0] == "filename,dice_class1,hd95_class1,nsd_class1,dice_class2,hd95_class2,nsd_class2")
      #expect(lines[1] == "a.nii.gz,1.0,0.0,1.0,0.0,,0.0" && lines[2] == "b.nii.gz,,,,,,")
      #expect(lines[3] == "c.nii.gz,0.5,0.9500000000000002,1.0,,," || lines[3].hasPrefix("c.nii.gz,0.5,0.95"))
      #expect(lines[4].hasPrefix("mean,0.75,") && lines[5].hasPrefix("std,0.3535533905932738,"))
      for other in results.dropFirst() { #expect(other.metricsCSV == found.metricsCSV && other.summary.text() == found.summary.text()) }
      let average = found.metricsJSON["classwise_average"]?["dice"]
      #expect(average?["mean"]?.doubleValue == 0.375 && average?["std"]?.doubleValue == 0.3535533905932738)
    }
  }

  @Test func meansAreNaNWhereNothingIsAndTheForegroundMeanWithThem() throws {
    try withCases([("a", [0, 0, 1], [0, 1, 1])]) { folder in
      var options = EvaluationOptions()
      options.structures = [.init(name: "x", values: [1], isList: false), .init(name: "y", values: [7], isList: true)]
      let found = try Evaluation.run(
        try CasePair.find(predictions: [folder + "/pred"], reference: folder + "/ref"), options: options, context: context)
      #expect(found.means[1].dice.isNaN && found.foregroundMean.dice.isNaN && found.foregroundMean.iou.isNaN)
      let text = found.summary.text(indent: 4)
      #expect(text.contains("\"(7,)\": {\n                    \"Dice\": NaN,\n                    \"FN\": 0,"))
      #expect(text.hasPrefix("{\n    \"foreground_mean\": {\n        \"Dice\": NaN,\n        \"FN\": 0.0,"))
    }
  }

  @Test func casesAreNamedInErrors() throws {
    let cases: [(String, reference: [UInt8]?, prediction: [UInt8]?)] = [
      ("good", [0, 1, 1], [0, 1, 1]), ("short", [0, 1, 1], [0, 1]), ("lonely", nil, [1, 1, 1]), ("unseen", [1, 1, 1], nil),
    ]
    try withCases(cases) { folder in
      let (pred, ref) = (folder + "/pred", folder + "/ref")
      #expect(message { () throws(MedDINOError) in _ = try CasePair.find(predictions: [pred], reference: ref) }.contains("lonely"))
      #expect(message { () throws(MedDINOError) in _ = try CasePair.find(predictions: [ref], reference: pred) }.contains("unseen"))
      #expect(message { () throws(MedDINOError) in _ = try CasePair.find(predictions: [ref + "/../none"], reference: ref) } != "")
      #expect(
        message { () throws(MedDINOError) in _ = try CasePair.find(predictions: [ref, ref], reference: ref) }.contains("good.nii.gz is in"))
      let pairs = ["good", "short"].map { CasePair(prediction: "\(pred)/\($0).nii.gz", reference: "\(ref)/\($0).nii.gz") }
      for jobs in [1, 2] {
        #expect(
          message { () throws(MedDINOError) in _ = try Evaluation.run(pairs, jobs: jobs, context: context) }
            .hasPrefix("case short.nii.gz: the prediction has dims [2, 1, 1], the reference [3, 1, 1]"))
      }
      var options = EvaluationOptions()
      options.knownLabels = [0, 2]
      #expect(
        message { () throws(MedDINOError) in _ = try Evaluation.run([pairs[0]], options: options, context: context) }
          .hasPrefix("case good.nii.gz: the reference holds the unknown label [1]"))
    }
  }

  @Test func aStopIsHonouredWhateverTheJobs() throws {
    let cases = (0..<6).map { ("c\($0)", reference: [0, 1, 1, 2] as [UInt8]?, prediction: [1, 1, 0, 2] as [UInt8]?) }
    try withCases(cases) { folder in
      let pairs = try CasePair.find(predictions: [folder + "/pred"], reference: folder + "/ref")
      for jobs in [1, 3] {
        for limit in [0, 1, 5, 12] {
          var calls = 0
          let control = RunControl { _, _ in
            calls += 1
            return calls <= limit
          }
          do throws(MedDINOError) {
            _ = try Evaluation.run(pairs, jobs: jobs, context: context, control: control)
            Issue.record("not stopped after \(limit) reports")
          } catch { #expect(error.kind == .cancelled) }
        }
      }
    }
  }

  @Test func sumsAreNumpys() {
    // What numpy.sum gives: the last bits depend on the order.
    for (count, sum) in [(7, 2.8), (8, 3.6), (20, 21.0), (129, 838.4999999999999), (1000, 50050.0)] {
      #expect(PairwiseSum.sum((1...count).map { Double($0) / 10 }[...]) == sum)
    }
    #expect(PairwiseSum.sum([1e16, 1, 1, 1, 1, 1, 1, -1e16, 1, 1][...]) == 6)
    #expect(PairwiseSum.meanWithoutNaN([1, .nan, 3]) == 2 && PairwiseSum.meanWithoutNaN([.nan]).isNaN && PairwiseSum.mean([]).isNaN)
    #expect(Evaluation.Statistics([2]).deviation.isNaN && Evaluation.Statistics([]).mean.isNaN)
  }

  @Test func foldsAreGatheredAndSearchedJointly() throws {
    // Label 1 has a stray voxel in every prediction; label 2 needs both of its parts.
    let reference: [UInt8] = [1, 1, 1, 0, 0, 2, 0, 2, 2]
    let prediction: [UInt8] = [1, 1, 1, 0, 1, 2, 0, 2, 2]
    try withCases([("a", reference, prediction), ("b", reference, prediction)]) { folder in
      try makeFolder(folder + "/fold_1")
      try write(prediction, to: folder + "/fold_1/c.nii.gz")
      try write(reference, to: folder + "/ref/c.nii.gz")
      let pairs = try CasePair.find(predictions: [folder + "/pred", folder + "/fold_1"], reference: folder + "/ref")
      #expect(pairs.map(\.name) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"])
      let gathered = try CasePair.gather(pairs, into: folder + "/crossval")
      #expect(try CasePair.find(predictions: [folder + "/crossval"], reference: folder + "/ref") == gathered)
      var options = EvaluationOptions()
      options.structures = [.init(name: "one", values: [1], isList: false), .init(name: "two", values: [2], isList: false)]
      let search = try PostprocessingSearch.run(gathered, options: options, output: folder + "/crossval", context: context)
      #expect(search.postprocessing.steps == [.init(values: [1], isList: false)])
      #expect(search.before.means.map(\.dice) == [6.0 / 7, 1] && search.after.means.map(\.dice) == [1, 1])
      let changed = try NIfTI.read(folder + "/crossval/postprocessed/c.nii.gz", in: context.budget)
      #expect((0..<9).map { changed.value($0, 0, 0) } == reference.map(Double.init))
      #expect(FileKind.of(folder + "/crossval/postprocessing.json") == .regular)
    }
  }

  @Test func aModelCarriesItsPostprocessing() throws {
    let model = try TinyModel.segmenter(context)
    let steps = Postprocessing(steps: [.init(values: [1, 2], isList: true)])
    let carrying = try model.carrying(steps)
    #expect(try carrying.postprocessing() == steps && model.postprocessing() == nil)
    try withTemporaryFolder { folder in
      try carrying.save(to: folder + "/m.safetensors")
      #expect(try Model.open(folder + "/m.safetensors", context: context).postprocessing() == steps)
    }
    #expect(throws: MedDINOError.self) { try model.carrying(Postprocessing(steps: [.init(values: [9], isList: false)])) }
    let volume = try testVolume([40, 36, 4], in: context.budget)
    func labels(_ model: Model, _ options: RunOptions) throws(MedDINOError) -> (Volume, SegmentationReport) {
      let labels = try Volume(allocating: .uint8, geometry: volume.geometry, in: context.budget)
      return (labels, try model.segment([volume], labels: labels, options: options))
    }
    var options = RunOptions()
    let (plain, before) = try labels(carrying, options)
    options.appliesPostprocessing = true
    let (cleaned, after) = try labels(carrying, options)
    let removed = try steps.apply(to: plain, pool: context.pool, in: context.budget)
    let difference = try LabelPairs(reference: plain, prediction: cleaned, pool: context.pool, in: context.budget)
    #expect(difference.entries.allSatisfy { $0.reference == $0.prediction })
    #expect(before.labels.reduce(0) { $0 + $1.voxels } - after.labels.reduce(0) { $0 + $1.voxels } == removed)
    let counted = try LabelStatistics.of(cleaned)
    for label in after.labels {
      let found = counted.first { $0.label == label.value }
      #expect(label.voxels == found?.voxels ?? 0 && label.touchesBorder == found?.touchesBorder ?? false)
      #expect(abs(label.millilitres - (found?.millilitres ?? 0)) < 1e-9)
    }
    do throws(MedDINOError) {
      _ = try labels(model, options)
      Issue.record("a model without postprocessing applied one")
    } catch { #expect(error.kind == .state) }
    // A search that found nothing is a result too.
    try withTemporaryFolder { folder in
      try model.carrying(Postprocessing()).save(to: folder + "/m.safetensors")
      let empty = try Model.open(folder + "/m.safetensors", context: context)
      #expect(try empty.postprocessing() == Postprocessing())
      let (a, b) = (try labels(model, RunOptions()).0, try labels(empty, options).0)
      let same = try LabelPairs(reference: a, prediction: b, pool: context.pool, in: context.budget)
      #expect(same.entries.allSatisfy { $0.reference == $0.prediction })
    }
    options.segmentation.labelSubset = [1]
    do throws(MedDINOError) {
      _ = try labels(carrying, options)
      Issue.record("half a label map was postprocessed")
    } catch { #expect(error.kind == .invalid) }
  }
}
