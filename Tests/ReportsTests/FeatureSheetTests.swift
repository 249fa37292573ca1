import Platform
@testable import Reports
import TestSupport
import Testing

@Suite struct FeatureSheetTests {
  private func row(_ maps: [FeatureSheet.Map]) -> FeatureSheet.Row {
    .init(caption: "slice", grey: [0, 1, 0.5, 0], rows: 2, columns: 2, patchRows: 1, patchColumns: 2, maps: maps, marks: [1])
  }

  @Test func picturesAndMapsLieSideBySide() throws {
    try withTemporaryFolder { folder in
      let map = FeatureSheet.Map("map", colours: [[1, 0, 0], [0, 0, 1]])
      try FeatureSheet.write([row([map, .init("cosine", cosines: [1, -1])])], title: "sheet", to: folder + "/a.png", in: MemoryBudget())
      let picture = try DecodedPNG(InputFile.contents(folder + "/a.png"))
      #expect(picture.width == 16 + 3 * 272)
      func pixel(_ x: Int, _ y: Int) -> [UInt8] {
        let at = (y * picture.width + x) * 3
        return Array(picture.pixels[at..<at + 3])
      }
      // Below the title and the caption: grey, then the map, then the cosines.
      let top = 2 * 16 + 30 + 30
      #expect(pixel(16 + 5, top + 5) == [0, 0, 0])
      #expect(pixel(16 + 272 + 20, top + 20) == [255, 0, 0] && pixel(16 + 272 + 200, top + 20) == [0, 0, 255])
      #expect(pixel(16 + 544 + 20, top + 20)[0] == 255 && pixel(16 + 544 + 200, top + 20)[2] > 150)
    }
  }

  @Test func valuesThatDoNotFitAreRefused() {
    let wrong = FeatureSheet.Map("map", colours: [[1, 0, 0]])
    #expect(throws: MedDINOError.self) { try FeatureSheet.write([row([wrong])], title: "", to: "/nowhere/a.png", in: MemoryBudget()) }
    #expect(throws: MedDINOError.self) { try FeatureSheet.write([], title: "", to: "/nowhere/a.png", in: MemoryBudget()) }
  }

  @Test func plotsOfARunAreThoseThatHaveValues() {
    let points = [(x: 1.0, y: 2.0), (x: 2, y: 1)]
    #expect(PretrainingPlot([:]).plots.isEmpty)
    #expect(PretrainingPlot(["total_loss": points, "patch_rank": points]).plots.map(\.title) == ["Loss", "Effective rank"])
  }
}
