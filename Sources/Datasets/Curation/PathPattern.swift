/// A path with wildcards: "*" stands for any text within a name, "**" for any number of folders, also none.
struct PathPattern: Sendable {
  private let parts: [[UInt8]]
  private static let anyFolders = Array("**".utf8)

  init(_ text: String) { parts = Self.split(text) }

  func matches(_ path: String) -> Bool { Self.matches(parts[...], Self.split(path)[...]) }

  private static func split(_ text: String) -> [[UInt8]] { text.utf8.split(separator: UInt8(ascii: "/")).map { Array($0) } }

  private static func matches(_ parts: ArraySlice<[UInt8]>, _ names: ArraySlice<[UInt8]>) -> Bool {
    guard let first = parts.first else { return names.isEmpty }
    if first == anyFolders {
      return (0...names.count).contains { matches(parts.dropFirst(), names.dropFirst($0)) }
    }
    guard let name = names.first, matchesName(first, name) else { return false }
    return matches(parts.dropFirst(), names.dropFirst())
  }

  /// Greedy with one step back to the last star: linear in most names, never more than the product of the lengths.
  private static func matchesName(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
    let star = UInt8(ascii: "*")
    var (p, n, lastStar, mark) = (0, 0, -1, 0)
    while n < name.count {
      if p < pattern.count, pattern[p] == star {
        (lastStar, mark) = (p, n)
        p += 1
      } else if p < pattern.count, pattern[p] == name[n] {
        p += 1
        n += 1
      } else if lastStar >= 0 {
        mark += 1
        (p, n) = (lastStar + 1, mark)
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == star }
  }
}
