import Imaging
import Platform
import TestSupport
import Testing

@testable import Reports

struct SegmentationPageTests {
  private func label(_ value: Int, borders: [LabelSurvey.Side] = [], parts: Int = 1) -> LabelSurvey.Label {
    .init(
      value: value, voxels: 1000, millilitres: 12.345, extents: [10.25, 200, .nan], slices: 7,
      box: VoxelBox(lower: [0, 5, 9], upper: [4, 6, 20]), borders: borders, parts: parts, largestPart: 999)
  }

  private func page() -> SegmentationPage {
    var page = SegmentationPage()
    page.title = "Segmentation of <script>alert('x')</script>.nii.gz"
    page.subtitle = "a & b"
    page.duration = "1 < 2 s"
    page.structures = [
      .init(
        value: 1, name: "<script>alert(1)</script>", code: "\"><u>", colour: Colour(255, 0, 16, 255),
        found: label(1, borders: [.left, .superior], parts: 3)),
      .init(value: 2, name: "kidney_left</td>", colour: Colour(0, 255, 0, 255), found: label(2)),
      .init(value: 3, name: "'gone'", colour: Colour(0, 0, 255, 255), found: nil),
    ]
    page.warnings = ["values <0> look odd"]
    page.pictures = [.init(title: "", caption: "z < 1", alternative: "with \"<script>\"", png: Array("any bytes".utf8))]
    page.details = [.init(title: "Model", entries: [("Provenance", "{\"from\": \"<i>here</i>\"}")])]
    return page
  }

  @Test func thePageIsSoundAndStandsAlone() throws {
    try expectSoundPage(page().html)
    try expectSoundPage(SegmentationPage().html)
  }

  @Test func textIsEscapedEverywhere() {
    let html = page().html
    for raw in ["<script", "</td></td>", "'gone'", "<0>", "z < 1", "<i>here", "\"><u>", "a & b", "1 < 2"] {
      #expect(!html.contains(raw), "\(raw)")
    }
    for escaped in [
      "&lt;script&gt;alert(1)&lt;/script&gt;", "kidney_<wbr>left&lt;/td&gt;", "&quot;&gt;&lt;u&gt;",
      "alt=\"with &quot;&lt;script&gt;&quot;\"",
      "{&quot;from&quot;: &quot;&lt;i&gt;here&lt;/i&gt;&quot;}", "1 &lt; 2 s",
    ] {
      #expect(html.contains(escaped), "\(escaped)")
    }
  }

  @Test func itSaysThatItIsNotForDiagnosis() {
    #expect(page().html.ranges(of: "Not for diagnostic use").count == 2)
  }

  @Test func rowsHoldWhatWasFound() {
    let html = page().html
    #expect(html.contains("<td>12.3</td><td>1000</td><td>10.3 × 200 × –</td><td>7</td>"))
    #expect(html.contains("<td>3<br><small>largest 99 %</small></td><td>0–3, 5–5, 9–19</td>"))
    #expect(html.contains("<span class=\"low\">left, superior</span>") && html.contains("<td class=\"wide\">no</td>"))
    #expect(html.contains("<b>2 of 3</b>") && html.contains("<tr class=\"absent\">"))
  }

  @Test func warningsNameWhatIsCutOffAndWhatIsMissing() {
    var page = page()
    page.structures[0].name = "liver"
    #expect(
      page.allWarnings == [
        "values <0> look odd",
        "at the border of the image, so that a part may be missing and the volume too small: liver (left, superior)",
        "not found: 'gone'",
      ])
    // When there is nothing at all, the run has said so.
    for index in page.structures.indices { page.structures[index].found = nil }
    #expect(page.allWarnings == ["values <0> look odd"])
    page.warnings = []
    #expect(page.html.contains("<h2>Warnings</h2>\n<p>None.</p>") && page.html.contains("<b>0 of 3</b>"))
  }

  @Test func volumesHaveSuitableDigits() {
    for (value, text) in [(0.00049, "0.0005"), (0.5, "0.50"), (12.345, "12.3"), (1500.4, "1500"), (4e7, "40000000"), (.nan, "–")] {
      #expect(SegmentationPage.volume(value) == text)
    }
  }

  @Test func listsReadWell() {
    #expect(SegmentationPage.listed([]) == "" && SegmentationPage.listed(["a"]) == "a")
    #expect(SegmentationPage.listed(["a", "b", "c"]) == "a, b and c")
    #expect(SegmentationPage.listed(["a", "b", "c", "d"], to: 2) == "a, b and 2 more")
  }

  @Test func theFileIsWholeOrNotThere() throws {
    try withTemporaryFolder { folder in
      try page().write(to: folder + "/p.html")
      #expect(try InputFile.contents(folder + "/p.html") == Array(page().html.utf8))
      #expect(throws: MedDINOError.self) { try page().write(to: folder + "/nowhere/p.html") }
      #expect(try folderEntries(folder) == ["p.html"])
    }
  }
}
