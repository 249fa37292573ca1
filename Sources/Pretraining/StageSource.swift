public import Networks
internal import Platform
internal import Tensors
internal import Training
internal import WeightFiles

/// Networks that a run starts from and that are in memory, named as a released backbone.
public struct GivenNetworks {
  /// The student and the teacher start as it, with new heads, instead of from files that the settings name.
  public var backbone: (any ParameterSource)?
  /// The anchor, instead of the file that the settings name.
  public var gramTeacher: (any ParameterSource)?
  public init(backbone: (any ParameterSource)? = nil, gramTeacher: (any ParameterSource)? = nil) {
    self.backbone = backbone
    self.gramTeacher = gramTeacher
  }
}

/// A given backbone under `backbone.…`, everything else from another source.
struct GivenBackbone: ParameterSource {
  let backbone: any ParameterSource
  let rest: any ParameterSource
  private static let prefix = "backbone."

  func contains(_ name: String) -> Bool {
    name.hasPrefix(Self.prefix) ? backbone.contains(String(name.dropFirst(Self.prefix.count))) : rest.contains(name)
  }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard name.hasPrefix(Self.prefix) else { return try rest.parameter(name, shape, in: budget) }
    return try backbone.parameter(String(name.dropFirst(Self.prefix.count)), shape, in: budget).asFloat32(in: budget)
  }
}

/// The teacher of an earlier stage: of a training checkpoint, or of an exported file.
///
/// It must be a teacher of these very networks: a tensor more, or another architecture where the file says one, is refused as well as a
/// tensor less.
struct TeacherFile: ParameterSource {
  private let file: SafeTensorsFile
  /// Moving averages and buffers of a training checkpoint, then the names of an export.
  private static let prefixes = ["average.", "extra.", "teacher."]

  /// Throws: `.io`, `.format` for a file that holds no teacher.
  init(_ path: String) throws(MedDINOError) {
    file = try SafeTensorsFile(try InputFile(path))
    guard stored("backbone.cls_token") != nil, stored("dino_head.last_layer.weight") != nil else {
      throw .format("\(path): no teacher with its heads, expected a checkpoint or an exported teacher of pretraining")
    }
  }

  /// `heads`: whether those are taken too. Throws: as the other one, and `.format` for a teacher of other networks.
  init(_ path: String, of networks: DistillationNetworks, heads: Bool = true) throws(MedDINOError) {
    try self.init(path)
    try checkArchitecture(path, networks.encoder)
    try checkNames(networks, heads: heads)
  }

  private func checkNames(_ networks: DistillationNetworks, heads: Bool) throws(MedDINOError) {
    let dim = networks.encoder.embedDim
    var known = Set(networks.encoder.parameters.map { "backbone." + $0.name })
    for (prefix, head) in [("dino_head.", networks.dinoHead), ("ibot_head.", networks.ibotHead)] {
      known.formUnion(head.parameters(dim: dim).map { prefix + $0.name })
    }
    for stored in file.names where !stored.hasPrefix("extra.gram.") {
      guard let prefix = Self.prefixes.first(where: stored.hasPrefix) else { continue }
      let name = String(stored.dropFirst(prefix.count))
      guard heads || name.hasPrefix("backbone."), !known.contains(name) else { continue }
      throw .format(
        "\(file.source.name): \(name) \(file.shape(of: stored) ?? []) is unexpected, the settings' networks have no such tensor")
    }
  }

  /// What shapes do not show: periods of the rotary embedding, norms, epsilons.
  private func checkArchitecture(_ path: String, _ encoder: EncoderConfiguration) throws(MedDINOError) {
    let saved: JSON
    if let text = file.metadata["architecture"] {
      saved = try JSON.parse(text, source: path)
    } else if file.metadata[TrainingCheckpoint.versionKey] != nil, let document = try Pretrainer.savedSettings(path)?.document {
      saved = try PretrainingSettings.networks(SettingsReader(document)).encoder.json
    } else {
      return
    }
    let own = encoder.json
    for key in (own.objectValue?.keys ?? []) + (saved.objectValue?.keys.filter { own[$0] == nil } ?? []) {
      let (a, b) = (saved[key] ?? .null, own[key] ?? .null)
      // Where the vectors start from does not matter for those that are read.
      if a == b || key == "layerscale_init" && !a.isNull && !b.isNull { continue }
      if let x = a.doubleValue, let y = b.doubleValue, x == y { continue }
      throw .format("\(path): a teacher with \(key) \(a.text()), the settings have \(b.text())")
    }
  }

  private func stored(_ name: String) -> String? { Self.prefixes.map { $0 + name }.first { file.entry($0) != nil } }

  func contains(_ name: String) -> Bool { stored(name) != nil }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard let stored = stored(name) else { throw .format("\(file.source.name): \(name) \(shape) is missing") }
    let tensor = try file.tensor(stored, in: budget)
    guard tensor.shape == shape else { throw .format("\(file.source.name): \(name) has shape \(tensor.shape), expected \(shape)") }
    return try tensor.asFloat32(in: budget)
  }
}

