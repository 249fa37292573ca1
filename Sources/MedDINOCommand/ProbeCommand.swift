import ArgumentParser
import MedDINO
import Platform
import Probing
import Tensors
import WeightFiles

struct ProbeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "probe", abstract: "Compare backbones by what their frozen patch features say about labels.",
    discussion: """
      Slices with labels are divided into some to learn from and held-out ones; patch tokens become labels by the nearest neighbours \
      (cosine) and by a linear map (ridge regression). Printed is the mean Dice of both, with its deviation over the seeds. No weight of \
      the backbone changes. --data is a dataset folder of nnU-Net, a folder with images and labels of the same names, or two files as \
      image,labels. A third of the cases is held out; of one case, blocks of slices.
      """)
  @Argument(help: "Backbones or models, of any layout.", completion: .file()) var backbones: [String]
  @Option(help: ArgumentHelp("Labelled volumes in HU: NIfTI, NRRD or MetaImage.", valueName: "folder"), completion: .file()) var data:
    String
  @Option(help: ArgumentHelp("Label values, comma-separated; all that occur by default.", valueName: "list")) var labels: String?
  @Option(help: ArgumentHelp("Learn from so many slices; from all that are not held out by default.", valueName: "n")) var shots: Int?
  @Option(help: "Seed of the split and the shots.") var seed: UInt64 = 0
  @Option(help: ArgumentHelp("Repeat with so many seeds, counted up from --seed.", valueName: "n")) var seeds = 1
  @Option(help: ArgumentHelp("Pixels of a slice's longer side; its own by default.", valueName: "n")) var size: Int?
  @Option(help: ArgumentHelp("Labelled slices in all, taken evenly.", valueName: "n")) var maxSlices = 96
  @Option(help: "Neighbours that vote.") var neighbours = 20
  @Option(help: "f32 or bf16.", completion: .list(["f32", "bf16"])) var precision: String?
  @Flag(help: "First a row of random weights in the first backbone's architecture, others for each seed.") var random = false
  @Flag(help: "As JSON.") var json = false
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var common: CommonOptions

  /// One backbone's results, seed by seed.
  private struct Row {
    let name: String
    var results: [ProbeResult]

    func dice(_ scores: KeyPath<ProbeResult, ProbeResult.Scores>) -> (mean: Double, deviation: Double) {
      let values = results.map { $0[keyPath: scores].mean }
      let mean = values.reduce(0, +) / Double(values.count)
      let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
      return (mean, values.count > 1 ? (squares / Double(values.count - 1)).squareRoot() : 0)
    }
  }

  func run() throws {
    try perform {
      guard (1...1000).contains(seeds) else { throw MedDINOError.invalid("--seeds is \(seeds), expected 1 to 1000") }
      if let size, !(1...8192).contains(size) { throw MedDINOError.invalid("--size is \(size), expected 1 to 8192") }
      guard !backbones.isEmpty else { throw MedDINOError.invalid("no backbone, expected at least one") }
      let context = try common.context()
      let control = Terminal.control(quiet: common.quiet)
      let models = try backbones.map { try Model.open($0, options: try opening.options(), context: context) }
      let chosen = try labels.map { try integers($0, "--labels") } ?? []
      let slices = try ProbeData.read(data, labels: chosen, maximum: maxSlices, in: context.budget, control: control)
      let rows = try probe(models, slices, context, control)
      Terminal.finishProgress()
      if json { printJSON(report(rows, slices)) } else { show(rows, slices) }
    }
  }

  private func probe(_ models: [Model], _ slices: LabelledSlices, _ context: Context, _ control: RunControl) throws -> [Row] {
    let all = (0..<UInt64(seeds)).map { seed &+ $0 }
    let precision = try parsePrecision(precision)
    var rows: [Row] = []
    let parts = Double(models.count + (random ? seeds : 0))
    var done = 0.0
    func features(_ model: Model) throws -> SegmentationProbe {
      try control.begin("features", from: done / parts, to: (done + 1) / parts)
      done += 1
      return try SegmentationProbe(
        slices, encoder: ModelEncoder(model, precision: precision), longestSide: size, device: context.device, control: control)
    }
    if random, let first = models.first {
      var row = Row(name: "random weights", results: [])
      for seed in all { row.results.append(try features(first.withRandomEncoder(seed: seed)).run(options(seed), control: control)) }
      rows.append(row)
    }
    for (model, name) in zip(models, backbones) {
      let probe = try features(model)
      rows.append(Row(name: name, results: try all.map { try probe.run(options($0), control: control) }))
    }
    return rows
  }

  private func options(_ seed: UInt64) -> ProbeOptions {
    var options = ProbeOptions()
    (options.neighbours, options.shots, options.seed) = (neighbours, shots, seed)
    return options
  }

  private func show(_ rows: [Row], _ slices: LabelledSlices) {
    guard let first = rows.first?.results.first else { return }
    let width = (rows.map(\.name.count) + [8]).max() ?? 8
    print("backbone".padded(width + 2) + "k-NN Dice".padded(18) + "linear Dice")
    for row in rows {
      func text(_ scores: KeyPath<ProbeResult, ProbeResult.Scores>) -> String {
        let found = row.dice(scores)
        return decimal(found.mean, 4) + (seeds > 1 ? " ± " + decimal(found.deviation, 4) : "")
      }
      print(row.name.padded(width + 2) + text(\.neighbours).padded(18) + text(\.linear))
    }
    if !common.quiet {
      note(
        "\(slices.labels.count) labels, \(slices.slices.count) slices: \(first.trainingSlices) to learn from, \(first.heldOutSlices) held out, "
          + "\(seeds) seed\(seeds == 1 ? "" : "s")")
    }
  }

  private func report(_ rows: [Row], _ slices: LabelledSlices) -> JSON {
    func scores(_ scores: ProbeResult.Scores) -> JSON {
      .object(
        ("mean_dice", .number(scores.mean)),
        ("dice_per_label", .object(JSONObject(zip(slices.labels, scores.dice).map { ($0, JSON.number($1)) }))))
    }
    let backbones = rows.map { row -> JSON in
      let (near, linear) = (row.dice(\.neighbours), row.dice(\.linear))
      let seeds = row.results.enumerated().map { index, result in
        JSON.object(
          ("seed", .string(String(seed &+ UInt64(index)))), ("knn", scores(result.neighbours)), ("linear", scores(result.linear)),
          ("training_slices", .integer(result.trainingSlices)), ("held_out_slices", .integer(result.heldOutSlices)),
          ("training_patches", .integer(result.trainingPatches)))
      }
      return .object(
        ("backbone", .string(row.name)), ("knn_dice", .number(near.mean)), ("knn_dice_std", .number(near.deviation)),
        ("linear_dice", .number(linear.mean)), ("linear_dice_std", .number(linear.deviation)), ("seeds", .array(seeds)))
    }
    return .object(
      ("labels", .array(slices.labels.map(JSON.string))), ("slices", .integer(slices.slices.count)), ("backbones", .array(backbones)))
  }
}
