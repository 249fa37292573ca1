internal import Networks
public import Platform
public import Tensors
public import WeightFiles

/// The tensors of a run that a checkpoint holds.
public struct CheckpointTensors {
  public var parameters: [Parameter]
  public var optimizer: AdamW?
  public var average: ParameterAverage?
  /// Whatever else the owner keeps, such as buffers.
  public var extra: [(name: String, tensor: Tensor)]
  public init(
    parameters: [Parameter], optimizer: AdamW? = nil, average: ParameterAverage? = nil, extra: [(name: String, tensor: Tensor)] = []
  ) {
    self.parameters = parameters
    self.optimizer = optimizer
    self.average = average
    self.extra = extra
  }

  /// Under the names of the file. Weights first.
  var named: [(name: String, tensor: Tensor)] {
    var list = parameters.map { (name: "weights." + $0.name, tensor: $0.value) }
    for member in optimizer?.members ?? [] {
      list.append(("adamw.first." + member.parameter.name, member.firstMoment))
      list.append(("adamw.second." + member.parameter.name, member.secondMoment))
    }
    for entry in average?.tensors ?? [] { list.append(("average." + entry.name, entry.tensor)) }
    for entry in extra { list.append(("extra." + entry.name, entry.tensor)) }
    return list
  }
}

/// A training checkpoint: one safetensors file with weights, moments, averages and the state of the run as JSON in its metadata.
///
/// Appears whole or not at all: a run that is killed or fails while it saves leaves the earlier file as it was.
public final class TrainingCheckpoint {
  public let state: CheckpointState
  public let path: String
  private let file: SafeTensorsFile
  private let optimizerState: JSON
  /// CRC-32 of every tensor's bytes; null in files of earlier versions.
  private let checksums: JSON
  /// Metadata that only a checkpoint has.
  public static let versionKey = Checkpoint.trainingKey
  private static let stateKey = "state"
  private static let optimizerKey = "adamw"
  private static let checksumKey = "crc32"
  /// Metadata above this could not be read again.
  private static let stateLimit = 48 << 20

  // MARK: writing

  /// The one stage is "save"; a cancel, too, leaves an earlier file as it was.
  /// Throws: `.io` when the disk is full or fails (an earlier file stays, no temporary one remains), `.invalid` for a name that
  /// appears twice or a history too long to be read again, `.outOfMemory`, `.cancelled`.
  public static func save(
    _ state: CheckpointState, _ tensors: CheckpointTensors, to path: String, control: RunControl = RunControl()
  ) throws(MedDINOError) {
    let named = tensors.named
    var names: Set<String> = []
    for entry in named where !names.insert(entry.name).inserted {
      throw .invalid("checkpoint tensor \"\(entry.name)\" is given twice")
    }
    let text = state.json.text()
    guard text.utf8.count <= stateLimit else {
      throw .invalid("the state of the run (metrics' history) has \(text.utf8.count) bytes, expected at most \(stateLimit)")
    }
    var metadata = [(versionKey, String(CheckpointState.version)), (stateKey, text)]
    if let optimizer = tensors.optimizer { metadata.append((optimizerKey, optimizer.state.text())) }
    try control.begin("save", from: 0, to: 1)
    metadata.append((checksumKey, JSON.object(JSONObject(named.map { ($0.name, .integer(checksum($0.tensor))) })).text()))
    let items = named.map { SafeTensorsWriter.Item(name: $0.name, dtype: $0.tensor.dtype, shape: $0.tensor.shape) }
    var written = 0
    try SafeTensorsWriter.write(items, metadata: metadata, to: path) { (_) throws(MedDINOError) in
      written += 1
      try control.update(Double(written) / Double(named.count))
      return named[written - 1].tensor
    }
  }

  private static func checksum(_ tensor: Tensor) -> Int {
    defer { withExtendedLifetime(tensor) {} }
    return Int(CRC32.of(UnsafeRawBufferPointer(tensor.bytes)))
  }

  // MARK: reading

  /// Reads the state. Throws: `.format` for a file that is truncated or no checkpoint, `.unsupported` for a newer version, `.io`.
  public init(_ path: String) throws(MedDINOError) {
    self.path = path
    file = try SafeTensorsFile(InputFile(path))
    guard let text = file.metadata[Self.versionKey], let version = Int(text), version >= 1 else {
      throw .format("\(path): not a training checkpoint of meddino")
    }
    guard version <= CheckpointState.version else {
      throw .unsupported("\(path): training checkpoint of version \(version), this library reads up to \(CheckpointState.version)")
    }
    guard let stateText = file.metadata[Self.stateKey] else { throw .format("\(path): checkpoint without the state of its run") }
    state = try CheckpointState(JSON.parse(stateText, source: path), source: path)
    optimizerState = try file.metadata[Self.optimizerKey].map { text throws(MedDINOError) in try JSON.parse(text, source: path) } ?? .null
    checksums = try file.metadata[Self.checksumKey].map { text throws(MedDINOError) in try JSON.parse(text, source: path) } ?? .null
  }

