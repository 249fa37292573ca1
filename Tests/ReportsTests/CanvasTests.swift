import Platform
import Testing

@testable import Reports

struct CanvasTests {
  let budget = MemoryBudget()
  let white = Colour(255, 255, 255, 255)

  private func lit(_ canvas: Canvas) -> Int {
    (0..<canvas.height).reduce(0) { sum, y in sum + (0..<canvas.width).count { canvas.colour($0, y) == white } }
  }

  @Test func fillFrameAndLineCoverTheirPixels() throws {
    let canvas = try Canvas(width: 20, height: 10, in: budget)
    canvas.fill(x: 2, y: 3, width: 4, height: 2, white)
    #expect(lit(canvas) == 8)
    #expect(canvas.colour(2, 3) == white && canvas.colour(5, 4) == white && canvas.colour(6, 4) != white)
    let frame = try Canvas(width: 20, height: 10, in: budget)
    frame.frame(x: 1, y: 1, width: 5, height: 4, white)
    #expect(lit(frame) == 14)
    let line = try Canvas(width: 20, height: 10, in: budget)
    line.line(from: (1, 1), to: (12, 5), white)
    #expect(lit(line) == 12 && line.colour(1, 1) == white && line.colour(12, 5) == white)
  }

  @Test func drawingOutsideIsCutOff() throws {
    let canvas = try Canvas(width: 8, height: 8, in: budget)
    canvas.fill(x: -5, y: -5, width: 6, height: 6, white)
    canvas.fill(x: 7, y: 7, width: .max, height: .max, white)
    #expect(lit(canvas) == 2)
    canvas.fill(x: .max, y: .min, width: .max, height: .max, white)
    canvas.frame(x: .max, y: .max, width: .max, height: .max, white)
    canvas.plot(.min, .max, white)
    canvas.text("far", x: .max, y: .min, scale: 3, white)
    canvas.text("big", x: 0, y: 0, scale: .max, white)
    canvas.line(from: (.min, 20), to: (.max, 20), white)
    #expect(lit(canvas) == 2)
  }

  @Test func alphaMixes() throws {
    let canvas = try Canvas(width: 1, height: 1, background: Colour(100, 0, 200, 255), in: budget)
    canvas.plot(0, 0, Colour(200, 100, 0, 128))
    #expect(canvas.colour(0, 0) == Colour(150, 50, 100, 255))
    canvas.plot(0, 0, Colour(9, 9, 9, 0))
    #expect(canvas.colour(0, 0) == Colour(150, 50, 100, 255))
  }

  @Test func everyCharacterHasItsOwnShape() {
    let shapes = (UInt8(32)...126).map { Array(BitmapFont.rows($0)) }
    #expect(shapes[0].allSatisfy { $0 == 0 })
    #expect(shapes.dropFirst().allSatisfy { $0.contains { $0 != 0 } && $0.allSatisfy { $0 < 32 } })
    #expect(Set(shapes).count == 95)
    #expect(
      Array(BitmapFont.rows(31)) == Array(BitmapFont.rows(63))
        && Array(BitmapFont.rows(255)) == Array(BitmapFont.rows(63)))
    #expect(Array(BitmapFont.rows(84)) == [31, 4, 4, 4, 4, 4, 4, 0, 0])
  }

  @Test func textScalesAndAdvances() throws {
    let canvas = try Canvas(width: 40, height: 30, in: budget)
    canvas.text("TT", x: 1, y: 2, scale: 2, white)
    #expect(lit(canvas) == 2 * 11 * 4)
    #expect(canvas.colour(1, 2) == white && canvas.colour(13, 2) == white && canvas.colour(11, 2) != white)
    #expect(Canvas.textSize("TT", scale: 2).width == 22 && Canvas.textSize("", scale: 2).width == 0)
    // One question mark per character that the font lacks.
    let other = try Canvas(width: 40, height: 30, in: budget)
    other.text("\u{e4}\u{1f600}", x: 0, y: 0, white)
    let question = try Canvas(width: 40, height: 30, in: budget)
    question.text("??", x: 0, y: 0, white)
    #expect(lit(other) == lit(question))
  }

  @Test func refusesSizes() {
    #expect(throws: MedDINOError.self) { try Canvas(width: 0, height: 5, in: budget) }
    #expect(throws: MedDINOError.self) { try Canvas(width: 5, height: .max, in: budget) }
    #expect(throws: MedDINOError.self) { try Canvas(width: 100, height: 100, in: MemoryBudget(limit: 20_000)) }
  }

  @Test func paletteColoursDifferAndShow() {
    let colours = LabelPalette.colours(LabelPalette.distinct)
    #expect(Set(colours).count == LabelPalette.distinct)
    #expect(LabelPalette.colours(5) == Array(colours.prefix(5)))
    #expect(LabelPalette.colours(LabelPalette.distinct + 1).last == colours[0])
    #expect(LabelPalette.colours(-3).isEmpty)
    #expect(
      LabelPalette.colour(of: 1) == colours[0] && LabelPalette.colour(of: 0).w == 0
        && LabelPalette.colour(of: -1).w == 0)
    #expect(LabelPalette.colour(of: .max).w == 255)
    func distance(_ a: Colour, _ b: Colour) -> Int { (0..<3).reduce(0) { $0 + abs(Int(a[$1]) - Int(b[$1])) } }
    for a in 0..<20 {
      #expect(max(colours[a].x, colours[a].y, colours[a].z) > 120)
      #expect(colours[a].max() - min(colours[a].x, colours[a].y, colours[a].z) > 40)
      for b in 0..<a { #expect(distance(colours[a], colours[b]) > 60, "\(a) \(b)") }
    }
  }
}
