import ArgumentParser
import MedDINO
import Networks
import Platform
import Segmentation
import Tensors
import WeightFiles

struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "info", abstract: "What a model is: network, plan, labels, provenance.")
  @Argument(help: "Model file, nnU-Net result folder, checkpoint or backbone.", completion: .file()) var model: String
  @Flag(help: "As JSON.") var json = false
  @Flag(help: "Read every weight and compare with the stored SHA-256.") var verify = false
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      let opened = try Model.open(model, options: try opening.options(), context: try common.context())
      if verify { try opened.verify(control: Terminal.control(quiet: common.quiet)) }
      Terminal.finishProgress()
      if json { return printJSON(description(opened)) }
      print(try ModelDescription(opened).text)
      if verify { print("the weights match their SHA-256") }
    }
  }

  private func description(_ model: Model) -> JSON {
    var object = JSONObject([
      ("kind", .string(model.task == nil ? "backbone" : "segmenter")), ("layout", .string(model.metadata["layout"] ?? "")),
      ("members", .integer(model.memberCount)), ("parameters", .integer(model.parameterCount)), ("encoder", model.encoder.json),
    ])
    if let task = model.task {
      object["taps"] = .integers(task.taps)
      object["configuration"] = .string(task.configuration.name)
      object["tile"] = .integers(task.configuration.patchSize)
      object["spacing"] = .numbers(task.configuration.spacing)
      object["channels"] = .array(task.dataset.channelNames.map(JSON.string))
      object["mirror_axes"] = .integers(task.mirrorAxes)
      object["regions"] = .bool(task.scheme.hasRegions)
      object["labels"] = .array(
        model.labels.map { label in
          JSON.object(
            ("value", .integer(label.value)), ("name", .string(label.name)),
            ("rgba", .integers([label.red, label.green, label.blue, label.alpha].map(Int.init))),
            ("coding_scheme", label.codingScheme.map(JSON.string) ?? .null), ("code", label.code.map(JSON.string) ?? .null))
        })
    }
    for key in ["licence", "provenance", "sha256", "postprocessing"] { if let value = model.metadata[key] { object[key] = .string(value) } }
    if verify { object["verified"] = .bool(true) }
    return .object(object)
  }
}

/// What a model says of itself, for people.
struct ModelDescription {
  let headline: String
  let entries: [(name: String, value: String)]

  /// Throws: `.format`, `.unsupported` when the postprocessing that it carries cannot be read.
  init(_ model: Model) throws {
    let e = model.encoder
    headline =
      "\(model.task == nil ? "backbone" : "segmenter"), \(model.metadata["layout"] ?? "unknown") layout, \(model.parameterCount) parameters"
      + (model.memberCount > 1 ? " × \(model.memberCount) members" : "")
    var entries: [(name: String, value: String)] = [
      (
        "encoder",
        "width \(e.embedDim), \(e.depth) blocks, \(e.heads) heads, patch \(e.patchSize), \(e.storageTokens) storage tokens, "
          + "RoPE \(e.ropePrecision.rawValue)"
      )
    ]
    if let task = model.task {
      let plan = task.configuration
      entries.append(
        (
          "plan",
          "\(plan.name), tile \(plan.patchSize[0]) × \(plan.patchSize[1]), spacing \(plan.spacing[0]) × \(plan.spacing[1]) mm"
        ))
      entries.append(("channels", task.dataset.channelNames.joined(separator: ", ")))
      entries.append(("labels", model.labels.map { "\($0.value) \($0.name)" }.joined(separator: ", ")))
    }
    for key in ["licence", "provenance", "sha256"] { if let value = model.metadata[key] { entries.append((key, value)) } }
    if let found = try model.postprocessing() {
      entries.append(("postprocessing", found.steps.isEmpty ? "nothing helps" : found.steps.map(\.text).joined(separator: "; ")))
    }
    self.entries = entries
  }

  var text: String {
    ([headline] + entries.map { ($0.name.count < 11 ? $0.name.padded(11) : $0.name + "  ") + $0.value }).joined(separator: "\n")
  }
}

