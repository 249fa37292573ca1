import FineTuning
import Platform
import Testing
import WeightFiles

@Suite struct DatasetSplitsTests {
  private let cases = (0..<7).map { "case_\($0)" }

  @Test func folds() throws {
    let splits = try DatasetSplits(cases: cases.reversed())
    #expect(try DatasetSplits(splits.json) == splits)
    #expect(try splits.split(.number(0), cases: cases).validation == ["case_3", "case_6"])
    #expect(try splits.split(.all, cases: cases) == .init(train: cases, validation: cases))
    let drawn = try splits.split(.number(5), cases: cases)
    #expect(drawn.train.count == 5 && Set(drawn.train + drawn.validation) == Set(cases))
  }

  @Test func fewCases() throws {
    let splits = try DatasetSplits(cases: ["b", "a", "c"])
    #expect(splits.folds.count == 3 && splits.folds.allSatisfy { $0.validation.count == 1 && $0.train.count == 2 })
    #expect(throws: MedDINOError.self) { try DatasetSplits(cases: ["a"]) }
  }

  @Test func wrongFiles() throws {
    let texts = [
      "{}", "[]", "[{\"train\": [\"a\"]}]", "[{\"train\": [1], \"val\": [\"a\"]}]",
    ]
    for text in texts {
      let json = try JSON.parse(text, source: "splits")
      #expect(throws: MedDINOError.self) { try DatasetSplits(json) }
    }
    let foreign = DatasetSplits(folds: [.init(train: ["stranger"], validation: ["case_0"])])
    let error = #expect(throws: MedDINOError.self) { try foreign.split(.number(0), cases: cases) }
    #expect(error?.message.contains("stranger") == true)
  }

  @Test func foldNames() throws {
    #expect(try DatasetSplits.Fold("all") == .all && DatasetSplits.Fold("3") == .number(3))
    for text in ["", "-1", "five", "0.5"] { #expect(throws: MedDINOError.self) { try DatasetSplits.Fold(text) } }
  }
}
