import Platform
import TestSupport
import Testing

@testable import Reports

struct LinePlotTests {
  let budget = MemoryBudget()

  // MARK: scale

  @Test func ticksAreRound() {
    let scale = PlotScale(values: [-0.83, 0.21], tickCount: 6)
    #expect(scale.low == -1)
    #expect(abs(scale.high - 0.4) < 1e-12)
    #expect(scale.ticks.map(scale.label) == ["-1.0", "-0.8", "-0.6", "-0.4", "-0.2", "0", "0.2", "0.4"])
    let top = scale.place(0.4) ?? 0
    #expect(scale.place(-1) == 0 && scale.place(.nan) == nil)
    #expect(abs(top - 1) < 1e-12)
    let small = PlotScale(values: [3e-7, 3e-4], tickCount: 4)
    #expect(small.ticks.map(small.label) == ["0", "1e-4", "2e-4", "3e-4"])
    let epochs = PlotScale(values: [], limits: 0...3, tickCount: 8, whole: true)
    #expect(epochs.ticks == [0, 1, 2, 3])
    let many = PlotScale(values: [], limits: 0...999, tickCount: 5, whole: true)
    #expect(many.ticks == [0, 200, 400, 600, 800] && many.high == 999)
  }

  @Test func logarithmicTicks() {
    let scale = PlotScale(values: [3e-7, 3e-4, 0, -1, .nan], logarithmic: true, tickCount: 6)
    let (low, high) = (scale.low / 1e-7, scale.high / 1e-3)
    #expect(abs(low - 1) < 1e-9 && abs(high - 1) < 1e-9)
    #expect(scale.ticks.map(scale.label) == ["1e-7", "1e-6", "1e-5", "1e-4", "1e-3"])
    let middle = scale.place(1e-5) ?? 0
    #expect(scale.place(0) == nil)
    #expect(abs(middle - 0.5) < 1e-9)
    let one = PlotScale(values: [0.2, 0.9], logarithmic: true, tickCount: 5)
    #expect(one.ticks.map(one.label) == ["0.1", "0.2", "0.5", "1"])
  }

  @Test func oddValuesGiveAScale() {
    let lists: [[Double]] = [[], [.nan], [5], [0, 0], [1e308, -1e308], [.infinity, 1], [-1e-300, 1e-300], [1e15, 1.1e15]]
    for values in lists {
      for logarithmic in [false, true] {
        let scale = PlotScale(values: values, logarithmic: logarithmic, tickCount: 5)
        #expect(scale.low < scale.high && scale.ticks.count < 250, "\(values)")
        let places = values.compactMap(scale.place)
        #expect(places.allSatisfy { $0 >= -1e-9 && $0 <= 1 + 1e-9 }, "\(values)")
      }
    }
  }

  @Test func numbersAsText() {
    let values: [Double] = [0, 1, -2.5, 0.05, 1234, 12345, 3e-4, 9.999e-5, 1.5e10, -7e-12]
    let texts = values.map(PlotScale.scientific)
    #expect(texts == ["0", "1", "-2.5", "0.05", "1234", "1.23e4", "3e-4", "1e-4", "1.5e10", "-7e-12"])
  }

  // MARK: drawing

  private let red = Colour(255, 0, 0, 255)
  private func count(_ canvas: Canvas, x: Range<Int>, y: Range<Int>, _ holds: (Colour) -> Bool) -> Int {
    y.reduce(0) { sum, row in sum + x.count { holds(canvas.colour($0, row)) } }
  }
  private func isReddish(_ colour: Colour) -> Bool { colour.x > 150 && colour.y < 60 }

  @Test func strokesCoverTheirArea() throws {
    let canvas = try Canvas(width: 100, height: 100, in: budget)
    canvas.stroke(from: (10, 20), to: (90, 80), width: 4, red)
    var covered = 0.0
    for y in 0..<100 { for x in 0..<100 { covered += Double(canvas.colour(x, y).x) / 255 } }
    // Length 100 and two half circles.
    let area = 400 + 4 * Double.pi
    #expect(abs(covered - area) < 10)
    #expect(canvas.colour(50, 50) == red)
    #expect(canvas.colour(50, 60).x == 0)
    let before = covered
    canvas.stroke(from: (.nan, 0), to: (50, 50), width: 3, red)
    canvas.stroke(from: (-1e9, 0), to: (1e9, 50), width: 3, red)
    canvas.stroke(from: (-500, -500), to: (-100, 900), width: 3, red)
    covered = 0
    for y in 0..<100 { for x in 0..<100 { covered += Double(canvas.colour(x, y).x) / 255 } }
    #expect(covered == before)
  }

