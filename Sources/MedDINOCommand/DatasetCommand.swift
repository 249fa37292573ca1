import ArgumentParser
import Datasets
import MedDINO
import Platform
import WeightFiles

struct DatasetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dataset", abstract: "Turn a benchmark of the MedDINOv3 paper, as it was published, into an nnU-Net dataset.",
    discussion: """
      SOURCE is the folder that the published archive unpacks to: AMOS22 with dataset.json, imagesTr, imagesVa, …; BTCV with \
      Training/img and Training/label (or imagesTr and labelsTr); KiTS23 with dataset/case_00000; LiTS with volume-0.nii and \
      segmentation-0.nii (or MSD Task03_Liver). The dataset folder is made in DEST, with labels, reader and a note on which cases \
      CT-3M contains. An interrupted run goes on where it stopped.
      """)
  @Argument(help: "amos22, btcv, kits23 or lits.", completion: .list(["amos22", "btcv", "kits23", "lits"])) var benchmark: String
  @Argument(help: "Folder as published.", completion: .directory) var source: String
  @Argument(help: ArgumentHelp("Folder the dataset folder is made in.", valueName: "dest"), completion: .directory) var destination: String
  @Flag(help: "Hard links instead of copies; .nii files are compressed all the same.") var link = false
  @Flag(help: "LiTS: the liver with its tumours as a region instead of plain labels.") var regions = false
  @Flag(help: "AMOS22: train on its training list and validate on its validation list, as the only split.") var publishedSplit = false
  @Option(
    help: ArgumentHelp("A splits_final.json to use instead of the folds that training makes.", valueName: "file"), completion: .file())
  var splits: String?
  @Flag(help: "Print what was done as JSON.") var json = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      guard let benchmark = Benchmark(rawValue: benchmark) else {
        throw MedDINOError.invalid("dataset is \"\(benchmark)\", expected \(Benchmark.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      var options = BenchmarkOptions()
      options.link = link
      options.regions = regions
      options.publishedSplit = publishedSplit
      options.splits = splits
      let done = try benchmark.convert(
        from: source, to: destination, options: options, control: Terminal.control(quiet: common.quiet))
      Terminal.finishProgress()
      if done.trainingCases != benchmark.publishedCases, !common.quiet {
        note("note: \(done.trainingCases) labelled cases; \(benchmark.title) was published with \(benchmark.publishedCases)")
      }
      if done.keptSplits, !common.quiet {
        note("note: \(done.folder)/splits_final.json was there before and stays; training validates by it")
      }
      if json { return print(report(done)) }
      if !common.quiet { print(text(done)) }
    }
  }

  private func report(_ done: BenchmarkSummary) -> String {
    JSON.object(
      ("dataset", .string(done.folder)), ("training_cases", .integer(done.trainingCases)), ("test_cases", .integer(done.testCases)),
      ("left_out", .integer(done.leftOut)), ("copied", .integer(done.copied)), ("linked", .integer(done.linked)),
      ("compressed", .integer(done.compressed)), ("kept", .integer(done.kept))
    ).text()
  }

  private func text(_ done: BenchmarkSummary) -> String {
    let counts = [("copied", done.copied), ("linked", done.linked), ("compressed", done.compressed), ("kept from before", done.kept)]
    let files = counts.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
    let others = done.leftOut > 0 ? ", \(done.leftOut) MR volumes left out" : ""
    return """
      \(done.folder): \(done.trainingCases) training and \(done.testCases) test cases\(others); files: \(files)
      \(done.folder)/leak-note.md says which of them CT-3M contains
      """
  }
}
