public import Platform
public import WeightFiles

/// Slices of a volume by what became of them.
public struct SliceCounts: Equatable, Sendable {
  public var kept = 0
  public var empty = 0
  public var duplicate = 0
  /// Nearer to a kept slice than the rule's step.
  public var thinned = 0
  /// Found among the images that must stay out.
  public var excluded = 0

  public init() {}
  public var seen: Int { kept + empty + duplicate + thinned + excluded }

  public mutating func add(_ other: SliceCounts) {
    kept += other.kept
    empty += other.empty
    duplicate += other.duplicate
    thinned += other.thinned
    excluded += other.excluded
  }

  public var json: JSON {
    .object(
      ("kept", .integer(kept)), ("empty", .integer(empty)), ("duplicate", .integer(duplicate)), ("thinned", .integer(thinned)),
      ("excluded", .integer(excluded)))
  }
  init(_ json: JSON, _ source: String) throws(MedDINOError) {
    let fields = JSONFields(json, source)
    kept = try fields.count("kept")
    empty = try fields.count("empty")
    duplicate = try fields.count("duplicate")
    thinned = try fields.count("thinned")
    excluded = try fields.count("excluded")
  }
}

/// Where slices come from: one published volume, and what became of it.
public struct SliceCase: Equatable, Sendable {
  public var name: String
  /// Path in its source folder.
  public var file: String
  /// Rows, columns and slices of the volume in the order of its slices, spacing of the same axes in mm.
  public var dims: [Int]
  public var spacing: [Double]
  /// How the axes of the file run, and the angle between its slices and the axial plane in degrees.
  public var orientation: String
  public var tilt: Double
  public var slices: SliceCounts
  /// Why no slice was looked at; nil when they were.
  public var leftOut: String?

  public init(name: String, file: String) {
    self.name = name
    self.file = file
    dims = []
    spacing = []
    orientation = ""
    tilt = 0
    slices = SliceCounts()
  }

  public var json: JSON {
    .object(
      ("name", .string(name)), ("file", .string(file)), ("dims", .integers(dims)), ("spacing_mm", .numbers(spacing)),
      ("orientation", .string(orientation)), ("tilt_degrees", .number(tilt)), ("slices", slices.json),
      ("left_out", leftOut.map(JSON.string) ?? .null))
  }
  public init(_ json: JSON, _ source: String) throws(MedDINOError) {
    let fields = JSONFields(json, source)
    name = try fields.text("name")
    file = try fields.text("file")
    dims = try fields.integers("dims")
    spacing = try fields.numbers("spacing_mm")
    orientation = try fields.text("orientation")
    tilt = try fields.number("tilt_degrees")
    slices = try SliceCounts(try fields.object("slices"), source)
    leftOut = json["left_out"]?.stringValue
  }
}
