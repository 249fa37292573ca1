public import Networks
internal import Platform
internal import Tensors
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

  /// A new run: from an earlier stage, from a backbone, or from random numbers. Throws: `.io`, `.format`, `.outOfMemory`.
  init(_ settings: PretrainingSettings, _ given: GivenNetworks, in budget: MemoryBudget) throws(MedDINOError) {
    let (run, encoder) = (settings.run, settings.networks.encoder)
    let random = InitialParameters(seed: run.seed, configuration: encoder)
    if let backbone = given.backbone {
      student = GivenBackbone(backbone: backbone, rest: random)
    } else if let previous = run.previousStage {
      student = try TeacherFile(previous)
    } else if let backbone = run.initialBackbone {
      student = try BackboneFile(backbone, encoder, rest: random, in: budget)
    } else {
      student = random
    }
    teacher = student
    if let anchor = given.gramTeacher {
      gramTeacher = GivenBackbone(backbone: anchor, rest: random)
    } else if let path = run.gramTeacher {
      gramTeacher = Self.isTeacherFile(path) ? try TeacherFile(path) : try BackboneFile(path, encoder, rest: random, in: budget)
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
