import Imaging
import Platform
import TestSupport
import Testing

@testable import Reports

struct EvaluationPageTests {
  let budget = MemoryBudget()

  private func page() -> EvaluationPage {
    var page = EvaluationPage()
    func summary(_ mean: Double) -> EvaluationPage.Summary { .init(mean: mean, deviation: 0.1, count: 2) }
    page.title = "<script>alert('x')</script> & \"more\""
    page.structures = ["liver</td>", "a_b"].enumerated().map { index, name in
      .init(
        name: name, key: "(1, 2)", colour: Colour(255, 0, 16, 255), dice: summary(0.5), diceWhereReferenced: summary(0.6),
        iou: summary(0.4), surfaceDice: summary(.nan), hausdorff95: summary(3))
    }
    page.cases = [
      .init(name: "good", dice: [0.9, .nan], surfaceDice: [1, .nan], hausdorff95: [0, .nan]),
      .init(name: "none", dice: [.nan, .nan], surfaceDice: [.nan, .nan], hausdorff95: [.nan, .nan], warnings: ["<b>odd</b>"]),
      .init(name: "bad&", dice: [0.1, 0.3], surfaceDice: [0, 0], hausdorff95: [7, .infinity]),
    ]
    page.pictures = [.init(title: "bad & worse", caption: "z = 1 < 2", png: Array("any bytes".utf8))]
    page.settings = [("Folder", "<here>")]
    return page
  }

  @Test func textIsEscapedEverywhere() {
    let html = page().html
    for raw in ["<script>", "liver</td></td>", "<b>odd", "<here>", "bad& ", "'x'"] { #expect(!html.contains(raw), "\(raw)") }
    for escaped in ["&lt;script&gt;", "liver&lt;/td&gt;", "&lt;b&gt;odd", "&lt;here&gt;", "z = 1 &lt; 2", "a_<wbr>b"] {
      #expect(html.contains(escaped), "\(escaped)")
    }
  }

  @Test func thePageIsSoundAndStandsAlone() throws {
    let html = page().html
    try expectSoundPage(html)
    #expect(html.contains("src=\"data:image/png;base64,YW55IGJ5dGVz\""))
    for tag in ["table", "thead", "tbody", "tr", "td", "th", "section", "svg", "figure", "ul", "li", "main"] {
      #expect(html.contains("</\(tag)>"), "\(tag)")
    }
  }

  @Test func worstCasesComeFirstAndUndefinedLast() {
    #expect(page().worstFirst == [2, 0, 1])
    #expect(abs(page().cases[2].meanDice - 0.2) < 1e-12 && page().cases[1].meanDice.isNaN)
  }

  @Test func anEmptyEvaluationIsAPageToo() {
    var page = EvaluationPage()
    page.hasSurfaces = false
    #expect(page.html.contains("<h1>Evaluation</h1>") && !page.html.contains("NSD"))
  }

  @Test func base64() {
    for (text, code) in [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
    ] {
      #expect(HTMLText.base64(Array(text.utf8)) == code)
    }
    #expect(HTMLText.base64([251, 255, 254]) == "+//+")
  }

  @Test func scalesEndOnRoundNumbers() {
    for (value, scale) in [(110.0, 150.0), (1, 1), (0.9, 1), (0, 1e-3), (7.6, 10), (2.1, 2.5)] {
      #expect(abs(EvaluationPage.roundScale(value) - scale) < 1e-12 * max(1, scale), "\(value)")
    }
  }

  /// One slice differs: there the prediction misses a block, adds one, and gives one another label.
  @Test func thePictureShowsTheSliceThatDiffersMost() throws {
    let geometry = Geometry(dims: [32, 32, 4], spacing: [1, 1, 5], origin: [0, 0, 100])
    let volumes = try (0..<2).map { _ in try Volume(allocating: .uint8, geometry: geometry, in: budget) }
    for (index, volume) in volumes.enumerated() {
      let marks = volume.mutableBase.bindMemory(to: UInt8.self, capacity: geometry.voxelCount)
      for at in 0..<geometry.voxelCount {
        let (x, y, z) = (at % 32, at / 32 % 32, at / 1024)
        let block = y / 8 % 2 == 1 ? x / 8 : 0
        marks[at] = block == 0 ? 0 : z != 2 ? 1 : index == 0 ? (block == 2 ? 0 : 1) : [0, 0, 1, 2][block]
      }
    }
    var options = ComparisonPicture.Options()
    options.sliceSize = 64
    let picture = try ComparisonPicture(reference: volumes[0], prediction: volumes[1], options: options, in: budget)
    #expect(picture.z == 110 && picture.differing == 3 * 8 * 16)
    let decoded = try DecodedPNG(picture.png)
    #expect(decoded.width == 3 * 64 + 20 && decoded.height == 64 + 26)
    // The middle of each block of the third panel: missed, false alarm, another label.
    for (column, mark) in zip([24, 40, 56], ComparisonPicture.marks) {
      let pixel = decoded.colour(2 * 74 + column, 26 + 24)
      for channel in 0..<3 { #expect(abs(Int(pixel[channel]) - Int(mark.colour[channel])) < 70, "\(mark.name)") }
    }
    let other = try Volume(allocating: .uint8, geometry: Geometry(dims: [32, 32, 5]), in: budget)
    #expect(throws: MedDINOError.self) { try ComparisonPicture(reference: volumes[0], prediction: other, in: budget) }
    #expect(throws: MedDINOError.self) { try ComparisonPicture(reference: volumes[0], prediction: volumes[1], image: other, in: budget) }
    let small = MemoryBudget(limit: 1000)
    #expect(throws: MedDINOError.self) { try ComparisonPicture(reference: volumes[0], prediction: volumes[1], in: small) }
  }
}
