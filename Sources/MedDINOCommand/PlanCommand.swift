import ArgumentParser
import FineTuning
import MedDINO
import Platform
import WeightFiles

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Check a dataset, plan its training and preprocess it.",
    discussion: """
      DATASET is a folder in nnU-Net's raw layout, or a number or name looked up in the folder that nnUNet_raw names. Into \
      PREPROCESSED/<dataset> go fingerprint, plans, splits, labels and one preprocessed file per case. A run that was stopped goes on \
      where it was, and what is still valid is kept.
      """)

  @Argument(help: "Dataset folder, or its number or name under nnUNet_raw.", completion: .directory) var dataset: String
  @Option(
    name: [.short, .long],
    help: ArgumentHelp("Folder of preprocessed datasets; nnUNet_preprocessed by default.", valueName: "folder"), completion: .directory)
  var output: String?
  @Option(help: ArgumentHelp("Also plan 2d_<n>: patches of n × n pixels, a multiple of 16, as 896 or 640.", valueName: "n"))
  var upscale: Int?
  @Option(
    help: ArgumentHelp("Configuration to preprocess, repeatable; the upscaled one by default, else 2d.", valueName: "name"))
  var configuration: [String] = []
  @Option(help: ArgumentHelp("GPU memory that nnU-Net's batch size rule aims at.", valueName: "GB")) var gpuMemoryTarget = 8.0
  @Flag(help: "Stop after the plans and splits.") var noPreprocess = false
  @Flag(help: "Only check the dataset; nothing is written.") var verifyOnly = false
  @Option(help: ArgumentHelp("Cases in memory at once; 0 chooses by threads and memory.", valueName: "n")) var jobs = 0
  @Flag(help: "Print the outcome as JSON.") var json = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      let start = monotonicSeconds()
      let context = try common.context()
      let others = ["nnUNet_preprocessed", "nnUNet_results"].compactMap(environment)
      let folder = try DatasetPreparation.locate(dataset, in: environment("nnUNet_raw"), named: "nnUNet_raw", others: others)
      guard let target = output ?? environment("nnUNet_preprocessed") ?? (verifyOnly ? "" : nil) else {
        throw ValidationError(
          "Missing expected argument '--output <folder>', and nnUNet_preprocessed is not set: the folder of preprocessed datasets.")
      }
      let report = try DatasetPreparation.run(
        folder, to: target, options: options(), context: context, control: Terminal.control(quiet: common.quiet))
      Terminal.finishProgress()
      if json {
        printJSON(Self.json(report, seconds: monotonicSeconds() - start))
      } else if !common.quiet {
        for warning in report.warnings { note("warning: \(warning)") }
      }
      guard report.problems.isEmpty else {
        if !json { for problem in report.problems.prefix(50) { note("problem: \(problem)") } }
        let more = report.problems.count > 50 && !json ? " (the first 50 are shown)" : ""
        let count = report.problems.count == 1 ? "1 problem" : "\(report.problems.count) problems"
        throw MedDINOError.format("\(folder): \(count)\(more), nothing was written")
      }
      if !json { summary(report, folder, seconds: monotonicSeconds() - start) }
    }
  }

  private func options() -> DatasetPreparation.Options {
    var options = DatasetPreparation.Options()
    options.upscale = upscale
    options.configurations = configuration
    options.gpuGigabytes = gpuMemoryTarget
    options.preprocess = !noPreprocess
    options.verifyOnly = verifyOnly
    options.jobs = jobs
    return options
  }

  private func summary(_ report: DatasetPreparation.Report, _ folder: String, seconds: Double) {
    if verifyOnly { return print("\(folder): \(report.cases) cases, no problems") }
    if common.quiet { return }
    for (name, result) in report.preprocessed {
      print("\(name): \(result.made) cases preprocessed\(result.kept > 0 ? ", \(result.kept) already there" : "")")
    }
    print("\(report.folder): \(report.cases) cases, configurations \(report.configurations.joined(separator: ", "))")
    print("in \(Terminal.duration(seconds))")
  }

  private static func json(_ report: DatasetPreparation.Report, seconds: Double) -> JSON {
    .object(
      ("folder", .string(report.folder)), ("cases", .integer(report.cases)), ("seconds", .number(seconds)),
      (
        "problems",
        .array(
          report.problems.map { problem in
            .object(
              ("kind", .string(problem.kind.rawValue)), ("case", problem.identifier.map(JSON.string) ?? .null),
              ("message", .string(problem.message)))
          })
      ), ("warnings", .array(report.warnings.map(JSON.string))),
      ("configurations", .array(report.configurations.map(JSON.string))),
      (
        "preprocessed",
        .array(
          report.preprocessed.map { entry in
            .object(
              ("configuration", .string(entry.configuration)), ("made", .integer(entry.result.made)),
              ("kept", .integer(entry.result.kept)))
          })
      ))
  }
}
