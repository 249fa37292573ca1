public import Networks
public import Platform
internal import Segmentation
internal import Tensors
internal import WeightFiles

/// What is opened of a path that offers a choice.
public struct ModelOptions: Sendable {
  /// Folds of an nnU-Net result folder; empty: all there are.
  public var folds: [Int] = []
  /// "final" or "best"; nil: final where there is one, else best.
  public var checkpoint: String?
  /// A 2D configuration of the plans; nil: the one the folder or checkpoint names.
  public var configuration: String?
  /// What a checkpoint does not say about its encoder.
  public var encoder = EncoderOverrides()
  public init() {}
}

extension Model {
  /// Opens a model file, an nnU-Net result folder or checkpoint, or a bare backbone in official, MedDINOv3, HuggingFace or timm
  /// layout. Names and shapes are all checked now; the weights are read when they are first needed.
  /// Throws: `.invalid`, `.io`, `.format`, `.unsupported`, `.outOfMemory`.
  public static func open(_ path: String, options: ModelOptions = ModelOptions(), context: Context) throws(MedDINOError) -> Model {
    if FileKind.of(path) == .directory {
      if FileKind.of(path + "/plans.json") == .regular { return try ResultFolder(path, options, context).open() }
      return try model(of: try Checkpoint.open(path, in: context.budget), options, context)
    }
    let file = try InputFile(path)
    if let ours = try modelFile(file, options, context) { return ours }
    return try model(of: try Checkpoint.open(path, in: context.budget), options, context)
  }

  /// The same from bytes: a model file or one checkpoint.
  public static func open(_ source: any ByteSource, options: ModelOptions = ModelOptions(), context: Context) throws(MedDINOError) -> Model
  {
    if let ours = try modelFile(source, options, context) { return ours }
    return try model(of: try Checkpoint.open(source, in: context.budget), options, context)
  }

  /// The bytes as a model file; nil when they are a checkpoint of somebody else's.
  private static func modelFile(_ source: any ByteSource, _ options: ModelOptions, _ context: Context) throws(MedDINOError) -> Model? {
    let head = try source.bytes(at: 0, count: min(source.size, 9))
    guard head.count == 9, head[8] == UInt8(ascii: "{"), !TorchArchive.recognises(head) else { return nil }
    let file = try SafeTensorsFile(source, in: context.budget)
    guard ModelFile.isModelFile(file) else { return nil }
    guard options.folds.isEmpty, options.checkpoint == nil else {
      throw .invalid("\(source.name): folds and checkpoint choose from an nnU-Net result folder, this is a model file")
    }
    let model = try ModelFile.open(file, context: context)
    if let wanted = options.encoder.ropePrecision, wanted != model.encoder.ropePrecision {
      throw .invalid(
        "rope is \(wanted.rawValue), the model file says \(model.encoder.ropePrecision.rawValue); only a checkpoint leaves a choice")
    }
    if let wanted = options.configuration, wanted != model.task?.configuration.name {
      throw .invalid("configuration is \"\(wanted)\", the model file has \"\(model.task?.configuration.name ?? "none")\"")
    }
    return model
  }

  private static func model(of contents: CheckpointContents, _ options: ModelOptions, _ context: Context) throws(MedDINOError) -> Model {
    for note in contents.notes { context.log(.info, note) }
    if let training = contents.training, !training.plans.isNull, !training.dataset.isNull {
      return try segmenter(
        [contents], plans: training.plans.text(indent: 4), dataset: training.dataset.text(indent: 4),
        configuration: options.configuration ?? training.configuration, options, context)
    }
    guard contents.decoder.isEmpty else {
      throw .unsupported("\(contents.label): a decoder without plans and dataset; open its nnU-Net result folder instead")
    }
    let encoder = try EncoderConfiguration(inferredFrom: contents, options.encoder)
    return Model(
      context: context, encoder: encoder, task: nil, labels: [],
      metadata: ModelText.metadata(
        encoder, nil, layout: contents.layout.rawValue, licence: "unspecified",
        provenance: provenance(contents.layout)),
      members: [try NetworkParameters.collect(encoder, from: contents)])
  }

