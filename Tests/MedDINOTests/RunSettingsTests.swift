import FineTuning
import Platform
import Testing
import WeightFiles

@testable import MedDINO

/// What is asked for beside what a run has.
@Suite struct RunSettingsTests {
  private func differences(_ text: String, from run: RunSettings) throws -> [String] {
    try run.differences(from: JSON.parse(text, source: "given")).map { "\($0.key) \($0.asked.text()) \($0.own.text())" }
  }

  @Test func differences() throws {
    let run = try RunSettings(#"{"epochs": 2, "decoder_lr": 0.003, "encoder": {"depth": 3}, "taps": [0, 2], "adapt": "last:2"}"#)
    // As it was given, in other spellings, and what belongs to the place.
    for same in [
      "{}", run.json.text(), #"{"epochs": 2, "decoder_lr": 3e-3, "fold": 0, "seed": 0}"#, #"{"encoder": {"depth": 3}, "taps": [0, 2]}"#,
      #"{"recipe": "meddinov3", "output": "/elsewhere", "patience": null}"#,
    ] {
      #expect(try differences(same, from: run).isEmpty, "\(same)")
    }
    #expect(try differences(#"{"epochs": 3, "decoder_lr": 0.003}"#, from: run) == ["epochs 3 2"])
    #expect(try differences(#"{"adapt": "full", "fold": "all"}"#, from: run) == [#"adapt "full" "last:2""#, #"fold "all" "0""#])
    #expect(try differences(#"{"encoder": {"depth": 4}}"#, from: run) == ["encoder.depth 4 3"])
    #expect(try differences(#"{"recipe": "few_shot"}"#, from: run).count == 1)
    #expect(failure { _ = try differences(#"{"epoch": 3}"#, from: run) }.contains("epoch"))
  }
}