/// A run's own checkpoint: the student's weights, or the teacher's.
struct RunFile: ParameterSource {
  let file: SafeTensorsFile
  /// Where learned tensors lie; buffers are common to all networks.
  let prefix: String
  private func stored(_ name: String) -> String? { [prefix + name, "extra." + name].first { file.entry($0) != nil } }
  func contains(_ name: String) -> Bool { stored(name) != nil }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let place = stored(name)
    guard let place, file.shape(of: place) == shape else {
      let found = place.flatMap { file.shape(of: $0)?.description } ?? "missing"
      throw .invalid("\(file.source.name): \(name) is \(found), the settings need \(shape)")
    }
    return try file.tensor(place, in: budget).asFloat32(in: budget)
  }
}

/// A backbone from a file of any layout under `backbone.…`, everything else from another source.
struct BackboneFile: ParameterSource {
  private let contents: CheckpointContents
  private let rest: any ParameterSource
  private static let prefix = "backbone."

  /// What a network may lack without being another one: key, query and value biases where pretraining has none, norms that are untied.
  private static func mayBeDropped(_ name: String) -> Bool {
    name.hasSuffix("qkv.bias") || name.hasSuffix("qkv.bias_mask") || name.hasPrefix("local_cls_norm.") || name.hasPrefix("cls_norm.")
  }

  /// Throws: `.io`, `.format` for a file that does not fit the encoder, `.unsupported`, `.outOfMemory`.
  init(_ path: String, _ encoder: EncoderConfiguration, rest: any ParameterSource, in budget: MemoryBudget) throws(MedDINOError) {
    contents = try Checkpoint.open(path, in: budget)
    self.rest = rest
    let known = Set(encoder.parameters.map(\.name))
    for entry in contents.encoder where !known.contains(entry.name) && !Self.mayBeDropped(entry.name) {
      throw .format("\(path): \(entry.name) \(entry.shape) is unexpected")
    }
    for spec in encoder.parameters where !spec.isBuffer {
      guard let entry = contents.entry(spec.name) else { throw .format("\(path): \(spec.name) \(spec.shape) is missing") }
      guard entry.shape == spec.shape else { throw .format("\(path): \(spec.name) has shape \(entry.shape), expected \(spec.shape)") }
    }
  }

  private func entry(_ name: String) -> CheckpointEntry? {
    name.hasPrefix(Self.prefix) ? contents.entry(String(name.dropFirst(Self.prefix.count))) : nil
  }
  func contains(_ name: String) -> Bool { entry(name) != nil || (!name.hasPrefix(Self.prefix) && rest.contains(name)) }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard let entry = entry(name) else { return try rest.parameter(name, shape, in: budget) }
    let tensor = try entry.load(in: budget)
    guard tensor.shape == shape else { throw .format("\(contents.label): \(name) has shape \(tensor.shape), expected \(shape)") }
    return try tensor.asFloat32(in: budget)
  }
}

/// Where the networks of a run come from. Source: model specification 6 (initialisation).
struct StartingPoint {
  let student: any ParameterSource
  let teacher: any ParameterSource
  let gramTeacher: (any ParameterSource)?

  /// A new run: from an earlier stage, from a backbone, or from random numbers.
  /// Throws: `.invalid` when the settings name two of them, `.io`, `.format`, `.outOfMemory`.
  init(_ settings: PretrainingSettings, _ given: GivenNetworks, in budget: MemoryBudget) throws(MedDINOError) {
    let (run, encoder) = (settings.run, settings.networks.encoder)
    let random = InitialParameters(seed: run.seed, configuration: encoder)
    if let previous = run.previousStage, let backbone = run.initialBackbone {
      throw .invalid(
        "train.previous_checkpoint (--previous) is \"\(previous)\" and student.pretrained_weights (--backbone) \"\(backbone)\", "
          + "expected one of both to start from")
    }
    if let backbone = given.backbone {
      student = GivenBackbone(backbone: backbone, rest: random)
    } else if let previous = run.previousStage {
      student = try TeacherFile(previous, of: settings.networks)
    } else if let backbone = run.initialBackbone {
      student = try BackboneFile(backbone, encoder, rest: random, in: budget)
    } else {
      student = random
    }
    teacher = student
    if let anchor = given.gramTeacher {
      gramTeacher = GivenBackbone(backbone: anchor, rest: random)
    } else if let path = run.gramTeacher {
      gramTeacher =
        Self.isTeacherFile(path)
        ? try TeacherFile(path, of: settings.networks, heads: false) : try BackboneFile(path, encoder, rest: random, in: budget)
    } else {
      gramTeacher = run.previousStage == nil ? nil : student
    }
  }

  /// A run that goes on from its own checkpoint.
  init(resuming file: SafeTensorsFile, hasGramTeacher: Bool) {
    student = RunFile(file: file, prefix: "weights.")
    teacher = RunFile(file: file, prefix: "average.")
    gramTeacher = hasGramTeacher ? RunFile(file: file, prefix: "extra.gram.") : nil
  }

  private static func isTeacherFile(_ path: String) -> Bool {
    do throws(MedDINOError) { _ = try TeacherFile(path) } catch { return false }
    return true
  }
}
