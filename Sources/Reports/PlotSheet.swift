public import Platform

/// Several plots as one PNG.
public enum PlotSheet {
  private static let margin = 30
  private static let gap = 40
  private static let titleHeight = 56

  /// Writes the plots two in a row under a title and a line of text.
  ///
  /// Units: `width` of the whole picture in pixels; 1200 is made to be read on a page.
  /// Throws: `.invalid` for no plot, more than 64 or a width outside 600 to 8000; `.outOfMemory`, `.io`.
  public static func write(
    _ plots: [LinePlot], title: String, subtitle: String = "", width: Int = 1200, plotHeight: Int = 360, to path: String,
    in budget: MemoryBudget
  ) throws(MedDINOError) {
    guard (1...64).contains(plots.count), (600...8000).contains(width), (160...4000).contains(plotHeight) else {
      throw .invalid("\(plots.count) plots of height \(plotHeight) on a width of \(width), expected 1 to 64, 160 to 4000, 600 to 8000")
    }
    let columns = plots.count == 1 ? 1 : 2
    let rows = (plots.count + columns - 1) / columns
    let top = margin + titleHeight + (subtitle.isEmpty ? 0 : 22)
    let height = top + rows * plotHeight + (rows - 1) * gap / 2 + margin / 2
    let canvas = try Canvas(width: width, height: height, background: SheetLayout.background, in: budget)
    canvas.text(SheetLayout.shortened(title, to: (width - 2 * margin) / 18), x: margin, y: margin, scale: 3, Colour(232, 235, 240, 255))
    if !subtitle.isEmpty {
      canvas.text(
        SheetLayout.shortened(subtitle, to: (width - 2 * margin) / 12), x: margin, y: margin + 34, scale: 2, Colour(150, 158, 172, 255))
    }
    let plotWidth = (width - 2 * margin - (columns - 1) * gap) / columns
    for (index, plot) in plots.enumerated() {
      let frame = PlotFrame(
        x: margin + index % columns * (plotWidth + gap), y: top + index / columns * (plotHeight + gap / 2), width: plotWidth,
        height: plotHeight)
      plot.draw(on: canvas, in: frame)
    }
    try canvas.writePNG(to: path, in: budget)
  }
}

/// The four plots of a fine-tuning run: losses, pseudo Dice with its moving average, learning rates, seconds per epoch.
public struct ProgressPlot: Sendable {
  public typealias Points = [(x: Double, y: Double)]
  public var trainingLoss: Points = []
  public var validationLoss: Points = []
  public var dice: Points = []
  public var averageDice: Points = []
  public var learningRates: [(name: String, points: Points)] = []
  public var epochSeconds: Points = []
  public init() {}

  public var plots: [LinePlot] {
    let colours = LinePlot.palette
    var dicePlot = LinePlot(
      title: "Pseudo Dice", xLabel: "epoch",
      curves: [
        .init("per epoch", dice, colours[2], style: .faint), .init("moving average", averageDice, colours[2]),
      ])
    if (dice + averageDice).allSatisfy({ !$0.y.isFinite || (0...1).contains($0.y) }) { dicePlot.yLimits = 0...1 }
    var rates = LinePlot(
      title: "Learning rate", xLabel: "epoch",
      curves: learningRates.enumerated().map { index, entry in
        .init(entry.name, entry.points, colours[index % colours.count], style: index == 0 ? .line : .dashed)
      })
    rates.isLogarithmic = Self.spansDecades(learningRates.flatMap(\.points))
    return [
      LinePlot(
        title: "Loss (cross entropy - Dice)", xLabel: "epoch",
        curves: [.init("training", trainingLoss, colours[0]), .init("validation", validationLoss, colours[1])]),
      dicePlot, rates,
      LinePlot(title: "Seconds per epoch", xLabel: "epoch", curves: [.init("", epochSeconds, colours[3])]),
    ]
  }

  /// Rates that differ by more than a factor of 30 are not told apart on a linear axis.
  private static func spansDecades(_ points: Points) -> Bool {
    let values = points.map(\.y).filter { $0 > 0 && $0.isFinite }
    guard let least = values.min(), let most = values.max() else { return false }
    return most > 30 * least
  }

  /// Throws: `.outOfMemory`, `.io`.
  public func write(title: String, subtitle: String = "", to path: String, in budget: MemoryBudget) throws(MedDINOError) {
    try PlotSheet.write(plots, title: title, subtitle: subtitle, to: path, in: budget)
  }
}
