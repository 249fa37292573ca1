public import Platform
public import WeightFiles

/// `set.json`: what one part of a set holds, by which rules, from where and under which licence.
///
/// It is written last, so that a folder without it is no finished part.
public struct SliceManifest: Equatable, Sendable {
  public static let fileName = "set.json"
  public static let casesName = "cases.json"
  static let format = "meddino slice set"
  static let version = 1

  /// Name of the part: letters, digits, "-", "_" and ".".
  public var name: String
  public var title: String
  public var licence: String
  public var reference: String
  public var rules: SliceRules
  /// Volumes found, and of these left out.
  public var cases: Int
  public var leftOut: Int
  /// Names of volumes that were kept out, and slices of images that must not be in the set.
  public var excludedNames: [String]
  public var excludedSlices: Int
  public var slices: SliceCounts
  public var intensities: IntensityCounts
  public var shards: [SliceShardRecord]
  /// The parts whose slices were counted as seen before, with the SHA-256 of their manifests.
  public var earlierParts: [(name: String, sha256: String)]

  public init(
    name: String, title: String, licence: String, reference: String, rules: SliceRules, cases: Int, leftOut: Int, excludedNames: [String],
    excludedSlices: Int, slices: SliceCounts, intensities: IntensityCounts, shards: [SliceShardRecord],
    earlierParts: [(name: String, sha256: String)]
  ) {
    self.name = name
    self.title = title
    self.licence = licence
    self.reference = reference
    self.rules = rules
    self.cases = cases
    self.leftOut = leftOut
    self.excludedNames = excludedNames
    self.excludedSlices = excludedSlices
    self.slices = slices
    self.intensities = intensities
    self.shards = shards
    self.earlierParts = earlierParts
  }

  public static func == (a: SliceManifest, b: SliceManifest) -> Bool { a.json == b.json }

  /// Names that are also file names everywhere: 1 to 64 letters, digits, "-", "_" and ".", none of these first.
  public static func isName(_ name: String) -> Bool {
    func isPlain(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) }
    guard (1...64).contains(name.utf8.count), let first = name.utf8.first, isPlain(first) else { return false }
    return name.utf8.allSatisfy { isPlain($0) || $0 == 45 || $0 == 46 || $0 == 95 }
  }

  public var json: JSON {
    .object(
      ("format", .string(Self.format)), ("version", .integer(Self.version)), ("name", .string(name)), ("title", .string(title)),
      ("licence", .string(licence)), ("reference", .string(reference)), ("rules", rules.json), ("cases", .integer(cases)),
      ("left_out", .integer(leftOut)), ("excluded_names", .array(excludedNames.map(JSON.string))),
      ("excluded_slices", .integer(excludedSlices)), ("slices", slices.json), ("statistics", intensities.statistics().json),
      ("body_statistics", intensities.statistics(from: rules.bodyThreshold).json), ("intensities", intensities.json),
      ("shards", .array(shards.map(\.json))),
      (
        "earlier_parts",
        .array(earlierParts.map { .object(("name", .string($0.name)), ("sha256", .string($0.sha256))) })
      ))
  }

  /// Throws: `.format` naming `source`, `.unsupported` for a newer version.
  public init(_ json: JSON, _ source: String) throws(MedDINOError) {
    let fields = JSONFields(json, source)
    guard try fields.text("format") == Self.format else { throw .format("\(source): no manifest of a slice set") }
    let version = try fields.integer("version")
    guard version == Self.version else { throw .unsupported("\(source): version \(version), this program reads \(Self.version)") }
    name = try fields.text("name")
    guard Self.isName(name) else { throw .format("\(source): name is \"\(name.prefix(80))\", expected letters, digits, - _ .") }
    title = try fields.text("title")
    licence = try fields.text("licence")
    reference = try fields.text("reference")
    rules = try SliceRules(try fields.object("rules"), source)
    cases = try fields.count("cases")
    leftOut = try fields.count("left_out")
    excludedNames = try fields.texts("excluded_names")
    excludedSlices = try fields.count("excluded_slices")
    slices = try SliceCounts(try fields.object("slices"), source)
    intensities = try IntensityCounts(try fields.object("intensities"), source)
    shards = []
    var total = 0
    for (number, entry) in try fields.list("shards").enumerated() {
      let record = try SliceShardRecord(entry, source)
      // Names follow from the number: a manifest cannot point out of its folder.
      guard record.file == SliceShardWriter.names(name, number).tar, record.index == SliceShardWriter.names(name, number).index else {
        throw .format("\(source): shard \(number) is \"\(record.file)\", expected \(SliceShardWriter.names(name, number).tar)")
      }
      total = try Checked.sum(total, record.slices, source)
      shards.append(record)
    }
    guard total == slices.kept else { throw .format("\(source): the shards hold \(total) slices, the counts say \(slices.kept)") }
    earlierParts = []
    for entry in try fields.list("earlier_parts") {
      let part = JSONFields(entry, source)
      earlierParts.append((try part.text("name"), try part.text("sha256")))
    }
  }

  /// The manifest in the folder of a part, and the SHA-256 of its file. Throws: `.io`, `.format`, `.unsupported`.
  public static func read(_ folder: String) throws(MedDINOError) -> (manifest: SliceManifest, sha256: String) {
    let path = folder + "/" + fileName
    let bytes = try InputFile.contents(path)
    return (try SliceManifest(try JSON.parse(bytes, source: path), path), hexadecimal(SHA256.of(bytes)))
  }
}

extension SliceShardRecord {
  public var json: JSON {
    .object(
      ("file", .string(file)), ("index", .string(index)), ("slices", .integer(slices)), ("bytes", .integer(bytes)),
      ("sha256", .string(sha256)), ("index_sha256", .string(indexSHA256)))
  }
  public init(_ json: JSON, _ source: String) throws(MedDINOError) {
    let fields = JSONFields(json, source)
    file = try fields.text("file")
    index = try fields.text("index")
    slices = try fields.count("slices")
    bytes = try fields.count("bytes")
    sha256 = try fields.text("sha256")
    indexSHA256 = try fields.text("index_sha256")
  }
}
