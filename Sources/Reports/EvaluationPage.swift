internal import Imaging
public import Platform

/// What an evaluation found, as one HTML file that needs nothing else: no scripts, no fonts, no pictures beside it.
public struct EvaluationPage: Sendable {
  /// Mean and standard deviation over cases; NaN where there is none.
  public struct Summary: Sendable {
    public var mean: Double
    public var deviation: Double
    public var count: Int
    public init(mean: Double, deviation: Double, count: Int) {
      self.mean = mean
      self.deviation = deviation
      self.count = count
    }
  }
  /// One label or region.
  public struct Structure: Sendable {
    public var name: String
    /// Its label values as text, such as "1" or "(1, 2, 3)".
    public var key: String
    public var colour: Colour
    public var dice: Summary
    /// Dice over the cases whose reference holds the structure.
    public var diceWhereReferenced: Summary
    public var iou: Summary
    public var surfaceDice: Summary
    public var hausdorff95: Summary
    public init(
      name: String, key: String, colour: Colour, dice: Summary, diceWhereReferenced: Summary, iou: Summary, surfaceDice: Summary,
      hausdorff95: Summary
    ) {
      self.name = name
      self.key = key
      self.colour = colour
      self.dice = dice
      self.diceWhereReferenced = diceWhereReferenced
      self.iou = iou
      self.surfaceDice = surfaceDice
      self.hausdorff95 = hausdorff95
    }
  }
  /// One case; values in the order of the structures, NaN where undefined.
  public struct Case: Sendable {
    public var name: String
    public var dice: [Double]
    public var surfaceDice: [Double]
    public var hausdorff95: [Double]
    public var warnings: [String]
    public init(name: String, dice: [Double], surfaceDice: [Double], hausdorff95: [Double], warnings: [String] = []) {
      self.name = name
      self.dice = dice
      self.surfaceDice = surfaceDice
      self.hausdorff95 = hausdorff95
      self.warnings = warnings
    }
    /// Mean Dice over the structures that have one.
    public var meanDice: Double {
      let present = dice.filter { !$0.isNaN }
      return present.isEmpty ? .nan : present.reduce(0, +) / Double(present.count)
    }
  }

  public var title = "Evaluation"
  public var subtitle = ""
  public var structures: [Structure] = []
  public var cases: [Case] = []
  public var pictures: [PagePicture] = []
  /// What the colours of the pictures mean.
  public var legend: [(name: String, colour: Colour)] = []
  /// False leaves out NSD and HD95.
  public var hasSurfaces = true
  /// Of the NSD. Units: mm.
  public var tolerance = 1.0
  /// Provenance and settings, in order.
  public var settings: [(name: String, value: String)] = []
  public init() {}

  /// Cases from the lowest mean Dice up; those without one at the end.
  public var worstFirst: [Int] {
    cases.indices.sorted { a, b in
      let (x, y) = (cases[a].meanDice, cases[b].meanDice)
      return x == y || x.isNaN && y.isNaN ? a < b : x < y || y.isNaN
    }
  }

  private var page: HTMLPage {
    var body = tiles + structureTable
    body += "<section><h2>Distribution over cases</h2>\n<p class=\"note\">One dot per case. The line is the mean, the band holds the "
    body += "middle half of the cases.</p>\n" + dicePlot + (hasSurfaces ? hausdorffPlot : "") + "</section>\n"
    if !pictures.isEmpty { body += pictureSection }
    body += caseTable + warningSection + HTMLText.settings("Settings and provenance", settings)
    return HTMLPage(title: title, subtitle: subtitle, body: body)
  }

  /// The whole page.
  public var html: String { page.html }

  /// Writes the page, whole or not at all. Throws: `.io`.
  public func write(to path: String) throws(MedDINOError) { try page.write(to: path) }
}