  static func segmenter(
    _ folds: [CheckpointContents], plans: String, dataset: String, configuration: String?, _ options: ModelOptions, _ context: Context
  ) throws(MedDINOError) -> Model {
    guard let first = folds.first else { throw .invalid("no fold to open") }
    let network = try Primus.Configuration(inferredFrom: first, options.encoder)
    let task = try ModelText.task(
      plans: plans, dataset: dataset, configuration: configuration, taps: network.taps,
      mirrorAxes: first.training?.mirrorAxes ?? [0, 1], in: context.budget)
    guard task.scheme.heads.count == network.classes else {
      throw .shape("\(first.label): the network has \(network.classes) outputs, dataset.json asks for \(task.scheme.heads.count)")
    }
    var members: [NetworkParameters] = []
    for fold in folds { members.append(try NetworkParameters.collect(network, from: fold)) }
    let model = Model(
      context: context, encoder: network.encoder, task: task, labels: try ModelText.labels(task, stored: nil),
      metadata: ModelText.metadata(
        network.encoder, task, layout: first.layout.rawValue, licence: "unspecified", provenance: provenance(first.layout)),
      members: members)
    try model.checkFit()
    return model
  }

  private static func provenance(_ layout: CheckpointLayout) -> String {
    JSON.object(("converted_from", .string(layout.rawValue)), ("converted_by", .string("meddino \(Build.version)"))).text()
  }
}

/// An nnU-Net result folder: `<Trainer>__<Plans>__<Configuration>` with plans.json, dataset.json and fold_k.
/// Source: pipeline specification 1.6.
private struct ResultFolder {
  let path: String
  let options: ModelOptions
  let context: Context

  init(_ path: String, _ options: ModelOptions, _ context: Context) {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    self.path = path
    self.options = options
    self.context = context
  }

  func open() throws(MedDINOError) -> Model {
    let plans = String(decoding: try InputFile.contents(path + "/plans.json", limit: ModelText.limit), as: UTF8.self)
    let dataset = String(decoding: try InputFile.contents(path + "/dataset.json", limit: ModelText.limit), as: UTF8.self)
    var folds: [CheckpointContents] = []
    for fold in try chosenFolds() { folds.append(try Checkpoint.open(try checkpoint(fold), in: context.budget)) }
    let named = path.split(separator: "/").last.map(String.init)?.components("__") ?? []
    let configuration = options.configuration ?? folds.first?.training?.configuration ?? (named.count == 3 ? named[2] : nil)
    return try Model.segmenter(folds, plans: plans, dataset: dataset, configuration: configuration, options, context)
  }

  private func chosenFolds() throws(MedDINOError) -> [String] {
    let present = try folderEntries(path).filter { name in
      let fold = name.dropFirst("fold_".count)
      let isFold = name.hasPrefix("fold_") && (fold == "all" || (!fold.isEmpty && fold.allSatisfy { ("0"..."9").contains($0) }))
      return isFold && FileKind.of(path + "/" + name) == .directory
    }
    guard !options.folds.isEmpty else {
      let numbered = present.filter { $0 != "fold_all" }
      let chosen = numbered.isEmpty ? present : numbered
      guard !chosen.isEmpty else { throw .format("\(path): no fold_<k> folder") }
      return chosen
    }
    for fold in options.folds where !present.contains("fold_\(fold)") {
      throw .invalid("\(path): fold \(fold) asked for, there is \(present.joined(separator: ", "))")
    }
    return options.folds.sorted().map { "fold_\($0)" }
  }

  private func checkpoint(_ fold: String) throws(MedDINOError) -> String {
    if let name = options.checkpoint {
      guard name == "best" || name == "final" else { throw .invalid("checkpoint is \"\(name)\", expected best or final") }
      return "\(path)/\(fold)/checkpoint_\(name).pth"
    }
    for name in ["final", "best"] {
      let candidate = "\(path)/\(fold)/checkpoint_\(name).pth"
      if FileKind.of(candidate) == .regular { return candidate }
    }
    throw .format("\(path)/\(fold): neither checkpoint_final.pth nor checkpoint_best.pth")
  }
}

extension String {
  /// The parts between occurrences of a separator.
  fileprivate func components(_ separator: String) -> [String] {
    var parts: [String] = []
    var rest = Substring(self)
    while let range = rest.firstRange(of: separator) {
      parts.append(String(rest[..<range.lowerBound]))
      rest = rest[range.upperBound...]
    }
    return parts + [String(rest)]
  }
}
