package import Platform

extension SliceSet {
  /// Folder in a part that a stopped run goes on from.
  package static let resumeFolder = "resume"
  package static let planName = "plan.json"

  /// Whether the folder is a part that a run began and did not finish.
  package static func isUnfinished(_ folder: String) -> Bool {
    FileKind.of(folder + "/" + SliceManifest.fileName) == .missing
      && FileKind.of("\(folder)/\(resumeFolder)/\(planName)") == .regular
  }

  /// Whether there is a set at a path, or one that is not finished: something else than a folder of volumes.
  public static func isSet(_ path: String) -> Bool {
    guard FileKind.of(path) == .directory, let entries = try? folderEntries(path) else { return false }
    return ([path] + entries.map { path + "/" + $0 }).contains {
      FileKind.of($0 + "/" + SliceManifest.fileName) == .regular || isUnfinished($0)
    }
  }

  /// The parts of a folder: the folder itself, or the folders in it. Throws: `.invalid` when there is none; `.state` for an unfinished
  /// one, `.io`, `.format` (unless skipped).
  static func findParts(_ path: String, _ policy: Policy, _ skipped: inout [Fault]) throws(MedDINOError) -> [Part] {
    guard FileKind.of(path) == .directory else { throw .io("\(path): no such folder") }
    var folders = [path]
    if FileKind.of(path + "/" + SliceManifest.fileName) == .missing, !isUnfinished(path) {
      folders = try folderEntries(path).filter { !$0.hasPrefix(".") }.map { path + "/" + $0 }.filter {
        FileKind.of($0 + "/" + SliceManifest.fileName) != .missing || isUnfinished($0)
      }
    }
    guard !folders.isEmpty else { throw .invalid("\(path): no slice set, expected \(SliceManifest.fileName) in it or in folders of it") }
    var parts: [Part] = []
    for folder in folders {
      do throws(MedDINOError) {
        if isUnfinished(folder) { throw .state("\(folder): not finished; the command that made it goes on where it stopped") }
        let (manifest, sha256) = try SliceManifest.read(folder)
        parts.append(Part(folder: folder, manifest: manifest, sha256: sha256))
      } catch {
        guard policy == .skip else { throw error }
        skipped.append(Fault(place: folder, reason: error.message))
      }
    }
    return parts
  }

  /// The index rows of a shard, after its bytes are seen to be those that were written. Throws: `.io`, `.format`.
  package static func forEachRow(
    in folder: String, _ record: SliceShardRecord, _ body: (SliceRow) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    let shard = try SliceShard(folder: folder, record)
    let hash = try shard.indexHash()
    guard hash == record.indexSHA256 else {
      throw .format("\(folder)/\(record.index): SHA-256 is \(hash), expected \(record.indexSHA256)")
    }
    var start = 0
    while start < record.slices {
      let end = min(start + 4096, record.slices)
      for row in try shard.rows(start..<end) { try body(row) }
      start = end
    }
  }
}
