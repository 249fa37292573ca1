import ArgumentParser
import Imaging
import MedDINO
import Platform
import Segmentation
import Tensors

struct EnsembleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ensemble", abstract: "Average probability maps of different models into one label map.",
    discussion: "Folds of one model are better averaged by \"convert\", which needs no probability maps.")
  @Argument(help: "Probability maps, as segment --probabilities writes them.", completion: .file()) var maps: [String]
  @Option(name: [.short, .long], help: "Label map to write, \(VolumeFile.endingsInWords).", completion: .file()) var output: String
  @Option(help: ArgumentHelp("Labels or regions of the maps' channels.", valueName: "dataset.json"), completion: .file()) var labels: String
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      try checkOutputs([("--output", output, VolumeFile.endings)], inputs: maps)
      let context = try common.context()
      let scheme = try LabelScheme(DatasetDescription.parse(InputFile.contents(labels), source: labels))
      let control = Terminal.control(quiet: common.quiet)
      var volumes: [Volume] = []
      for path in maps { volumes.append(try VolumeFile.read(path, in: context.budget, control: control)) }
      guard let first = volumes.first else { throw MedDINOError.invalid("no probability map given") }
      let result = try Volume(
        allocating: scheme.largestOutput > 255 ? .uint16 : .uint8, geometry: first.geometry, in: context.budget, "labels")
      try ProbabilityEnsemble.decode(volumes, scheme: scheme, into: result, pool: context.pool, in: context.budget, control: control)
      try VolumeFile.write(result, to: output, control: control)
      Terminal.finishProgress()
      if !common.quiet { print(output) }
    }
  }
}