  /// A rising line goes from the lower left to the upper right of the plot, and stays inside the frame.
  @Test func curvesLieWhereTheirValuesAre() throws {
    let canvas = try Canvas(width: 500, height: 400, in: budget)
    let plot = LinePlot(title: "t", xLabel: "x", curves: [.init("", (0...10).map(Double.init), red)])
    plot.draw(on: canvas, in: PlotFrame(x: 50, y: 40, width: 400, height: 320))
    #expect(count(canvas, x: 50..<250, y: 200..<360, isReddish) > 100)
    #expect(count(canvas, x: 250..<450, y: 40..<200, isReddish) > 100)
    #expect(count(canvas, x: 50..<240, y: 40..<170, isReddish) == 0)
    for frame in [(0..<500, 0..<40), (0..<500, 360..<400), (0..<50, 0..<400), (450..<500, 0..<400)] {
      #expect(count(canvas, x: frame.0, y: frame.1) { $0 != Colour(0, 0, 0, 255) } == 0)
    }
  }

  @Test func gapsAndSinglePoints() throws {
    let canvas = try Canvas(width: 400, height: 300, in: budget)
    let plot = LinePlot(title: "", xLabel: "", curves: [.init("", [1, .nan, 1, .nan, .infinity, 2], red)])
    plot.draw(on: canvas, in: PlotFrame(x: 0, y: 0, width: 400, height: 300))
    let lit = count(canvas, x: 0..<400, y: 0..<300, isReddish)
    #expect((30..<120).contains(lit))
  }

  /// A single high value among a million is still there.
  @Test func thinningKeepsPeaks() throws {
    let canvas = try Canvas(width: 400, height: 300, in: budget)
    var values = [Double](repeating: 0, count: 200_000)
    values[123_456] = 1
    let plot = LinePlot(title: "", xLabel: "", curves: [.init("", values, red)])
    plot.draw(on: canvas, in: PlotFrame(x: 0, y: 0, width: 400, height: 300))
    #expect(count(canvas, x: 0..<400, y: 60..<100, isReddish) > 40)
  }

  @Test func tooSmallAFrameDrawsNothingOutside() throws {
    let canvas = try Canvas(width: 40, height: 30, in: budget)
    LinePlot(title: "long title", xLabel: "epoch", curves: [.init("name", [1, 2], red)]).draw(
      on: canvas, in: PlotFrame(x: 5, y: 5, width: 10, height: 10))
    LinePlot(title: "", xLabel: "", curves: []).draw(on: canvas, in: PlotFrame(x: 0, y: 0, width: 40, height: 30))
  }

  // MARK: the sheet

  /// A run as it may look; with `MEDDINO_PLOT=<file>` it is written there to be looked at.
  @Test func progressOfARun() throws {
    var generator = SeededGenerator(5)
    var plot = ProgressPlot()
    var average: Double?
    for epoch in 0..<300 {
      let t = Double(epoch)
      func noise(_ size: Double) -> Double { Double.random(in: -size...size, using: &generator) }
      let rise: Double = 0.9 * (1 - exponential(-t / 60))
      let dice = min(0.95, max(0, rise + noise(0.04)))
      let smooth: Double = 0.9 * (average ?? dice) + 0.1 * dice
      let training: Double = 1.3 * exponential(-t / 40) - 0.85
      let validation: Double = 1.2 * exponential(-t / 45) - 0.78
      let seconds: Double = epoch % 50 == 49 ? 47 : 41
      average = smooth
      plot.trainingLoss.append((t, training + noise(0.03)))
      plot.validationLoss.append((t, validation + noise(0.06)))
      plot.dice.append((t, epoch == 7 ? .nan : dice))
      plot.averageDice.append((t, smooth))
      plot.epochSeconds.append((t, seconds + noise(1.5)))
    }
    let epochs = (0..<300).map(Double.init)
    plot.learningRates = [
      ("decoder", epochs.map { ($0, 3e-4 * (1 - $0 / 300)) }), ("encoder", epochs.map { ($0, 3e-5 * (1 - $0 / 300)) }),
    ]
    try withTemporaryFolder { folder in
      let path = environment("MEDDINO_PLOT") ?? folder + "/progress.png"
      try plot.write(title: "Fine-tuning, fold 0", subtitle: "epoch 300 of 1000   best Dice 0.874", to: path, in: budget)
      let picture = try DecodedPNG(path)
      #expect(picture.width == 1200 && picture.height < 1000)
      let colours = LinePlot.palette
      for colour in [colours[0], colours[1], colours[2], colours[3]] {
        let found = (0..<picture.height).reduce(0) { sum, y in sum + (0..<picture.width).count { picture.colour($0, y) == colour } }
        #expect(found > 300)
      }
    }
    #expect(throws: MedDINOError.self) { try PlotSheet.write([], title: "", to: "/dev/null", in: budget) }
    #expect(throws: MedDINOError.self) { try PlotSheet.write(plot.plots, title: "", width: 10, to: "/dev/null", in: budget) }
  }

  @Test func anEmptyRunHasAPicture() throws {
    try withTemporaryFolder { folder in
      try ProgressPlot().write(title: "", to: folder + "/p.png", in: budget)
      #expect(try DecodedPNG(folder + "/p.png").width == 1200)
    }
  }
}
