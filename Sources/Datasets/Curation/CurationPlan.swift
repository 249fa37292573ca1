internal import Platform
internal import Slices
internal import WeightFiles

/// What a run is about to make, so that a later run can tell whether it would make the same: everything but where the files lie.
struct CurationPlan {
  let source: CurationSource
  let rules: SliceRules
  let shardSlices: Int
  let badCase: CurationOptions.BadCase
  let volumes: [SourceVolume]
  /// Names that were found and stay out, and those that no volume has.
  let excludedNames: [String]
  let unmatched: [String]
  /// Images that must stay out.
  let excludedImages: [SourceVolume]
  let passedOver: Int

  /// Throws: `.invalid`, `.io`.
  init(_ source: CurationSource, _ options: CurationOptions) throws(MedDINOError) {
    guard SliceManifest.isName(source.name) else {
      throw .invalid("name is \"\(source.name)\", expected 1 to 64 letters, digits, \"-\", \"_\" or \".\", a letter or digit first")
    }
    guard !source.folders.isEmpty else { throw .invalid("no source folder is given") }
    guard (1...1_000_000).contains(options.shardSlices) else {
      throw .invalid("slices per shard are \(options.shardSlices), expected 1 to 1000000")
    }
    try options.rules.validate()
    let listing = try SourceListing(source.folders, layout: source.layout, reader: options.reader)
    let wanted = try ExcludedNames(options.excludedNames, part: source.name)
    var found: Set<String> = []
    var kept: [SourceVolume] = []
    var met: Set<String> = []
    for volume in listing.volumes {
      let entries = wanted.entries(of: volume)
      met.formUnion(entries)
      if entries.isEmpty { kept.append(volume) } else { found.insert(volume.name) }
    }
    guard !kept.isEmpty else { throw .invalid("\(source.name): all \(listing.volumes.count) volumes are excluded") }
    self.source = source
    rules = options.rules
    shardSlices = options.shardSlices
    badCase = options.badCase
    volumes = kept
    excludedNames = found.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    unmatched = wanted.unmatched(met, of: listing.volumes)
    passedOver = listing.passedOver
    excludedImages = try Self.images(options.excludedImages, options.reader)
  }

  /// Every volume of files and folders.
  private static func images(_ paths: [String], _ reader: any VolumeReader) throws(MedDINOError) -> [SourceVolume] {
    var images: [SourceVolume] = []
    for path in paths {
      if FileKind.of(path) == .regular {
        let name = fileName(path)
        images.append(SourceVolume(name: name, file: name, path: path, bytes: try FileStamp(path).size))
      } else {
        images += try SourceListing([path], layout: .anything, reader: reader).volumes
      }
    }
    return images
  }

  /// `earlier`: the parts whose slices count as seen.
  func json(earlier: [(name: String, sha256: String)]) -> JSON {
    func list(_ volumes: [SourceVolume]) -> JSON {
      .array(volumes.map { .object(("name", .string($0.name)), ("file", .string($0.file)), ("bytes", .integer($0.bytes))) })
    }
    return .object(
      ("format", .string("meddino curation plan")), ("version", .integer(1)), ("name", .string(source.name)),
      ("title", .string(source.title)), ("licence", .string(source.licence)), ("reference", .string(source.reference)),
      ("rules", rules.json), ("shard_slices", .integer(shardSlices)), ("bad_case", .string(badCase.rawValue)),
      ("excluded_names", .array(excludedNames.map(JSON.string))), ("volumes", list(volumes)), ("excluded_images", list(excludedImages)),
      (
        "earlier_parts",
        .array(earlier.map { .object(("name", .string($0.name)), ("sha256", .string($0.sha256))) })
      ))
  }

  /// The first thing in which two plans differ, in words; nil when they are the same.
  static func difference(_ old: JSON, _ new: JSON) -> String? {
    for (key, value) in new.objectValue?.entries ?? [] where old[key] != value {
      let before = old[key]
      if key == "rules" {
        for (rule, wanted) in value.objectValue?.entries ?? [] where before?[rule] != wanted {
          return "\(rule) was \(before?[rule]?.text() ?? "not there"), is \(wanted.text())"
        }
      }
      if let list = value.arrayValue, let earlier = before?.arrayValue {
        let place = zip(earlier, list).enumerated().first { $1.0 != $1.1 }?.offset ?? min(earlier.count, list.count)
        func entry(_ list: [JSON]) -> String { place < list.count ? list[place].text() : "nothing" }
        return "\(key) \(place) was \(entry(earlier)), is \(entry(list))"
      }
      return "\(key) was \(before?.text() ?? "not there"), is \(value.text())"
    }
    return nil
  }
}
