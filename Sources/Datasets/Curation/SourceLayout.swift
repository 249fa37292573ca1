internal import Imaging
internal import Platform

/// Where the CT volumes of a source lie in its folder, and how they are called.
public struct SourceLayout: Equatable, Sendable {
  public enum Naming: String, Sendable {
    /// The name of the file, that of its folder, or its path with "_" for "/".
    case file, folder, path
  }
  /// Paths in the source folder without the ending of the file; "*" within a name, "**" for any folders.
  public var images: [String]
  /// The same, for files that are no images though a pattern fits.
  public var ignored: [String]
  public var naming: Naming
  /// Taken off the end of names.
  public var suffix: String
  /// Volumes with a larger number at the end of their name are no CT.
  public var largestNumber: Int?

  public init(
    _ images: [String], ignored: [String] = [], naming: Naming = .file, suffix: String = "", largestNumber: Int? = nil
  ) {
    self.images = images
    self.ignored = ignored
    self.naming = naming
    self.suffix = suffix
    self.largestNumber = largestNumber
  }

  /// Every volume below the folder, but for names of labels and masks.
  public static let anything = SourceLayout(
    ["**/*"],
    ignored: [
      "**/labels*/**", "**/label*", "**/*segmentation*/**", "**/*segmentation*", "**/*_seg", "**/seg_*", "**/*mask*/**", "**/*mask*",
    ],
    naming: .path)
}

/// A volume of a source.
struct SourceVolume: Equatable, Sendable {
  let name: String
  /// Path in the source folder, and from here.
  let file: String
  let path: String
  let bytes: Int
}

/// The volumes found in the folders of a source, in the order of their names.
struct SourceListing {
  private(set) var volumes: [SourceVolume] = []
  /// Volume files that the layout does not name.
  private(set) var passedOver = 0
  private let layout: SourceLayout
  private let images: [PathPattern]
  private let ignored: [PathPattern]
  private let reader: any VolumeReader

  /// Throws: `.io` for a folder that is missing, `.invalid` when nothing is found or two volumes have one name.
  init(_ folders: [String], layout: SourceLayout, reader: any VolumeReader) throws(MedDINOError) {
    self.layout = layout
    self.reader = reader
    images = layout.images.map(PathPattern.init)
    ignored = layout.ignored.map(PathPattern.init)
    for folder in folders {
      guard FileKind.of(folder) == .directory else { throw .io("\(folder): no such folder") }
      let before = volumes.count
      try add(folder, "", depth: 12)
      guard volumes.count > before else {
        throw .invalid(
          "\(folder): no volume found, expected \(layout.images.joined(separator: " or ")) (\(VolumeFile.endingsInWords))"
            + (passedOver > 0 ? "; \(passedOver) volume files have other names" : ""))
      }
    }
    volumes.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    for (one, next) in zip(volumes, volumes.dropFirst()) where one.name == next.name {
      throw .invalid("\(next.path): a second volume \"\(one.name)\", the first is \(one.path)")
    }
  }

  private mutating func add(_ root: String, _ below: String, depth: Int) throws(MedDINOError) {
    let folder = below.isEmpty ? root : root + "/" + below
    for entry in try folderEntries(folder) where !entry.hasPrefix(".") {
      let file = below.isEmpty ? entry : below + "/" + entry
      switch FileKind.of(root + "/" + file) {
      case .directory: if depth > 0 { try add(root, file, depth: depth - 1) }
      case .regular: try addFile(root, below, entry)
      default: continue
      }
    }
  }

  private mutating func addFile(_ root: String, _ below: String, _ entry: String) throws(MedDINOError) {
    guard let stem = reader.stem(entry) else { return }
    let place = below.isEmpty ? stem : below + "/" + stem
    guard images.contains(where: { $0.matches(place) }), !ignored.contains(where: { $0.matches(place) }) else {
      passedOver += 1
      return
    }
    var name: String
    switch layout.naming {
    case .file: name = stem
    case .folder: name = below.split(separator: "/").last.map(String.init) ?? stem
    case .path: name = place.split(separator: "/").joined(separator: "_")
    }
    if !layout.suffix.isEmpty, name.hasSuffix(layout.suffix) { name = String(name.dropLast(layout.suffix.count)) }
    if let limit = layout.largestNumber {
      let digits = String(name.reversed().prefix { $0.isASCII && $0.isNumber }.reversed())
      guard let number = Int(digits), number <= limit else {
        passedOver += 1
        return
      }
    }
    let file = below.isEmpty ? entry : below + "/" + entry
    let path = root + "/" + file
    volumes.append(SourceVolume(name: name, file: file, path: path, bytes: try FileStamp(path).size))
  }
}
