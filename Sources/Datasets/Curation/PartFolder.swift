import Glibc
internal import Platform
internal import Slices
internal import WeightFiles

/// The folder of a part while it is made. One run at a time: the system takes the lock back from a process that was killed.
final class PartFolder {
  let path: String
  let part: String
  private let lock: FileLock
  var resume: String { path + "/" + SliceSet.resumeFolder }

  /// Makes the folder. Throws: `.state` while another run writes to it, `.io`.
  init(_ destination: String, part: String) throws(MedDINOError) {
    path = destination + "/" + part
    self.part = part
    try makeFolder(path + "/" + SliceSet.resumeFolder)
    guard let lock = try FileLock.take(path + "/.lock") else { throw .state("\(path): another run writes to it") }
    if let missing = lock.missing { throw missing }
    self.lock = lock
    try AtomicFile.removeAbandoned(in: path) { _ in true }
    try AtomicFile.removeAbandoned(in: resume) { _ in true }
  }

  func isFinished() -> Bool { FileKind.of(path + "/" + SliceManifest.fileName) == .regular }

  /// From a finished part to one in work. Throws: `.io`.
  func reopen() throws(MedDINOError) {
    let file = path + "/" + SliceManifest.fileName
    guard unlink(file) == 0 else { throw .io("\(file): \(systemMessage(errno))") }
  }

  /// The plan of the run that began the part; nil for a new one. Throws: `.format`, `.io`.
  func plan() throws(MedDINOError) -> JSON? {
    let file = resume + "/" + SliceSet.planName
    guard FileKind.of(file) != .missing else { return nil }
    return try JSON.parse(try InputFile.contents(file, limit: 1 << 30), source: file)
  }

  func write(_ json: JSON, _ name: String, indent: Int? = nil) throws(MedDINOError) {
    try AtomicFile.write(Array((json.text(indent: indent) + "\n").utf8), to: path + "/" + name)
  }

  /// The file that says that a shard is complete and how things stood behind it.
  func stepName(_ shard: Int) -> String { "\(SliceSet.resumeFolder)/shard-\(shard).json" }

  /// nil when the shard is not complete. Throws: `.format`, `.io`.
  func step(_ shard: Int) throws(MedDINOError) -> ShardStep? {
    let file = path + "/" + stepName(shard)
    guard FileKind.of(file) == .regular else { return nil }
    return try ShardStep(try JSON.parse(try InputFile.contents(file, limit: 1 << 30), source: file), file)
  }
}

/// How things stood when a shard was complete: what a stopped run goes on from.
struct ShardStep: Equatable {
  var record: SliceShardRecord
  /// Volumes that were finished since the shard before.
  var cases: [SliceCase]
  /// The volume in work, and how many of its slices are in shards.
  var caseNumber: Int
  var keptOfCase: Int
  /// Of the slices in this shard.
  var intensities: IntensityCounts

  var json: JSON {
    .object(
      ("record", record.json), ("cases", .array(cases.map(\.json))), ("case", .integer(caseNumber)), ("kept", .integer(keptOfCase)),
      ("intensities", intensities.json))
  }
}

extension ShardStep {
  init(_ json: JSON, _ source: String) throws(MedDINOError) {
    let fields = JSONFields(json, source)
    record = try SliceShardRecord(try fields.object("record"), source)
    cases = []
    for entry in try fields.list("cases") { cases.append(try SliceCase(entry, source)) }
    caseNumber = try fields.count("case")
    keptOfCase = try fields.count("kept")
    intensities = try IntensityCounts(try fields.object("intensities"), source)
  }
}
