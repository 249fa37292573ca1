import ArgumentParser
import MedDINO
import Platform
import Pretraining
import Tensors
import WeightFiles

struct PretrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pretrain", abstract: "Pretrain a backbone on CT slices without labels (DINOv3's three stages).",
    discussion: """
      SOURCES are a slice set that `meddino curate` made, read from disk; or files of volumes, or folders of them, whose axial slices are \
      held in memory. Into --output go settings.json, metrics.jsonl, \
      pretraining_<iteration>.safetensors, and under eval the teacher: backbone.safetensors for `meddino finetune --backbone`, \
      teacher_checkpoint.safetensors with its heads too. A run goes on from the newest checkpoint of its folder, also after Ctrl-C.
      A later stage starts from an earlier one with --previous: --preset ct-base, then ct-gram, then ct-highres.
      --config reads YAML or JSON with DINOv3's keys, {"optim": {"epochs": 10}}; --print-config writes all of them; options win over the \
      file. With --watch-every the teacher is looked at every so many iterations: effective rank and patch similarities go into \
      metrics.jsonl and progress.png, maps of fixed slices into watch, with --probe-data also the Dice of frozen features.
      """)

  @Argument(
    help: "A slice set; or CT volumes (NIfTI, NRRD, MetaImage), or folders of them. Not needed by --print-config.", completion: .file())
  var sources: [String] = []
  @Option(name: [.short, .long], help: ArgumentHelp("Folder of the run.", valueName: "folder"), completion: .directory) var output: String?
  @Option(
    help: "Settings to start from: \(PretrainingSettings.presetNames.joined(separator: ", ")).",
    completion: .list(PretrainingSettings.presetNames)) var preset = "ct-base"
  @Option(help: ArgumentHelp("YAML or JSON file of settings; options win over it.", valueName: "file"), completion: .file())
  var config: String?
  @Option(help: ArgumentHelp("Checkpoint or exported teacher of the stage before.", valueName: "file"), completion: .file())
  var previous: String?
  @Option(help: ArgumentHelp("Backbone to start from, of any layout; random without.", valueName: "file"), completion: .file())
  var backbone: String?
  @Option(help: "Epochs.") var epochs: Int?
  @Option(help: "Iterations of an epoch.") var epochLength: Int?
  @Option(help: "Images of an iteration, on each process.") var batchSize: Int?
  @Option(help: "Seed of everything random.") var seed: Int?
  @Option(help: "Threads that prepare batches.") var workers: Int?
  @Option(help: "Iterations between checkpoints.") var saveEvery: Int?
  @Option(help: ArgumentHelp("Iterations between looks at the teacher; 0 for none.", valueName: "n")) var watchEvery: Int?
  @Option(
    help: ArgumentHelp("Labelled volumes that the teacher is probed with, as for `meddino probe --data`.", valueName: "folder"),
    completion: .file())
  var probeData: String?
  @Option(help: ArgumentHelp("Stop after so many iterations of the whole run; it goes on later.", valueName: "n")) var until: Int?
  @Option(help: "f32, or bf16 for products in bf16.", completion: .list(["f32", "bf16"])) var precision: String?
  @Flag(help: "Compute activations again in the backward instead of keeping them: less memory, more time.") var recompute = false
  @Flag(help: "Of a slice set, pass over damaged shards and slices, naming them, instead of failing.") var skipDamaged = false
  @Flag(help: "Print the settings and do nothing.") var printConfig = false
  @Option(help: "With --print-config: json or yaml; json by default.", completion: .list(["json", "yaml"])) var format: String?
  @Flag(help: "Print the iterations as JSON lines.") var json = false
  @OptionGroup var distributed: DistributedOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      try distributed.run { ranks in
        try run(ranks)
        return nil
      }
    }
  }

  private func run(_ ranks: any Communicator) throws {
    let settings = try settings(ranks)
    if ranks.isRoot, !common.quiet, !settings.unused.isEmpty {
      note("note: without effect here: \(settings.unused.joined(separator: ", "))")
    }
    guard format == nil || printConfig else { throw MedDINOError.invalid("--format has an effect only together with --print-config") }
    guard ["json", "yaml"].contains(format ?? "json") else {
      throw MedDINOError.invalid("--format is \"\(format ?? "")\", expected json or yaml")
    }
    if printConfig {
      guard ranks.isRoot else { return }
      return format == "yaml" ? print(YAMLText.text(settings.document), terminator: "") : printJSON(settings.document)
    }
    guard !sources.isEmpty else {
      throw ValidationError("Missing expected argument '<sources> ...': CT volumes, or folders of them.")
    }
    guard probeData == nil || settings.watch.every > 0 else {
      throw MedDINOError.invalid("--probe-data has an effect only together with --watch-every")
    }
    guard let output else { throw ValidationError("Missing expected argument '--output <folder>': the folder of the run.") }
    if let until, until < 1 { throw MedDINOError.invalid("--until is \(until), expected at least 1") }
    let context = try common.context(ranks)
    let isQuiet = common.quiet || !ranks.isRoot
    let control = Terminal.control(quiet: isQuiet)
    let log = Log(threshold: .warning) { _, message in if !isQuiet { note("warning: \(message)") } }
    let data = try PretrainingDataset(sources: sources, skipsDamaged: skipDamaged, context: context, log: log, control: control)
    let run = try Pretrainer(settings, source: data.source, folder: output, device: context.device, ranks: ranks)
    if ranks.isRoot, settings.watch.every > 0 { run.watcher = try PretrainingWatch(run, control: control) }
    if !isQuiet {
      note("\(data.count) slices of \(data.summary), \(preset), \(settings.run.iterations) iterations")
      if !ranks.isSolo {
        note("\(ranks.size) processes of \(settings.run.batchSize) images and \(context.pool.width) threads (of the first)")
      }
      if run.isResumed { note("\(output) \(run.isFinished ? "is finished" : "goes on") after iteration \(run.iteration)") }
      if run.lostMetrics > 0 { note("warning: metrics.jsonl does not hold the \(run.lostMetrics) iterations before that") }
    }
    try go(run, control)
    Terminal.finishProgress()
    if !json, !isQuiet { print(output) }
  }

  private func go(_ run: Pretrainer, _ control: RunControl) throws {
    let length = run.settings.run.epochLength
    var (sum, count, seconds) = (0.0, 0, 0.0)
    let isQuiet = common.quiet || !run.ranks.isRoot
    var hasStopped = false
    do throws(MedDINOError) {
      try run.run(until: until, control: control) { report, time in
        if json { return run.ranks.isRoot ? printJSON(line(report, time), indent: nil) : () }
        (sum, count, seconds) = (sum + report.losses.total, count + 1, seconds + time)
        guard (report.iteration + 1) % length == 0, !isQuiet else { return }
        note(
          "epoch \((report.iteration + 1) / length)/\(run.settings.run.epochs)  loss \(decimal(sum / Double(count), 4))  "
            + Terminal.duration(seconds))
        (sum, count, seconds) = (0, 0, 0)
      }
    } catch {
      if error.kind == .cancelled {
        if !isQuiet { note("stopped after \(run.iteration) iterations; the same command goes on from there") }
      }
      guard error.kind == .cancelled, !run.ranks.isSolo else { throw error }
      hasStopped = true
    }
    if hasStopped { throw StoppedTogether() }
  }

  private func line(_ report: DistillationTrainer.Report, _ seconds: Double) -> JSON {
    var object = JSONObject([("iteration", .integer(report.iteration))])
    for loss in report.losses.named + report.losses.measured { object[loss.name] = .number(loss.value) }
    object["lr"] = .number(report.rates.learningRate)
    object["seconds"] = .number(seconds)
    return .object(object)
  }

  /// The settings file over the preset, the options over both.
  private func settings(_ ranks: any Communicator) throws -> PretrainingSettings {
    let base = try config.map(Self.document) ?? .object(JSONObject())
    guard var object = base.objectValue else { throw MedDINOError.invalid("--config holds no keys with values") }
    func set(_ section: String, _ key: String, _ value: JSON?) throws {
      guard let value else { return }
      var inside = JSONObject()
      if let given = object[section], !given.isNull {
        guard let keys = given.objectValue else { throw MedDINOError.invalid("\(section) is \(given.text()), expected an object") }
        inside = keys
      }
      inside[key] = value
      object[section] = .object(inside)
    }
    try set("train", "previous_checkpoint", previous.map(JSON.string))
    try set("student", "pretrained_weights", backbone.map(JSON.string))
    try set("optim", "epochs", epochs.map(JSON.integer))
    try set("train", "OFFICIAL_EPOCH_LENGTH", epochLength.map(JSON.integer))
    try set("train", "batch_size_per_gpu", batchSize.map(JSON.integer))
    try set("train", "seed", seed.map(JSON.integer))
    try set("train", "num_workers", workers.map(JSON.integer))
    try set("checkpointing", "period", saveEvery.map(JSON.integer))
    try set("watch", "every", watchEvery.map(JSON.integer))
    try set("watch", "probe_data", probeData.map(JSON.string))
    if precision != nil { try set("train", "precision", .string(try parsePrecision(precision).rawValue)) }
    if recompute { try set("train", "checkpointing", .bool(true)) }
    return try PretrainingSettings(preset: preset, .object(object), ranks: ranks.size)
  }

  /// A settings file: JSON where it is named so or begins with a brace, otherwise YAML.
  private static func document(_ path: String) throws -> JSON {
    let bytes = try InputFile.contents(path, limit: 16 << 20)
    let name = path.lowercased()
    let begins = bytes.first { ![9, 10, 13, 32].contains($0) }
    let isYAML = name.hasSuffix(".yaml") || name.hasSuffix(".yml") || !name.hasSuffix(".json") && begins != UInt8(ascii: "{")
    return isYAML ? try YAMLText.json(bytes, source: path) : try JSON.parse(bytes, source: path)
  }
}
