import ArgumentParser
import Imaging
import MedDINO
import Platform
import Segmentation
import WeightFiles

struct EvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate", abstract: "Compare label maps with references: Dice, IoU, NSD, HD95.",
    discussion: """
      Folders are matched by file name. Volumes are compared voxel by voxel as they are stored.
      Dice and IoU follow nnU-Net's summary.json; NSD, HD95 and the CSV follow MedDINOv3, where cases without the label in the \
      reference do not count. The last line is the mean over all labels; it is undefined (–) when a label of --labels is in no case.
      """)

  @Argument(help: "Folder of predicted label maps, or one file.", completion: .file()) var prediction: String
  @Argument(help: "Folder of references, or one file.", completion: .file()) var reference: String
  @Option(
    help: ArgumentHelp(
      "Labels, regions, ignore label and file ending of a dataset; without it every value found counts.", valueName: "dataset.json"),
    completion: .file())
  var labels: String?
  @OptionGroup var cases: CaseOptions
  @Option(help: ArgumentHelp("Distance in mm up to which surfaces count as equal.", valueName: "mm")) var nsdTolerance = 1.0
  @Flag(help: "Overlap only: no NSD and no HD95.") var noSurfaces = false
  @Option(help: "nnU-Net's summary.json to write.", completion: .file()) var summary: String?
  @Option(help: "MedDINOv3's table to write, .csv.", completion: .file()) var csv: String?
  @Option(help: "Report to write: one .html file with tables, plots and pictures of the worst cases.", completion: .file())
  var report: String?
  @Option(help: "Images that the report shows under the contours: a folder, or one file.", completion: .file()) var images: String?
  @Option(help: "Cases with pictures in the report.") var worst = 4
  @Flag(help: "Print the results as JSON.") var json = false
  @Option(help: "Cases at work at once; each needs memory for its volumes.") var jobs = 1
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      let outputs = [("--summary", summary, [".json"]), ("--csv", csv, [".csv"]), ("--report", report, [".html"])]
      try checkOutputs(outputs, inputs: [prediction, reference])
      guard images == nil || report != nil else { throw MedDINOError.invalid("--images has an effect only together with --report") }
      guard (0...100).contains(worst) else { throw MedDINOError.invalid("--worst is \(worst), expected 0 to 100") }
      guard nsdTolerance.isFinite, nsdTolerance >= 0 else {
        throw MedDINOError.invalid("--nsd-tolerance is \(nsdTolerance), expected 0 or more mm")
      }
      guard (1...1024).contains(jobs) else { throw MedDINOError.invalid("--jobs is \(jobs), expected 1 to 1024") }
      let context = try common.context()
      var (options, ending) = try CaseOptions.evaluation(labels, reference)
      options.tolerance = nsdTolerance
      options.measuresSurfaces = !noSurfaces
      let pairs = try cases.pairs(prediction, reference, ending)
      let control = Terminal.control(quiet: common.quiet)
      let evaluation = try Evaluation.run(pairs, options: options, jobs: jobs, context: context, control: control)
      let values = evaluation.structures.flatMap(\.values)
      guard labels != nil || (values.count <= 1000 && values.allSatisfy { $0 >= 0 }) else {
        throw MedDINOError.invalid(
          "the volumes hold \(values.count) different values from \(values.min() ?? 0) to \(values.max() ?? 0), "
            + "expected label maps, not images (--labels says which values count)")
      }
      if let summary { try AtomicFile.write(Array(evaluation.summary.text(indent: 4).utf8), to: summary) }
      if let csv { try AtomicFile.write(Array(evaluation.metricsCSV.utf8), to: csv) }
      if let report {
        let writer = EvaluationReport(
          evaluation: evaluation, pairs: pairs, ending: ending, images: images, worst: worst,
          settings: [("Predictions", ([prediction] + cases.also).joined(separator: ", ")), ("References", reference)]
            + (labels.map { [("Labels", $0)] } ?? []))
        try writer.write(to: report, context: context, control: control)
      }
      Terminal.finishProgress()
      if json { printJSON(description(evaluation)) } else { printTable(evaluation) }
    }
  }

  private func description(_ evaluation: Evaluation) -> JSON {
    let rows = evaluation.structures.map { structure in
      let scores = evaluation.cases.map { evaluation.scores($0, structure) }
      var object = JSONObject([
        ("name", .string(structure.name)), ("values", .integers(structure.values)), ("dice", statistics(scores.map(\.dice))),
        ("iou", statistics(scores.map(\.iou))), ("dice_where_referenced", statistics(scores.map(\.diceWhereReferenced))),
      ])
      if evaluation.options.measuresSurfaces {
        object["nsd"] = statistics(scores.map(\.surfaces.surfaceDice))
        object["hd95"] = statistics(scores.map(\.surfaces.hausdorff95))
      }
      return JSON.object(object)
    }
    let warnings = evaluation.cases.flatMap { found in found.warnings.map { JSON.string("\(found.name): \($0)") } }
    return .object(
      ("cases", .integer(evaluation.cases.count)), ("nsd_tolerance_mm", .number(nsdTolerance)), ("structures", .array(rows)),
      ("nnunet", .object(JSONObject(evaluation.meansJSON))), ("meddinov3", evaluation.metricsJSON), ("warnings", .array(warnings)))
  }

  private func statistics(_ values: [Double]) -> JSON {
    let found = Evaluation.Statistics(values)
    return .object(("mean", .number(found.mean)), ("std", .number(found.deviation)), ("n", .integer(found.count)))
  }

  private func printTable(_ evaluation: Evaluation) {
    if !common.quiet { for found in evaluation.cases { for warning in found.warnings { note("warning: \(found.name): \(warning)") } } }
    let width = max(9, evaluation.structures.map(\.name.count).max() ?? 0)
    let surfaces = evaluation.options.measuresSurfaces
    print("structure".padded(width) + "    Dice     IoU" + (surfaces ? "     NSD    HD95 mm" : "") + "    cases")
    for (structure, means) in zip(evaluation.structures, evaluation.means) {
      let scores = evaluation.cases.map { evaluation.scores($0, structure) }
      var line = structure.name.padded(width) + "  " + number(means.dice, 4) + "  " + number(means.iou, 4)
      if surfaces {
        let nsd = Evaluation.Statistics(scores.map(\.surfaces.surfaceDice)).mean
        line += "  " + number(nsd, 4) + "  " + number(Evaluation.Statistics(scores.map(\.surfaces.hausdorff95)).mean, 2).leftPadded(9)
      }
      print(line + String(scores.filter { !$0.dice.isNaN }.count).leftPadded(9))
    }
    let mean = evaluation.foregroundMean
    print("mean".padded(width) + "  " + number(mean.dice, 4) + "  " + number(mean.iou, 4))
  }

  private func number(_ value: Double, _ digits: Int) -> String {
    decimal(value, digits).leftPadded(6)
  }
}