  /// Puts everything back: afterwards the run goes on as if it had never stopped, bit for bit.
  ///
  /// Everything but the bits of the tensors is checked before anything changes, so only a failing disk or a damaged tensor can leave them
  /// half restored. Throws: `.invalid` for another architecture, `.format` when names or shapes differ, a tensor is damaged, or the
  /// optimiser's state is missing, `.io`.
  public func restore(_ tensors: CheckpointTensors, architecture: JSON) throws(MedDINOError) {
    if let difference = CheckpointState.difference(state.architecture, architecture) {
      throw .invalid("\(path): checkpoint of another architecture: \(difference)")
    }
    let named = tensors.named
    try check(named)
    let counts = try tensors.optimizer.map { optimizer throws(MedDINOError) in
      try AdamW.Counts(optimizerState, members: optimizer.members.map(\.parameter.name), source: path)
    }
    for entry in named {
      guard let place = file.entry(entry.name) else { continue }
      try file.source.read(at: place.offset, into: entry.tensor.bytes)
      try checkBits(entry.name, entry.tensor)
    }
    if let counts { tensors.optimizer?.restore(counts) }
  }

  public func contains(_ name: String) -> Bool { file.entry(name) != nil }

  /// One tensor of the file, such as `weights.cls_token`. Throws: `.format` for an unknown name or damaged bits, `.outOfMemory`, `.io`.
  public func tensor(_ name: String, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let tensor = try file.tensor(name, in: budget)
    try checkBits(name, tensor)
    return tensor
  }

  private func checkBits(_ name: String, _ tensor: Tensor) throws(MedDINOError) {
    guard let expected = checksums[name]?.intValue else { return }
    let found = Self.checksum(tensor)
    guard found == expected else {
      throw .format("\(path): \"\(name)\" is damaged: its checksum is \(found), expected \(expected)")
    }
  }

  private func check(_ named: [(name: String, tensor: Tensor)]) throws(MedDINOError) {
    func list(_ names: [String]) -> String {
      names.prefix(3).map { "\"\($0)\"" }.joined(separator: ", ") + (names.count > 3 ? " and \(names.count - 3) more" : "")
    }
    let missing = named.map(\.name).filter { file.entry($0) == nil }
    guard missing.isEmpty else { throw .format("\(path): checkpoint lacks \(list(missing))") }
    let wanted = Set(named.map(\.name))
    let surplus = file.names.filter { !wanted.contains($0) }
    guard surplus.isEmpty else { throw .format("\(path): checkpoint holds \(list(surplus)), which this run does not have") }
    for entry in named {
      guard let place = file.entry(entry.name), place.shape != entry.tensor.shape || place.dtype != entry.tensor.dtype else { continue }
      throw .format(
        "\(path): \"\(entry.name)\" is \(place.shape) \(place.dtype), expected \(entry.tensor.shape) \(entry.tensor.dtype)")
    }
  }
}

extension AdamW {
  /// The part of the optimiser that is no tensor.
  struct Counts {
    let steps, skipped, skippedInRow: Int
    let memberSteps: [Int]
    init(_ json: JSON, members: [String], source: String) throws(MedDINOError) {
      let each = members.compactMap { CheckpointState.count(json["member_steps"]?[$0]) }
      guard let steps = CheckpointState.count(json["steps"]), let skipped = CheckpointState.count(json["skipped"]),
        let inRow = CheckpointState.count(json["skipped_in_row"]), each.count == members.count
      else { throw .format("\(source): checkpoint without the optimiser's counts, expected whole numbers of 0 to 2^53") }
      self.steps = steps
      memberSteps = each
      self.skipped = skipped
      skippedInRow = inRow
    }
  }
  var state: JSON {
    .object(
      ("steps", .integer(steps)), ("skipped", .integer(skipped)), ("skipped_in_row", .integer(skippedInRow)),
      ("member_steps", .object(JSONObject(zip(members, memberSteps).map { ($0.parameter.name, .integer($1)) }))))
  }
  func restore(_ counts: Counts) {
    steps = counts.steps
    memberSteps = counts.memberSteps
    skipped = counts.skipped
    skippedInRow = counts.skippedInRow
  }
}
