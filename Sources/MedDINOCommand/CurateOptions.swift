import ArgumentParser
import Datasets
import MedDINO
import Platform
import Slices

/// How volumes become slices.
struct CurateRuleOptions: ParsableArguments {
  @Option(help: ArgumentHelp("In-plane spacing in mm, or \"keep\".", valueName: "mm")) var spacing = "0.45"
  @Option(help: ArgumentHelp("Rows and columns of a slice, or \"keep\" for what the spacing gives.", valueName: "n")) var size = "256"
  @Option(
    help: ArgumentHelp("To that size: resize (the whole field of view) or crop (about the centre).", valueName: "how"),
    completion: .list(["resize", "crop"]))
  var fit = "resize"
  @Option(help: ArgumentHelp("HU range, low,high.", valueName: "range")) var clip = "-1000,1000"
  @Option(help: ArgumentHelp("A slice with a smaller part of its pixels above -500 HU is empty.", valueName: "part")) var body = 0.02
  @Option(help: ArgumentHelp("Least distance in mm between slices of a volume.", valueName: "mm")) var step = 0.0
  @Flag(help: "Keep slices that were seen before.") var keepDuplicates = false
  @Option(help: ArgumentHelp("Most degrees between slices and the axial plane.", valueName: "degrees")) var tilt = 30.0
  @Flag(help: "Keep volumes whose values cannot be in HU.") var anyIntensity = false

  func rules() throws -> SliceRules {
    var rules = SliceRules()
    if spacing == "keep" {
      rules.spacing = nil
    } else {
      guard let value = DecimalText.parse(spacing) else {
        throw MedDINOError.invalid("--spacing is \"\(spacing)\", expected mm or keep")
      }
      rules.spacing = value
    }
    if size == "keep" {
      rules.size = nil
    } else {
      guard let value = Int(size) else { throw MedDINOError.invalid("--size is \"\(size)\", expected a number or keep") }
      rules.size = value
    }
    guard let fit = SliceRules.Fit(rawValue: fit) else { throw MedDINOError.invalid("--fit is \"\(fit)\", expected resize or crop") }
    rules.fit = fit
    let range = try integers(clip, "--clip")
    guard range.count == 2, range[0] < range[1] else { throw MedDINOError.invalid("--clip is \"\(clip)\", expected low,high") }
    rules.clip = range[0]...range[1]
    rules.bodyFraction = body
    rules.step = step
    rules.dropsDuplicates = !keepDuplicates
    rules.largestTilt = tilt
    rules.requiresHounsfield = !anyIntensity
    try rules.validate()
    return rules
  }
}

/// What stays out of a set, and what it says about its origin.
struct CurateContentOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Text file with names of volumes to keep out, one a line, as name, part/name or path in the source folder; repeatable.",
      valueName: "file"),
    completion: .file())
  var exclude: [String] = []
  @Option(
    help: ArgumentHelp(
      "Image or folder of images whose slices must not be in the set under any name, as benchmark test cases; repeatable.",
      valueName: "path"), completion: .file()) var excludeImages: [String] = []
  @Flag(help: "Leave out volumes that cannot be read, naming them, instead of failing.") var skipBad = false
  @Option(help: ArgumentHelp("Licence to record.", valueName: "text")) var licence: String?
  @Option(help: ArgumentHelp("Title to record.", valueName: "text")) var title: String?
  @Option(help: ArgumentHelp("Where the source is published, to record.", valueName: "text")) var reference: String?

  func applied(to source: CurationSource) -> CurationSource {
    var source = source
    if let licence { source.licence = licence }
    if let title { source.title = title }
    if let reference { source.reference = reference }
    return source
  }

  /// Lines of all files; "#" begins a comment.
  func excludedNames() throws -> [String] {
    try exclude.flatMap { path in
      let bytes = try InputFile.contents(path, limit: 64 << 20)
      return bytes.split(whereSeparator: { $0 == 10 || $0 == 13 }).map { line in
        String(decoding: line.prefix { $0 != UInt8(ascii: "#") }, as: UTF8.self)
      }.map { $0.trimming(" \t") }.filter { !$0.isEmpty }
    }
  }
}

extension String {
  fileprivate func trimming(_ characters: String) -> String {
    let start = drop { characters.contains($0) }
    return String(String(start.reversed().drop { characters.contains($0) }).reversed())
  }
}
