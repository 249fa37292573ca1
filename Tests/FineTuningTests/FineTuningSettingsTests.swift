import FineTuning
import Platform
import Testing
import WeightFiles

/// What the settings of a run mean, and that they come back from their JSON as they were.
struct FineTuningSettingsTests {
  private func settings(_ text: String) throws -> FineTuningSettings { try FineTuningSettings(JSON.parse(text, source: "settings")) }

  @Test func jsonComesBackTheSame() throws {
    let texts = [
      "{}", #"{"mirror": false}"#, #"{"mirror": true, "low_resolution": true}"#,
      #"{"augmentation": false, "batch_size": 3, "seed": "18446744073709551615", "adapt": "lora:4", "precision": "bf16", "patience": 7}"#,
    ]
    for text in texts {
      let first = try settings(text)
      #expect(try settings(first.json.text()) == first, "\(text)")
    }
  }

  @Test func sizesAndSeedsAsTheCommandLineHasThem() throws {
    let rest = #""adapt": "decoder", "augmentation": false"#
    #expect(try settings(#"{"feature_cache": "20G", \#(rest)}"#).featureCacheBytes == 20 << 30)
    #expect(try settings(#"{"feature_cache": 4096, \#(rest)}"#).featureCacheBytes == 4096)
    for value in [#""20Q""#, #""G""#, "true", "1.5"] {
      let error = #expect(throws: MedDINOError.self) { try settings(#"{"feature_cache": \#(value), \#(rest)}"#) }
      #expect(error?.message.contains("feature_cache is \(value)") == true)
    }
    let error = #expect(throws: MedDINOError.self) { try settings(#"{"seed": 18446744073709551615}"#) }
    #expect(error?.kind == .invalid && error?.message.contains("2^64 - 1 as text") == true)
  }

  /// Training mirrors the axes that the model then mirrors.
  @Test func mirroringFollowsTheStartUnlessItIsSaid() throws {
    let plain = try settings("{}")
    #expect(plain.mirrorAxes(start: nil) == [0, 1] && plain.mirrorAxes(start: []) == [] && plain.mirrorAxes(start: [0]) == [0])
    let without = try settings(#"{"mirror": false}"#)
    #expect(without.mirrorAxes(start: nil) == [] && without.mirrorAxes(start: [0, 1]) == [])
    let with = try settings(#"{"mirror": true}"#)
    #expect(with.mirrorAxes(start: []) == [0, 1])
    let still = try settings(#"{"augmentation": false}"#)
    #expect(still.mirrorAxes(start: nil) == [] && still.mirrorAxes(start: [1]) == [1])
    let error = #expect(throws: MedDINOError.self) { try settings(#"{"augmentation": false, "mirror": true}"#) }
    #expect(error?.kind == .invalid && error?.message.contains("mirror") == true)
  }

  @Test func noAxisThatIsLeftOutIsEverFlipped() throws {
    let settings = try settings("{}")
    for axes in [[], [0], [1], [0, 1]] {
      let augmentation = settings.augmentation(mirroring: axes)
      let draws = (0..<200).map { augmentation.draw(seed: 1, step: UInt64($0), item: 0, channels: 1, patch: [64, 64]).mirror }
      #expect(draws.contains { $0?.rows == true } == axes.contains(0) && draws.contains { $0?.columns == true } == axes.contains(1))
    }
  }
}
