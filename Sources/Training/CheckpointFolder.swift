internal import Glibc
public import Platform

/// Numbered checkpoints of one run in a folder: `<name>_<step>.safetensors`. Old ones are removed after a new one is safe.
public struct CheckpointFolder: Sendable {
  public let folder: String
  public let name: String
  /// How many are kept; at least 1.
  public let keep: Int
  private static let ending = ".safetensors"

  /// Throws: `.invalid`, `.io` when the folder cannot be made.
  public init(_ folder: String, name: String = "checkpoint", keep: Int = 3) throws(MedDINOError) {
    guard keep >= 1 else { throw .invalid("checkpoints to keep are \(keep), expected at least 1") }
    guard !name.isEmpty, !name.utf8.contains(UInt8(ascii: "/")), !name.utf8.contains(0) else {
      throw .invalid("checkpoint name is \"\(name)\", expected a file name")
    }
    try makeFolder(folder)
    self.folder = folder
    self.name = name
    self.keep = keep
  }

  /// Ten digits, so that names sort as steps do.
  public func path(step: Int) -> String {
    let digits = String(max(step, 0))
    return "\(folder)/\(name)_" + String(repeating: "0", count: max(0, 10 - digits.count)) + digits + Self.ending
  }

  /// Steps of the checkpoints present, ascending. Throws: `.io`.
  public func steps() throws(MedDINOError) -> [Int] {
    try folderEntries(folder).compactMap { entry in
      guard entry.hasPrefix(name + "_"), entry.hasSuffix(Self.ending) else { return nil }
      let digits = entry.dropFirst(name.utf8.count + 1).dropLast(Self.ending.utf8.count)
      guard digits.utf8.count >= 10, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
      return Int(digits)
    }.sorted()
  }

  /// The newest one, or nil. Throws: `.io`.
  public func latest() throws(MedDINOError) -> String? { try steps().last.map(path(step:)) }

  /// Saves under the state's step, then removes the oldest above `keep`. Returns the path.
  /// Throws: as `TrainingCheckpoint.save`; nothing is removed then.
  @discardableResult
  public func save(_ state: CheckpointState, _ tensors: CheckpointTensors) throws(MedDINOError) -> String {
    let path = path(step: state.step)
    try TrainingCheckpoint.save(state, tensors, to: path)
    // Steps after this one belong to a run that was taken back to an earlier checkpoint: they do not count against the new ones.
    let older = try steps().filter { $0 <= state.step }
    for step in older.dropLast(keep) {
      guard unlink(self.path(step: step)) == 0 || errno == ENOENT else {
        throw .io("\(self.path(step: step)): \(systemMessage(errno))")
      }
    }
    return path
  }

  /// Removes what killed runs left half written beside the checkpoints: `<file>.tmp-<process>-<n>` of processes that are gone.
  /// Only for a folder that no other machine writes to. Throws: `.io`.
  public func removeAbandoned() throws(MedDINOError) {
    try AtomicFile.removeAbandoned(in: folder) { $0.hasPrefix(name) && $0.hasSuffix(Self.ending) }
  }
}
