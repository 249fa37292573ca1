internal import Imaging
internal import Platform

/// Volumes that stay out of one part: by name, by part/name, or by the path of the file in the source folder (also behind the part's name).
/// Endings of files may stand behind all of them.
struct ExcludedNames {
  /// What an entry may mean: several entries may name one volume, one entry several.
  private var byName: [String: Set<String>] = [:]
  private var byPath: [String: Set<String>] = [:]
  private var all: [String] = []
  private let part: String

  /// Throws: `.invalid` for an entry with nothing before, between or behind its slashes.
  init(_ entries: [String], part: String) throws(MedDINOError) {
    self.part = part
    for entry in entries {
      let bare = Self.bare(entry)
      let fields = bare.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
      guard fields.allSatisfy({ !$0.isEmpty }) else {
        throw .invalid("excluded name \"\(entry)\", expected a name, part/name, or the path of a file in the source folder")
      }
      all.append(bare)
      if fields.count == 1 { byName[bare, default: []].insert(bare) }
      byPath[bare, default: []].insert(bare)
      guard fields.count > 1, fields[0] == part else { continue }
      if fields.count == 2 { byName[fields[1], default: []].insert(bare) }
      byPath[fields.dropFirst().joined(separator: "/"), default: []].insert(bare)
    }
  }

  private static func bare(_ path: String) -> String { VolumeFile.stem(path) ?? path }

  /// The entries that a volume is kept out by.
  func entries(of volume: SourceVolume) -> Set<String> {
    (byName[volume.name] ?? []).union(byPath[Self.bare(volume.file)] ?? [])
  }

  /// Entries that no volume has, as far as they are about this part: one with a slash may name another part, unless it begins with a folder
  /// of this source.
  func unmatched(_ met: Set<String>, of volumes: [SourceVolume]) -> [String] {
    let folders = Set(volumes.compactMap { $0.file.contains("/") ? $0.file.split(separator: "/").first.map(String.init) : nil })
    let left = Set(all).subtracting(met).filter { entry in
      guard let first = entry.split(separator: "/").first.map(String.init), entry.contains("/") else { return true }
      return first == part || folders.contains(first)
    }
    return left.map { entry in
      entry.hasPrefix(part + "/") ? String(entry.dropFirst(part.utf8.count + 1)) : entry
    }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
}
