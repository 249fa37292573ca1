public import Platform
public import WeightFiles

/// How volumes become slices: the stated rules of a set, kept in its manifest.
///
/// The paper gives 0.45 mm and 256 × 256 and no more; the rest are our choices. Source: demand and peers A3.
public struct SliceRules: Equatable, Sendable {
  /// What happens when the resampled slice is not `size` × `size`.
  public enum Fit: String, Sendable, CaseIterable {
    /// Padded to a square with the lowest HU, then resized as a whole: the field of view stays, the spacing does not.
    case resize
    /// Cut or padded about its centre: the spacing stays.
    case crop
  }
  /// In-plane spacing that slices are resampled to; nil keeps each volume's own. Units: mm.
  public var spacing: Double? = 0.45
  /// Rows and columns; nil keeps what the spacing gives, so that slices differ in size.
  public var size: Int? = 256
  public var fit = Fit.resize
  /// Values are clipped to this range before anything else. Units: HU.
  public var clip = -1000...1000
  /// A slice is empty when, of its published pixels after the clip, less than `bodyFraction` are above `bodyThreshold` HU, or all lie
  /// within `smallestRange` HU.
  public var bodyThreshold = -500
  public var bodyFraction = 0.02
  public var smallestRange = 100
  /// Least distance of a slice to the one before it in its volume that is in the set; 0 keeps every slice. Units: mm.
  public var step = 0.0
  /// A slice whose published pixels were seen before is dropped.
  public var dropsDuplicates = true
  /// Volumes whose slices are turned further against the axial plane are left out. Units: degrees.
  public var largestTilt = 30.0
  /// Volumes that cannot be in HU (no value below 0, or all values within 100) are left out.
  public var requiresHounsfield = true

  public init() {}

  /// Throws: `.invalid`, naming the rule.
  public func validate() throws(MedDINOError) {
    if let spacing {
      guard spacing.isFinite, (0.05...20).contains(spacing) else { throw .invalid("spacing is \(spacing), expected 0.05 to 20 mm") }
    }
    if let size {
      guard (16...SliceRow.largestSide).contains(size) else { throw .invalid("size is \(size), expected 16 to \(SliceRow.largestSide)") }
    }
    guard clip.lowerBound >= -32768, clip.upperBound <= 32767, clip.count > 1 else {
      throw .invalid("clip is \(clip.lowerBound),\(clip.upperBound), expected low,high within -32768,32767")
    }
    guard bodyFraction.isFinite, (0...1).contains(bodyFraction) else {
      throw .invalid("body fraction is \(bodyFraction), expected 0 to 1")
    }
    guard (-32768...32767).contains(bodyThreshold), (0...65535).contains(smallestRange) else {
      throw .invalid("body threshold is \(bodyThreshold) and smallest range \(smallestRange), expected HU")
    }
    guard step.isFinite, (0...1000).contains(step) else { throw .invalid("step is \(step), expected 0 to 1000 mm") }
    guard largestTilt.isFinite, (0...90).contains(largestTilt) else { throw .invalid("tilt is \(largestTilt), expected 0 to 90 degrees") }
  }

  public var json: JSON {
    .object(
      ("spacing_mm", spacing.map(JSON.number) ?? .null), ("size", size.map(JSON.integer) ?? .null), ("fit", .string(fit.rawValue)),
      ("clip_hu", .integers([clip.lowerBound, clip.upperBound])), ("body_threshold_hu", .integer(bodyThreshold)),
      ("body_fraction", .number(bodyFraction)), ("smallest_range_hu", .integer(smallestRange)), ("step_mm", .number(step)),
      ("drop_duplicates", .bool(dropsDuplicates)), ("largest_tilt_degrees", .number(largestTilt)),
      ("require_hounsfield", .bool(requiresHounsfield)))
  }

  /// Throws: `.format` naming `source`.
  public init(_ json: JSON, _ source: String) throws(MedDINOError) {
    let reader = JSONFields(json, source)
    spacing = json["spacing_mm"]?.isNull == true ? nil : try reader.number("spacing_mm")
    size = json["size"]?.isNull == true ? nil : try reader.integer("size")
    guard let fit = Fit(rawValue: try reader.text("fit")) else { throw .format("\(source): fit is no resize or crop") }
    self.fit = fit
    let range = try reader.integers("clip_hu")
    guard range.count == 2, range[0] <= range[1] else { throw .format("\(source): clip_hu is \(range), expected low and high") }
    clip = range[0]...range[1]
    bodyThreshold = try reader.integer("body_threshold_hu")
    bodyFraction = try reader.number("body_fraction")
    smallestRange = try reader.integer("smallest_range_hu")
    step = try reader.number("step_mm")
    dropsDuplicates = try reader.bool("drop_duplicates")
    largestTilt = try reader.number("largest_tilt_degrees")
    requiresHounsfield = try reader.bool("require_hounsfield")
    do throws(MedDINOError) { try validate() } catch { throw .format("\(source): \(error.message)") }
  }
}

/// Fields of an object that must be there. Throws: `.format` naming the file and the key.
package struct JSONFields {
  private let json: JSON
  private let source: String

  package init(_ json: JSON, _ source: String) {
    self.json = json
    self.source = source
  }
  private func get<Value>(_ key: String, _ kind: String, _ read: (JSON) -> Value?) throws(MedDINOError) -> Value {
    guard let value = json[key] else { throw .format("\(source): \(key) is missing") }
    guard let result = read(value) else { throw .format("\(source): \(key) is \(value.text().prefix(60)), expected \(kind)") }
    return result
  }
  package func text(_ key: String) throws(MedDINOError) -> String { try get(key, "text") { $0.stringValue } }
  package func bool(_ key: String) throws(MedDINOError) -> Bool { try get(key, "true or false") { $0.boolValue } }
  package func number(_ key: String) throws(MedDINOError) -> Double { try get(key, "a number") { $0.doubleValue } }
  package func integer(_ key: String) throws(MedDINOError) -> Int { try get(key, "a whole number") { $0.intValue } }
  /// A whole number from 0.
  package func count(_ key: String) throws(MedDINOError) -> Int {
    try get(key, "a whole number from 0") { value in value.intValue.flatMap { $0 >= 0 ? $0 : nil } }
  }
  package func list(_ key: String) throws(MedDINOError) -> [JSON] { try get(key, "a list") { $0.arrayValue } }
  package func object(_ key: String) throws(MedDINOError) -> JSON { try get(key, "an object") { $0.objectValue == nil ? nil : $0 } }
  package func integers(_ key: String) throws(MedDINOError) -> [Int] {
    try get(key, "a list of whole numbers") { value in
      guard let items = value.arrayValue else { return nil }
      let numbers = items.compactMap(\.intValue)
      return numbers.count == items.count ? numbers : nil
    }
  }
  package func numbers(_ key: String) throws(MedDINOError) -> [Double] {
    try get(key, "a list of numbers") { value in
      guard let items = value.arrayValue else { return nil }
      let numbers = items.compactMap(\.doubleValue)
      return numbers.count == items.count ? numbers : nil
    }
  }
  package func texts(_ key: String) throws(MedDINOError) -> [String] {
    try get(key, "a list of texts") { value in
      guard let items = value.arrayValue else { return nil }
      let texts = items.compactMap(\.stringValue)
      return texts.count == items.count ? texts : nil
    }
  }
}
