import ArgumentParser
import FineTuning
import MedDINO
import Networks
import Platform
import Tensors
import WeightFiles

struct FinetuneCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "finetune", abstract: "Train a segmentation network on a prepared dataset.",
    discussion: """
      DATASET is what `meddino plan` left: a folder, or a number or name under nnUNet_preprocessed. Without options the recipe is that of \
      MedDINOv3: 1000 epochs of 250 updates, decoder 3e-4, encoder 3e-5. Into --output go settings.json, metrics.jsonl, progress.png, \
      checkpoint_latest.safetensors (for --resume), model_best.safetensors and model_final.safetensors (for `meddino segment`). Then the \
      fold's validation cases are segmented as whole volumes into validation, with summary.json and metrics.csv.
      The checkpoint is written every --save-every epochs, at the end, and on Ctrl-C. --resume goes on from it with the settings of the run; \
      a run that was stopped before its first checkpoint starts from the beginning, with the settings given.
      Options of how the network learns are keys of the JSON that --config reads and --print-config writes: --batch-size is "batch_size".
      """)

  @Argument(
    help: "Prepared dataset folder, or its number or name under nnUNet_preprocessed; not needed by --print-config.", completion: .directory)
  var dataset: String?
  @Option(name: [.short, .long], help: ArgumentHelp("Folder of the run.", valueName: "folder"), completion: .directory) var output: String?
  @Option(help: "Fold number, or all; 0 by default.") var fold: String?
  @Option(
    help: "Recipe: \(Recipe.presets.map { $0.aliases.first ?? $0.name }.joined(separator: ", ")), or a trainer's class name.",
    completion: .list(Recipe.presets.map { $0.aliases.first ?? $0.name }))
  var recipe: String?
  @Option(
    help: ArgumentHelp(
      "Configuration of the plan; needed when several are preprocessed, known to a run that goes on or is validated.", valueName: "name"))
  var configuration: String?
  @OptionGroup(title: "Start model") var start: StartOptions
  @Option(help: ArgumentHelp("JSON file of settings; options win over it.", valueName: "file"), completion: .file()) var config: String?
  @Option(help: "Encoder preset, for a start from random weights.", completion: .list(EncoderConfiguration.presetNames))
  var encoder: String?
  @Option(help: ArgumentHelp("Blocks to tap, comma-separated.", valueName: "list")) var taps: String?
  @Option(help: "Epochs.") var epochs: Int?
  @Option(help: "Updates of an epoch.") var iterations: Int?
  @Option(help: "Validation batches of an epoch.") var validationIterations: Int?
  @Option(help: "Images of a batch; the plan's by default.") var batchSize: Int?
  @Option(help: "Batches whose gradients make one update.") var accumulate: Int?
  @Option(name: .customLong("decoder-lr"), help: "Learning rate of the decoder.") var decoderRate: Double?
  @Option(name: .customLong("encoder-lr"), help: "Learning rate of the encoder.") var encoderRate: Double?
  @Option(help: "Weight decay.") var weightDecay: Double?
  @Option(help: "Largest norm of the gradient.") var clip: Double?
  @Option(help: "Epochs of linear warm-up.") var warmupEpochs: Int?
  @Option(help: "Rate of stochastic depth.") var dropPath: Double?
  @Option(help: "Factor from an encoder layer's learning rate to that of the one below.") var layerDecay: Double?
  @Option(help: "Share of a batch that must show foreground.") var oversample: Double?
  @Option(help: ArgumentHelp("What learns: full, frozen, last:BLOCKS, lora:RANK[:ALPHA] or decoder.", valueName: "way")) var adapt: String?
  @Option(help: "f32, or bf16 for products in bf16.", completion: .list(["f32", "bf16"])) var precision: String?
  @Flag(help: "Compute activations again in the backward instead of keeping them: less memory, more time.") var recompute = false
  @Flag(help: "No augmentation.") var noAugmentation = false
  @Flag(
    name: .customLong("no-mirror-augmentation"),
    help: "No mirroring, in training and by the model: for labels that only their side tells apart.") var noMirror = false
  @Flag(help: "Really simulate low resolution (the official 2D code does not).") var lowResolution = false
  @Option(help: "Seed of everything random.") var seed: UInt64?
  @Option(help: "Threads that prepare batches.") var workers: Int?
  @Option(help: "Epochs between writes of the latest checkpoint.") var saveEvery: Int?
  @Option(help: "Epochs without a better moving Dice after which the run ends.") var patience: Int?
  @Option(help: "Seconds after which the run ends.") var timeBudget: Double?
  @Option(help: ArgumentHelp("With --adapt decoder: disk for encoder features, such as 20G.", valueName: "size")) var featureCache: String?
  @Flag(help: "Go on from the run's checkpoint_latest.safetensors with its settings; without one start from the beginning.") var resume =
    false
  @OptionGroup var volumes: VolumeOptions
  @Flag(help: "Print the settings as JSON and do nothing.") var printConfig = false
  @Flag(help: "Print what an update would take and do nothing.") var estimate = false
  @Flag(help: "Print the epochs as JSON lines.") var json = false
  @OptionGroup var distributed: DistributedOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform { try distributed.run { try run($0) } }
  }

  /// The training, and what is left for the first process alone.
  private func run(_ ranks: any Communicator) throws -> (() throws -> Void)? {
    let given = try given()
    let settings = try RunSettings(given.text())
    try start.check()
    if printConfig {
      if ranks.isRoot { printJSON(settings.json) }
      return nil
    }
    guard let dataset else {
      throw ValidationError("Missing expected argument '<dataset>': a folder that `meddino plan` left, or its number or name.")
    }
    let output = estimate && !volumes.validateOnly ? nil : try folder(settings)
    let choice = try volumes.options()
    let context = try common.context(ranks)
    let plan = try chosenConfiguration(output, choice)
    let data = try TrainingDataset(try Self.locate(dataset), configuration: plan, context: context)
    let control = Terminal.control(quiet: common.quiet || !ranks.isRoot)
    if volumes.validateOnly, let output {
      return { try validate(data, output, choice, context, control) }
    }
    let model = try start.open(context)
    guard let output else {
      if ranks.isRoot { try printEstimate(model, data, settings, context) }
      return nil
    }
    let trainer = try trainer(model, data, settings, output, context, control)
    if !volumes.noValidation { try FoldValidation.check(data, fold: trainer.fold, options: choice) }
    if !common.quiet, ranks.isRoot {
      try describe(data, trainer)
      if resume, trainer.step > 0 { try explain(trainer, given, output) }
    }
    try run(trainer, control)
    return {
      // Of several processes the first may now use the processors of all.
      let whole = ranks.isSolo ? context : try common.context()
      let whose = ranks.isSolo ? data : try TrainingDataset(try Self.locate(dataset), configuration: plan, context: whole)
      if !volumes.noValidation { try validate(whose, output, choice, whole, control) }
      Terminal.finishProgress()
      if !json, !common.quiet { print(output) }
    }
  }

  /// A run that goes on or is validated has a configuration of its own; for others it is the one that is asked for.
  private func chosenConfiguration(_ output: String?, _ choice: FoldValidation.Options) throws -> String? {
    guard let output else { return configuration }
    let own: String
    if volumes.validateOnly {
      own = try FoldValidation.configuration(of: output, options: choice)
    } else if resume, FileKind.of(Self.latest(output)) != .missing {
      own = try Trainer.configuration(ofCheckpoint: Self.latest(output))
    } else {
      return configuration
    }
    if let configuration, configuration != own {
      throw MedDINOError.invalid("--configuration is \"\(configuration)\", the run in \(output) has \"\(own)\"; leave the option out")
    }
    return own
  }

  private static func latest(_ output: String) -> String { output + "/checkpoint_latest.safetensors" }

  /// What was asked for and a run that goes on does not use; and that a finished one has nothing left to do.
  private func explain(_ trainer: Trainer, _ given: JSON, _ output: String) throws {
    let own = RunSettings(trainer.settings, fold: trainer.fold, output: output)
    let unused = try own.differences(from: given).map { "\($0.key) \($0.asked.text()) (the run has \($0.own.text()))" }
    if !unused.isEmpty {
      note("warning: --resume goes on with the settings of the run; not used: \(unused.joined(separator: ", "))")
    }
    if trainer.isFinished {
      note(
        "\(output) is finished after \(trainer.epoch) epochs, nothing is left to train; "
          + "a new run goes on from its weights with --backbone \(output)/model_final.safetensors")
    }
  }

  private func describe(_ data: TrainingDataset, _ trainer: Trainer) throws {
    let (folds, ranks) = (try data.foldCount, trainer.context.ranks)
    if case .number(let number) = trainer.fold, number >= folds {
      note("fold \(number) is none of the \(folds) in splits_final.json: four fifths of the cases, drawn at random, train")
    }
    note("\(data.identifiers.count) cases, plan \(data.configuration.name), \(trainer.settings.recipe.name), fold \(trainer.fold)")
    if !ranks.isSolo {
      note("\(ranks.size) processes share every batch; threads of the first: \(trainer.context.pool.width)")
    }
  }

  /// What was learned until Ctrl-C is not lost.
  private func run(_ trainer: Trainer, _ control: RunControl) throws {
    let ranks = trainer.context.ranks
    do throws(MedDINOError) {
      try trainer.run(control: control) { if ranks.isRoot { report($0, of: trainer.settings.recipe.epochs) } }
    } catch {
      if error.kind == .cancelled, trainer.step > 0 {
        try trainer.saveLatest()
        if !common.quiet, ranks.isRoot { note("stopped after \(trainer.step) updates; --resume goes on from there") }
      }
      if error.kind == .cancelled, !ranks.isSolo { throw StoppedTogether() }
      throw error
    }
  }

  private func folder(_ settings: RunSettings) throws -> String {
    guard let output = settings.output else {
      throw ValidationError("Missing expected argument '--output <folder>': the folder of the run.")
    }
    return output
  }

  private func validate(
    _ data: TrainingDataset, _ run: String, _ options: FoldValidation.Options, _ context: Context, _ control: RunControl
  ) throws {
    let found = try FoldValidation.run(run, dataset: data, options: options, context: context, control: control)
    Terminal.finishProgress()
    if json {
      let means = JSON.object(
        JSONObject([("folder", .string(found.folder)), ("model", .string(found.model))] + found.evaluation.meansJSON))
      return printJSON(.object(("validation", means)), indent: nil)
    }
    if common.quiet { return }
    for (structure, means) in zip(found.evaluation.structures, found.evaluation.means) {
      note("\(structure.name): Dice \(decimal(means.dice, 4))")
    }
    let mean = found.evaluation.foregroundMean.dice
    note(
      "\(found.evaluation.cases.count) whole volumes, \(found.model): mean Dice \(decimal(mean, 4))")
  }

  private func trainer(
    _ start: Model?, _ data: TrainingDataset, _ settings: RunSettings, _ output: String, _ context: Context, _ control: RunControl
  ) throws -> Trainer {
    if resume {
      if FileKind.of(Self.latest(output)) != .missing {
        return try Trainer.resume(Self.latest(output), dataset: data, context: context, output: output, control: control)
      }
      if !common.quiet, context.ranks.isRoot { note("\(output) has no checkpoint yet: the run starts from the beginning") }
    }
    return try Trainer.create(start: start, dataset: data, settings: settings, context: context, control: control)
  }

  /// The settings file with the options over it.
  private func given() throws -> JSON {
    let base = try config.map { try JSON.parse(try InputFile.contents($0), source: $0) } ?? .object(JSONObject())
    guard var object = base.objectValue else { throw MedDINOError.invalid("--config is not a JSON object") }
    func set(_ key: String, _ value: JSON?) { if let value { object[key] = value } }
    set("recipe", recipe.map(JSON.string))
    set("encoder", encoder.map(JSON.string))
    set("taps", try taps.map { JSON.integers(try integers($0, "--taps")) })
    set("fold", fold.map(JSON.string))
    set("output", output.map(JSON.string))
    let counts = [
      ("epochs", epochs), ("iterations", iterations), ("validation_iterations", validationIterations), ("batch_size", batchSize),
      ("accumulate", accumulate), ("warmup_epochs", warmupEpochs), ("workers", workers), ("save_every", saveEvery), ("patience", patience),
    ]
    for (key, value) in counts { set(key, value.map(JSON.integer)) }
    let numbers = [
      ("decoder_lr", decoderRate), ("encoder_lr", encoderRate), ("weight_decay", weightDecay), ("clip", clip), ("drop_path", dropPath),
      ("layer_decay", layerDecay), ("oversample", oversample), ("time_budget", timeBudget),
    ]
    for (key, value) in numbers { set(key, value.map(JSON.number)) }
    set("adapt", adapt.map(JSON.string))
    set("precision", precision.map(JSON.string))
    if recompute { set("recompute", .bool(true)) }
    if noAugmentation { set("augmentation", .bool(false)) }
    if noMirror { set("mirror", .bool(false)) }
    if lowResolution { set("low_resolution", .bool(true)) }
    set("seed", seed.map { .string(String($0)) })
    set("feature_cache", try featureCache.map { .integer(try byteCount($0, "--feature-cache")) })
    return .object(object)
  }

  static func locate(_ reference: String) throws -> String {
    try DatasetPreparation.locate(reference, in: environment("nnUNet_preprocessed"), named: "nnUNet_preprocessed")
  }

  private func printEstimate(_ start: Model?, _ data: TrainingDataset, _ settings: RunSettings, _ context: Context) throws {
    let cost = try Trainer.estimate(start: start, dataset: data, settings: settings, context: context)
    if json { return printJSON(.object(("peak_bytes", .integer(cost.total))), indent: nil) }
    print(
      "about \(cost.total >> 20) MB: weights \(cost.parameters >> 20), gradients \(cost.gradients >> 20), moments \(cost.moments >> 20), "
        + "activations \(cost.activations >> 20), working \(cost.working >> 20)")
  }

  private func report(_ epoch: EpochMetrics, of epochs: Int) {
    if json { return epoch.values.entries.isEmpty ? () : printJSON(line(epoch), indent: nil) }
    if common.quiet { return }
    func short(_ value: Double) -> String { decimal(value, 4) }
    var text = "epoch \(epoch.epoch + 1)/\(epochs)  loss \(short(epoch.trainingLoss.total))"
    if let validation = epoch.validation {
      text += "  validation \(short(validation.loss))  Dice \(short(validation.meanDice))  average \(short(epoch.movingDice))"
      if epoch.isBest { text += " (best)" }
    }
    note(text + "  \(Terminal.duration(epoch.seconds))")
  }

  private func line(_ epoch: EpochMetrics) -> JSON {
    var object = JSONObject([("epoch", .integer(epoch.epoch)), ("step", .integer(epoch.step))])
    for entry in epoch.values.entries { object[entry.key] = entry.value }
    object["is_best"] = .bool(epoch.isBest)
    object["finished"] = .bool(epoch.isFinished)
    return .object(object)
  }
}