/// Which files belong together.
struct CaseOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("A further folder of predictions, evaluated jointly (cross-validation); may be repeated.", valueName: "folder"),
    completion: .directory)
  var also: [String] = []
  @Flag(help: "Leave out references without a prediction instead of refusing them.") var partial = false

  /// `labels`: a dataset.json that says what the values mean. `reference`: the folder whose files say the ending where no dataset does.
  static func evaluation(_ labels: String?, _ reference: String) throws -> (EvaluationOptions, ending: String) {
    guard let labels else {
      let ending = FileKind.of(reference) == .directory ? try VolumeFile.commonEnding(in: reference) : nil
      return (EvaluationOptions(), ending ?? ".nii.gz")
    }
    let dataset = try DatasetDescription.parse(InputFile.contents(labels), source: labels)
    return (try EvaluationOptions(dataset), dataset.fileEnding)
  }

  func pairs(_ prediction: String, _ reference: String, _ ending: String) throws -> [CasePair] {
    let kinds = (FileKind.of(prediction), FileKind.of(reference))
    for (path, kind) in [(prediction, kinds.0), (reference, kinds.1)] where kind == .missing {
      throw MedDINOError.io("\(path): no such file or folder")
    }
    guard (kinds.0 == .directory) == (kinds.1 == .directory) else {
      throw MedDINOError.invalid("\(prediction) and \(reference) are a folder and a file, expected two folders or two files")
    }
    if kinds.0 == .directory {
      return try CasePair.find(predictions: [prediction] + also, reference: reference, ending: ending, allowsMissing: partial)
    }
    guard also.isEmpty else { throw MedDINOError.invalid("--also is given, but \(prediction) is one file") }
    return [CasePair(prediction: prediction, reference: reference)]
  }
}
