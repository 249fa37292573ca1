public import Platform
public import WeightFiles

/// Opens weights of any known layout. Nothing in a file is executed; only names, shapes and types are read at first.
public enum Checkpoint {
  static let configurationLimit = 16 << 20

  /// A `.pth` or `.safetensors` file, or a folder as HuggingFace lays it out. Beside a `model.safetensors`, its config.json is read.
  /// Throws: `.io`, `.format` for a damaged or unknown file, `.unsupported`, `.outOfMemory`.
  public static func open(_ path: String, in budget: MemoryBudget) throws(MedDINOError) -> CheckpointContents {
    if FileKind.of(path) == .directory { return try openFolder(path, in: budget) }
    let file = try InputFile(path)
    let folder = path.lastIndex(of: "/").map { path[...$0] } ?? ""
    let isHubFile = path.dropFirst(folder.count) == "model.safetensors"
    return try open(file, configuration: isHubFile ? try configuration(in: String(folder)) : nil, in: budget)
  }

  /// The same from any source of bytes; `configuration` is the text of a config.json that belongs to it.
  public static func open(
    _ source: any ByteSource, configuration: JSON? = nil, in budget: MemoryBudget
  ) throws(MedDINOError) -> CheckpointContents {
    let head = try source.bytes(at: 0, count: min(9, source.size))
    if TorchArchive.recognises(head) {
      return try contents(of: try TorchArchive(source, in: budget), configuration: configuration, in: budget)
    }
    guard head.count == 9, head[8] == UInt8(ascii: "{") else {
      throw .format("\(source.name): neither a PyTorch checkpoint nor a safetensors file")
    }
    let file = try SafeTensorsFile(source, in: budget)
    if isTraining(file) { throw .format("\(source.name): a training checkpoint: \(models(besideTraining: file))") }
    return try CheckpointMapper(
      file, isTeacher: false, configuration: configuration, declared: try declaredEncoder(file), training: nil
    ).contents()
  }

  /// Metadata that only a checkpoint of one of our own runs has, from which the run goes on.
  public static let trainingKey = "meddino_checkpoint"

  private static func isTraining(_ file: SafeTensorsFile) -> Bool { file.metadata[trainingKey] != nil }

  private static func models(besideTraining file: SafeTensorsFile) -> String {
    file.names.contains { $0.hasPrefix("weights.backbone.") }
      ? "open backbone.safetensors of a folder under eval beside it" : "open model_best.safetensors or model_final.safetensors beside it"
  }

  /// The configuration that an export of pretraining carries; nil for files of other programs, whatever they call an architecture.
  private static func declaredEncoder(_ file: SafeTensorsFile) throws(MedDINOError) -> EncoderConfiguration? {
    let text = file.metadata["architecture"]
    guard let json = text.flatMap({ try? JSON.parse($0, source: "architecture") }), json["embed_dim"] != nil else { return nil }
    do throws(MedDINOError) { return try EncoderConfiguration(json) } catch {
      throw .format("\(file.source.name): metadata \"architecture\": \(error.message)")
    }
  }

  // MARK: folders

  private static func configuration(in folder: String) throws(MedDINOError) -> JSON? {
    let path = folder + "config.json"
    guard FileKind.of(path) == .regular else { return nil }
    return try JSON.parse(try InputFile.contents(path, limit: configurationLimit), source: path)
  }

  private static func openFolder(_ path: String, in budget: MemoryBudget) throws(MedDINOError) -> CheckpointContents {
    let folder = path.hasSuffix("/") ? path : path + "/"
    let configuration = try configuration(in: folder)
    let index = folder + "model.safetensors.index.json"
    for name in ["model.safetensors", "pytorch_model.bin"] where FileKind.of(folder + name) == .regular {
      return try open(try InputFile(folder + name), configuration: configuration, in: budget)
    }
    guard FileKind.of(index) == .regular else {
      let models = try candidates(folder, in: budget)
      let hint = models.isEmpty ? "" : "; it has \(models.joined(separator: ", ")): name one of them"
      throw .format(
        "\(path): expected an nnU-Net result folder (plans.json, fold_N) or a HuggingFace or timm model (model.safetensors)\(hint)")
    }
    let weights = try sharded(index, folder: folder, in: budget)
    return try CheckpointMapper(weights, isTeacher: false, configuration: configuration, training: nil).contents()
  }

