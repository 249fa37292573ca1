/// Curves over a common axis, with ticks, numbers and a legend, drawn into a rectangle of a canvas.
///
/// Points that are not finite (or not positive on a logarithmic axis) are gaps in their curve.
public struct LinePlot: Sendable {
  public struct Curve: Sendable {
    public enum Style: Sendable {
      case line
      /// Thin and pale: the values behind a smoothed curve.
      case faint
      case dashed
    }
    public var name: String
    public var points: [(x: Double, y: Double)]
    public var colour: Colour
    public var style: Style
    public init(_ name: String, _ points: [(x: Double, y: Double)], _ colour: Colour, style: Style = .line) {
      self.name = name
      self.points = points
      self.colour = colour
      self.style = style
    }
    /// The values over 0, 1, 2 …
    public init(_ name: String, _ values: [Double], _ colour: Colour, style: Style = .line) {
      self.init(name, values.enumerated().map { (Double($0.offset), $0.element) }, colour, style: style)
    }
  }

  public var title: String
  public var curves: [Curve]
  /// What the horizontal axis counts; its ticks are whole numbers.
  public var xLabel: String
  public var isLogarithmic = false
  /// Ends of the vertical axis; nil chooses round ones around the values.
  public var yLimits: ClosedRange<Double>?

  public init(title: String, xLabel: String, curves: [Curve]) {
    self.title = title
    self.xLabel = xLabel
    self.curves = curves
  }

  /// Colours of curves that are easy to tell apart on the dark ground, also for the colour-blind.
  /// Source: Okabe and Ito, "Color universal design" (2008), lightened.
  public static let palette = [
    Colour(86, 180, 233, 255), Colour(240, 160, 30, 255), Colour(20, 190, 140, 255), Colour(225, 130, 180, 255),
    Colour(240, 228, 66, 255), Colour(225, 100, 50, 255),
  ]
}
