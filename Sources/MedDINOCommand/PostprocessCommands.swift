import ArgumentParser
import Imaging
import MedDINO
import Platform
import Segmentation
import WeightFiles

struct PostprocessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "postprocess", abstract: "Keep only the largest component of labels where that helps.",
    subcommands: [DetermineCommand.self, ApplyCommand.self])
}

struct DetermineCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "determine", abstract: "Try on predictions with references which components to remove, as nnU-Net does.",
    discussion: "Writes postprocessing.json and the folder postprocessed into the output folder.")
  @Argument(help: "Folder of predicted label maps.", completion: .directory) var prediction: String
  @Argument(help: "Folder of references.", completion: .directory) var reference: String
  @Option(
    help: ArgumentHelp("Labels, regions, ignore label and file ending of the predictions' dataset.", valueName: "dataset.json"),
    completion: .file())
  var labels: String
  @OptionGroup var cases: CaseOptions
  @Option(name: [.short, .long], help: "Folder to write into; the predictions' own by default.", completion: .file()) var output: String?
  @Flag(help: "Print the result as JSON.") var json = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      guard cases.also.isEmpty || output != nil else {
        throw ValidationError("Missing expected argument '--output <output>': a folder, since --also is given.")
      }
      let context = try common.context()
      let (options, ending) = try CaseOptions.evaluation(labels, reference)
      let pairs = try cases.pairs(prediction, reference, ending)
      let folder = output ?? (FileKind.of(prediction) == .directory ? prediction : nil)
      guard let folder else {
        throw ValidationError("Missing expected argument '--output <output>': a folder, since the prediction is one file.")
      }
      let control = Terminal.control(quiet: common.quiet)
      let search = try PostprocessingSearch.run(pairs, options: options, output: folder, context: context, control: control)
      Terminal.finishProgress()
      if json { return printJSON(search.json) }
      for step in search.postprocessing.steps { print(step.text) }
      if search.postprocessing.steps.isEmpty { print("nothing helps") }
      let (before, after) = (search.before.foregroundMean.dice, search.after.foregroundMean.dice)
      print("mean Dice \(decimal(before, 4)) before, \(decimal(after, 4)) after")
      if !common.quiet { print("\(folder)/postprocessing.json") }
    }
  }
}

struct ApplyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apply", abstract: "Apply a postprocessing.json to label maps.")
  @Argument(help: "postprocessing.json, as determine or nnU-Net writes it.", completion: .file()) var postprocessing: String
  @Argument(help: "Label map, or a folder of them.", completion: .file()) var input: String
  @Option(name: [.short, .long], help: "Label map to write, or a folder.", completion: .file()) var output: String
  @Option(help: "Ending of the label maps of a folder; the one that its volumes have by default.") var ending: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      let steps = try Postprocessing.parse(InputFile.contents(postprocessing), source: postprocessing)
      let isFolder = FileKind.of(input) == .directory
      if !isFolder { try checkOutputs([("--output", output, VolumeFile.endings)], inputs: [input]) }
      guard !isFolder || output != input else { throw MedDINOError.invalid("--output is \"\(output)\", the folder of the input") }
      let context = try common.context()
      let count = try steps.apply(
        to: input, writingTo: output, ending: ending, context: context, control: Terminal.control(quiet: common.quiet))
      Terminal.finishProgress()
      if !common.quiet {
        print("\(output): \(count) label map\(count == 1 ? "" : "s"), \(steps.steps.count) step\(steps.steps.count == 1 ? "" : "s")")
      }
    }
  }
}

extension Postprocessing.Step {
  /// For people.
  var text: String { "largest component of \(values.map(String.init).joined(separator: ", "))" }
}
