import ArgumentParser
import MedDINO
import Platform
import Segmentation
import WeightFiles

struct CrossvalCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "crossval", abstract: "Evaluate the runs of all folds together, find their postprocessing, make one model of them.",
    discussion: """
      RUNS are folders that `meddino finetune` left, one per fold, with whole volumes validated. Into --output go the label maps of \
      all cases, summary.json, metrics.csv, postprocessing.json and the folder postprocessed. --ensemble writes the models that \
      were validated as one file, which carries the postprocessing for `meddino segment --postprocess`.
      """)

  @Argument(help: "Folders of the folds' runs.", completion: .directory) var runs: [String]
  @Option(name: [.short, .long], help: ArgumentHelp("Folder to write into.", valueName: "folder"), completion: .directory)
  var output: String
  @Option(
    help: ArgumentHelp("Model file to write, .safetensors: the folds' models as one ensemble.", valueName: "file"), completion: .file())
  var ensemble: String?
  @Option(help: "f32, or bf16 for half the size of the ensemble.", completion: .list(["f32", "bf16"])) var precision: String?
  @Option(help: ArgumentHelp("Prepared dataset; where the runs found it by default.", valueName: "folder"), completion: .directory)
  var dataset: String?
  @Flag(help: "Leave out cases that no run has validated instead of refusing.") var partial = false
  @Flag(help: "Overlap only: no NSD and no HD95.") var noSurfaces = false
  @Flag(help: "Print the results as JSON.") var json = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      try checkOutputs([("--ensemble", ensemble, [".safetensors"])], inputs: [])
      guard ensemble != nil || precision == nil else {
        throw MedDINOError.invalid("--precision has an effect only together with --ensemble")
      }
      let stored = try parsePrecision(precision)
      let context = try common.context()
      let control = Terminal.control(quiet: common.quiet)
      var options = CrossValidation.Options()
      options.dataset = try dataset.map(FinetuneCommand.locate)
      options.allowsMissing = partial
      options.measuresSurfaces = !noSurfaces
      let found = try CrossValidation.run(runs, to: output, options: options, context: context, control: control)
      if let ensemble { try found.ensemble(context: context).save(to: ensemble, precision: stored, control: control) }
      Terminal.finishProgress()
      if json { printJSON(description(found)) } else { show(found) }
    }
  }

  private func description(_ found: CrossValidation) -> JSON {
    .object(
      ("output", .string(output)), ("folds", .array(found.folds.map(JSON.string))), ("cases", .integer(found.evaluation.cases.count)),
      ("nnunet", .object(JSONObject(found.evaluation.meansJSON))), ("meddinov3", found.evaluation.metricsJSON),
      ("postprocessing", found.search.json), ("ensemble", ensemble.map(JSON.string) ?? .null))
  }

  private func show(_ found: CrossValidation) {
    for (structure, means) in zip(found.evaluation.structures, found.evaluation.means) {
      print("\(structure.name): Dice \(decimal(means.dice, 4))")
    }
    for step in found.search.postprocessing.steps { print(step.text) }
    let (before, after) = (found.search.before.foregroundMean.dice, found.search.after.foregroundMean.dice)
    print(
      "\(found.evaluation.cases.count) cases of \(found.folds.count) folds: mean Dice \(decimal(before, 4)), postprocessed \(decimal(after, 4))"
    )
    if !common.quiet { print(ensemble.map { "\(output), \($0)" } ?? output) }
  }
}