struct ConvertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert", abstract: "Write any model that opens as one meddino model file.")
  @Argument(help: "nnU-Net result folder, checkpoint, backbone or model file; several are combined into one ensemble.", completion: .file())
  var models: [String]
  @Option(name: [.short, .long], help: "Model file to write, .safetensors.", completion: .file()) var output: String
  @Option(help: "f32, or bf16 for half the size (weights are rounded).", completion: .list(["f32", "bf16"])) var precision: String?
  @Option(help: ArgumentHelp("postprocessing.json that the model carries from now on.", valueName: "file"), completion: .file())
  var postprocessing: String?
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      try checkOutputs([("--output", output, [".safetensors"])], inputs: models)
      let context = try common.context()
      var opened: [Model] = []
      for path in models { opened.append(try Model.open(path, options: try opening.options(), context: context)) }
      var model = opened.count == 1 ? opened[0] : try Model.combine(opened)
      if let postprocessing {
        model = try model.carrying(Postprocessing.parse(InputFile.contents(postprocessing), source: postprocessing))
      }
      try model.save(to: output, precision: try parsePrecision(precision), control: Terminal.control(quiet: common.quiet))
      Terminal.finishProgress()
      if !common.quiet {
        print("\(output): \(model.memberCount) member\(model.memberCount == 1 ? "" : "s"), \(model.parameterCount) parameters")
      }
    }
  }
}

struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Write a fresh model with random weights.",
    discussion: "A segmenter needs --plans and --dataset (nnU-Net's JSON files); without them the model is a backbone.")
  @Option(name: [.short, .long], help: "Model file to write, .safetensors.", completion: .file()) var output: String?
  @Option(
    help: ArgumentHelp("Encoder preset: \(EncoderConfiguration.presetNames.joined(separator: ", ")).", valueName: "name"),
    completion: .list(EncoderConfiguration.presetNames))
  var encoder: String?
  @Option(help: "JSON file with the whole configuration, as --print-config writes it.", completion: .file()) var config: String?
  @Option(help: "plans.json of the dataset.", completion: .file()) var plans: String?
  @Option(help: "dataset.json of the dataset.", completion: .file()) var dataset: String?
  @Option(help: "2D configuration of the plans.") var configuration: String?
  @Option(help: ArgumentHelp("Blocks to tap, comma-separated; four evenly spaced ones by default.", valueName: "list")) var taps: String?
  @Option(help: "Seed of the random weights.") var seed: UInt64 = 0
  @Flag(help: "Print the configuration as JSON and write nothing.") var printConfig = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      let configuration = try text()
      if printConfig { return printJSON(configuration) }
      guard let output else { throw ValidationError("Missing expected argument '--output <output>': the model file to write.") }
      try checkOutputs([("--output", output, [".safetensors"])], inputs: [])
      let model = try Model.create(configuration.text(), seed: seed, context: try common.context())
      try model.save(to: output, control: Terminal.control(quiet: common.quiet))
      Terminal.finishProgress()
      if !common.quiet { print("\(output): random weights, \(model.parameterCount) parameters") }
    }
  }

  private func text() throws -> JSON {
    if config != nil, plans != nil || dataset != nil || configuration != nil || taps != nil || encoder != nil {
      throw MedDINOError.invalid(
        "--config holds the whole configuration: --encoder, --plans, --dataset, --configuration and --taps have no place beside it")
    }
    if let config { return try JSON.parse(try InputFile.contents(config), source: config) }
    let network = try EncoderConfiguration.preset(encoder ?? "meddinov3_vitb16")
    var object = JSONObject([("encoder", network.json)])
    object["taps"] = .integers(try taps.map { try integers($0, "--taps") } ?? Primus.Configuration.evenTaps(depth: network.depth))
    if let plans { object["plans"] = try JSON.parse(try InputFile.contents(plans), source: plans) }
    if let dataset { object["dataset"] = try JSON.parse(try InputFile.contents(dataset), source: dataset) }
    if let configuration { object["configuration"] = .string(configuration) }
    return .object(object)
  }
}