  /// Names of up to five files that may be opened; training checkpoints are none. Throws: `.io`.
  private static func candidates(_ folder: String, in budget: MemoryBudget) throws(MedDINOError) -> [String] {
    var found: [String] = []
    for name in try folderEntries(folder) where found.count < 5 {
      guard name.hasSuffix(".safetensors") || name.hasSuffix(".pth") else { continue }
      if name.hasSuffix(".safetensors"), let file = try? SafeTensorsFile(InputFile(folder + name), in: budget), isTraining(file) {
        continue
      }
      found.append(name)
    }
    return found
  }

  private static func sharded(_ index: String, folder: String, in budget: MemoryBudget) throws(MedDINOError) -> ShardedWeights {
    let listing = try JSON.parse(try InputFile.contents(index, limit: configurationLimit), source: index)
    var files: [String] = []
    for (name, value) in listing["weight_map"]?.objectValue?.entries ?? [] {
      guard let file = value.stringValue, !file.isEmpty, !file.contains("/"), file != "..", file != "." else {
        throw .format("\(index): \"\(name)\" is in no file of this folder")
      }
      if !files.contains(file) { files.append(file) }
      guard files.count <= 1000 else { throw .format("\(index): more than 1000 files") }
    }
    guard !files.isEmpty else { throw .format("\(index): no weight_map") }
    var shards: [any WeightSource] = []
    for file in files { shards.append(try SafeTensorsFile(try InputFile(folder + file), in: budget)) }
    return try ShardedWeights(label: index, shards)
  }

  // MARK: PyTorch

  /// Finds the mapping of tensors inside what was saved. Source: model specification 2.1 to 2.3.
  private static func contents(
    of archive: TorchArchive, configuration: JSON?, in budget: MemoryBudget
  ) throws(MedDINOError) -> CheckpointContents {
    let label = archive.source.name
    guard let root = archive.root.dictValue else {
      throw .format("\(label): holds \(archive.root.kind), expected a state dict (save model.state_dict())")
    }
    if let weights = archive.root["network_weights"] {
      return try CheckpointMapper(
        TorchWeights(archive, try mapping(weights, "network_weights", label)), isTeacher: false, configuration: configuration,
        training: try NNUNetState(archive.root, in: budget)
      ).contents()
    }
    if let teacher = archive.root["teacher"] {
      return try CheckpointMapper(
        TorchWeights(archive, try mapping(teacher, "teacher", label)), isTeacher: true, configuration: configuration, training: nil
      ).contents()
    }
    var tensors = root
    for key in ["state_dict", "model", "model_state_dict"] {
      if let inner = archive.root[key]?.dictValue { tensors = inner }
    }
    return try CheckpointMapper(
      TorchWeights(archive, tensors), isTeacher: false, configuration: configuration, training: nil
    ).contents()
  }

  private static func mapping(
    _ value: PickleValue, _ key: String, _ label: String
  ) throws(MedDINOError) -> [(key: PickleValue, value: PickleValue)] {
    guard let mapping = value.dictValue else { throw .format("\(label): \"\(key)\" holds \(value.kind), expected a mapping of tensors") }
    return mapping
  }
}

extension NNUNetState {
  /// Far more values than any plans or dataset has.
  private static let valueLimit = 1 << 18

  /// Throws: `.format` when plans or dataset are not plain data, `.outOfMemory`.
  init(_ root: PickleValue, in budget: MemoryBudget) throws(MedDINOError) {
    let arguments = root["init_args"]
    let charge = MemoryCharge(budget, "plans and dataset of a checkpoint")
    self.charge = charge
    trainerName = root["trainer_name"]?.stringValue
    plans = try arguments?["plans"]?.json(limit: Self.valueLimit, charge) ?? .null
    configuration = arguments?["configuration"]?.stringValue
    fold = try arguments?["fold"]?.json(limit: Self.valueLimit, charge) ?? .null
    dataset = try arguments?["dataset_json"]?.json(limit: Self.valueLimit, charge) ?? .null
    mirrorAxes = root["inference_allowed_mirroring_axes"]?.elements?.compactMap(\.intValue)
    currentEpoch = root["current_epoch"]?.intValue
    bestEMA = root["_best_ema"]?.doubleValue
    logging = root["logging"] ?? .none
  }
}
