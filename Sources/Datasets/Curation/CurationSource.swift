public import Slices
public import Platform
public import WeightFiles

/// Where a part of a slice set comes from.
public struct CurationSource: Equatable, Sendable {
  /// Name of the part: letters, digits, "-", "_" and ".".
  public var name: String
  public var title: String
  public var licence: String
  public var reference: String
  public var layout: SourceLayout
  public var folders: [String]

  public init(
    name: String, title: String = "", licence: String = "not stated", reference: String = "", layout: SourceLayout = .anything,
    folders: [String]
  ) {
    self.name = name
    self.title = title.isEmpty ? name : title
    self.licence = licence
    self.reference = reference
    self.layout = layout
    self.folders = folders
  }

  /// A name for a part from that of a folder. Throws: `.invalid` when nothing of it can be used.
  public static func name(ofFolder folder: String) throws(MedDINOError) -> String {
    let last = try absolutePath(folder).split(separator: "/").last.map(String.init) ?? ""
    let usable = last.unicodeScalars.map { scalar in
      scalar.isASCII && (scalar.properties.isAlphabetic || (48...57).contains(scalar.value) || "-_.".unicodeScalars.contains(scalar))
        ? Character(scalar) : "_"
    }
    let name = String(String(usable).drop { "-_.".contains($0) }.prefix(64))
    guard SliceManifest.isName(name) else { throw .invalid("\(folder): no name for a part follows from it, give one") }
    return name
  }
}

/// How a source is curated.
public struct CurationOptions: Sendable {
  public enum BadCase: String, Sendable, CaseIterable {
    /// A volume that cannot be read ends the run, or is left out and named.
    case refuse, skip
  }
  public var rules = SliceRules()
  /// Slices of one shard; the last one may have fewer.
  public var shardSlices = 4096
  /// Names of volumes that stay out: `name`, `part/name` for one part only, or the path of the file in its source folder.
  public var excludedNames: [String] = []
  /// Files or folders with images whose slices must not be in the set, under whatever name they come.
  public var excludedImages: [String] = []
  public var badCase = BadCase.refuse
  /// Volumes in memory at once; 0 chooses by threads and memory.
  public var jobs = 0
  public var reader: any VolumeReader = ImageVolumeReader()
  public init() {}
}

/// What a run did.
public struct CurationReport: Sendable {
  /// Folder of the part, and its manifest.
  public var folder: String
  public var manifest: SliceManifest
  /// All volumes, in the order of the set.
  public var cases: [SliceCase]
  /// Volume files that the layout does not name.
  public var passedOver: Int
  /// Names to exclude that no volume has.
  public var unmatchedExclusions: [String]
  /// Slices that were in the set already: of an earlier run that was stopped, or all.
  public var resumedSlices: Int
  /// Slices looked at in this run, and its seconds.
  public var seenSlices: Int
  public var seconds: Double
  public var threads: Int

  public var slicesPerSecond: Double { seconds > 0 ? Double(seenSlices) / seconds : 0 }
  public var leftOut: [SliceCase] { cases.filter { $0.leftOut != nil } }

  public var json: JSON {
    .object(
      ("folder", .string(folder)), ("name", .string(manifest.name)), ("licence", .string(manifest.licence)),
      ("cases", .integer(manifest.cases)), ("slices", manifest.slices.json), ("shards", .integer(manifest.shards.count)),
      ("bytes", .integer(manifest.shards.reduce(0) { $0 + $1.bytes })),
      ("left_out", .array(leftOut.map { .object(("name", .string($0.name)), ("reason", .string($0.leftOut ?? ""))) })),
      ("excluded_names", .array(manifest.excludedNames.map(JSON.string))),
      ("unmatched_exclusions", .array(unmatchedExclusions.map(JSON.string))), ("passed_over", .integer(passedOver)),
      ("statistics", manifest.intensities.statistics().json),
      ("body_statistics", manifest.intensities.statistics(from: manifest.rules.bodyThreshold).json),
      ("resumed_slices", .integer(resumedSlices)), ("seen_slices", .integer(seenSlices)), ("seconds", .number(seconds)),
      ("slices_per_second", .number(slicesPerSecond)), ("threads", .integer(threads)))
  }
}
