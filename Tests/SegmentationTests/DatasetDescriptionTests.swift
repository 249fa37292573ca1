import Platform
import Testing

@testable import Segmentation

@Suite struct DatasetDescriptionTests {
  private func parse(_ labels: String, _ rest: String = "", channels: String = #""channel_names": {"0": "CT"}"#) throws
    -> DatasetDescription
  {
    try DatasetDescription.parse(
      Array("{\(channels), \"labels\": \(labels), \"numTraining\": 2, \"file_ending\": \".nii.gz\"\(rest)}".utf8))
  }
  private func message(_ labels: String, _ rest: String = "") -> String {
    do {
      _ = try parse(labels, rest)
      return "accepted"
    } catch { return "\(error)" }
  }

  @Test func plainLabels() throws {
    let scheme = try LabelScheme(parse(#"{"background": 0, "spleen": 2, "liver": 1, "ignore": 3}"#))
    #expect(!scheme.hasRegions)
    #expect(scheme.heads.map(\.name) == ["background", "liver", "spleen"])
    #expect(scheme.heads.map(\.value) == [0, 1, 2])
    #expect(scheme.foreground.map(\.description) == ["1", "2"])
    #expect(scheme.ignoreLabel == 3)
    #expect(scheme.locationKeys.map(\.description) == ["1", "2", "(0, 1, 2)"])
  }

  @Test func regionsKeepDeclarationOrder() throws {
    let scheme = try LabelScheme(
      parse(#"{"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}"#, #", "regions_class_order": [1, 3, 2]"#))
    #expect(scheme.hasRegions)
    #expect(scheme.heads.map(\.name) == ["kidney", "masses", "tumor"])
    #expect(scheme.heads.map(\.value) == [1, 3, 2])
    #expect(scheme.foreground.map(\.description) == ["(1, 2, 3)", "(2, 3)", "2"])
    #expect(scheme.allLabels == [0, 1, 2, 3])
  }

  @Test func legacyModalityAndReader() throws {
    let dataset = try parse(
      #"{"background": 0, "a": 1}"#, #", "overwrite_image_reader_writer": "None""#, channels: #""modality": {"1": "T1", "0": "CT"}"#)
    #expect(dataset.channelNames == ["CT", "T1"])
    #expect(dataset.readerOverride == nil)
    #expect(dataset.trainingCases == 2)
  }

  @Test func brokenRulesAreNamed() {
    #expect(message(#"{"a": 1}"#).contains("background is missing"))
    #expect(message(#"{"background": 1, "a": 0}"#).contains("background is missing or not 0"))
    #expect(message(#"{"background": 0, "a": 2}"#).contains("expected consecutive"))
    #expect(message(#"{"background": 0, "a": 1, "ignore": 4}"#).contains("ignore is 4, expected 2"))
    #expect(message(#"{"background": 0, "a": 1, "ignore": [2]}"#).contains("ignore is a list"))
    #expect(message(#"{"background": 0, "a": [1, 2]}"#).contains("regions_class_order is missing"))
    #expect(message(#"{"background": 0, "a": [1, 2]}"#, #", "regions_class_order": [1, 2]"#).contains("has 2 entries"))
    #expect(message(#"{"background": 0, "a": -1}"#).contains("integers from 0"))
    #expect(message(#"{"background": 0, "a": 1.5}"#).contains("integers from 0"))
    #expect(message(#"{"background": 0, "a": []}"#).contains("empty list"))
  }

  @Test func hostileTexts() {
    for text in ["", "[]", "{}", #"{"channel_names": {"5": "CT"}, "labels": {"background": 0}}"#, #"{"channel_names": {}, "labels": {}}"#] {
      #expect(throws: MedDINOError.self) { try DatasetDescription.parse(Array(text.utf8)) }
    }
  }
}
