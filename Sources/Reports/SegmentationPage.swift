public import Platform

/// What a segmentation found, as one HTML file that needs nothing else: no scripts, no fonts, no pictures beside it.
public struct SegmentationPage: Sendable {
  /// One label that was looked for.
  public struct Structure: Sendable {
    public var value: Int
    public var name: String
    /// Its code in a terminology, such as "SCT 10200004"; "" without one.
    public var code: String
    public var colour: Colour
    /// nil when there is no voxel of it.
    public var found: LabelSurvey.Label?
    public init(value: Int, name: String, code: String = "", colour: Colour, found: LabelSurvey.Label?) {
      self.value = value
      self.name = name
      self.code = code
      self.colour = colour
      self.found = found
    }
  }
  /// Names and values under a heading.
  public struct Details: Sendable {
    public var title: String
    public var entries: [(name: String, value: String)]
    public init(title: String, entries: [(name: String, value: String)]) {
      self.title = title
      self.entries = entries
    }
  }

  public var title = "Segmentation"
  public var subtitle = ""
  /// How long the run took, as text; "" leaves it out.
  public var duration = ""
  public var structures: [Structure] = []
  /// What the run warned of; the page adds what it sees in the structures.
  public var warnings: [String] = []
  public var pictures: [PagePicture] = []
  /// Image, model, settings, in order.
  public var details: [Details] = []
  public init() {}

  var found: [(structure: Structure, label: LabelSurvey.Label)] {
    structures.compactMap { structure in structure.found.map { (structure, $0) } }
  }

  /// The caller's warnings, then the structures that may be cut off, and those that were not found (unless none was).
  public var allWarnings: [String] {
    let cut = found.filter { !$0.label.borders.isEmpty }.map { structure, label in
      "\(structure.name) (\(label.borders.map(\.rawValue).joined(separator: ", ")))"
    }
    let absent = structures.filter { $0.found == nil }.map(\.name)
    var result = warnings
    if !cut.isEmpty {
      result.append("at the border of the image, so that a part may be missing and the volume too small: \(Self.listed(cut, to: 40))")
    }
    if !absent.isEmpty, absent.count < structures.count { result.append("not found: \(Self.listed(absent, to: 40))") }
    return result
  }

  private var page: HTMLPage {
    var body = "<p class=\"notice\"><strong>Not for diagnostic use.</strong> Made by a program and not reviewed by a person; meddino is no "
    body += "medical device.</p>\n" + tiles + warningSection
    if !pictures.isEmpty { body += pictureSection }
    body += structureTable
    for part in details { body += HTMLText.settings(part.title, part.entries) }
    body += "<footer>Not for diagnostic use. \(HTMLText.escaped(title)), \(HTMLText.escaped(subtitle)).</footer>\n"
    return HTMLPage(title: title, subtitle: subtitle, body: body)
  }

  /// The whole page.
  public var html: String { page.html }

  /// Writes the page, whole or not at all. Throws: `.io`.
  public func write(to path: String) throws(MedDINOError) { try page.write(to: path) }

  /// "a", "a and b", "a, b and c", "a, b and 3 more".
  static func listed(_ names: [String], to limit: Int = 12) -> String {
    if names.count > limit { return names.prefix(limit).joined(separator: ", ") + " and \(names.count - limit) more" }
    return names.count < 2 ? names.joined() : names.dropLast().joined(separator: ", ") + " and \(names[names.count - 1])"
  }
}
