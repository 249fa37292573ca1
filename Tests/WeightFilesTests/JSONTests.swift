import Platform
import TestSupport
import Testing
import WeightFiles

@Suite struct JSONTests {
  private func parse(_ text: String) throws -> JSON { try JSON.parse(text, source: "test") }
  private func message(_ text: String) -> String? {
    do { _ = try JSON.parse(text, source: "test") } catch { return error.message }
    return nil
  }

  @Test func valuesAndOrder() throws {
    let value = try parse(#" {"z": 1, "a": [true, null, -2.5e3, "é\n\u00e9\ud83d\ude00"], "z": 2} "#)
    #expect(value.objectValue?.keys == ["z", "a"])
    #expect(value["z"] == .integer(2))
    #expect(value["a"]?.arrayValue?[2].doubleValue == -2500)
    #expect(value["a"]?.arrayValue?[3].stringValue == "é\né😀")
    #expect(value.text() == #"{"z": 2, "a": [true, null, -2500.0, "é\né😀"]}"#)
  }

  @Test func pythonNumbers() throws {
    let value = try parse("[NaN, Infinity, -Infinity, 9223372036854775807, 9223372036854775808, -0.0, 1.0]")
    let numbers = try #require(value.arrayValue)
    #expect(numbers[0].doubleValue?.isNaN == true)
    #expect(numbers[2].doubleValue == -.infinity)
    #expect(numbers[3] == .integer(.max))
    #expect(numbers[4] == .number(0x1p63))
    #expect(numbers[4].intValue == nil)
    #expect(numbers[6].intValue == 1)
    #expect(value.text() == "[NaN, Infinity, -Infinity, 9223372036854775807, 9.223372036854776e+18, -0.0, 1.0]")
    #expect(value.standardText() == "[null, null, null, 9223372036854775807, 9.223372036854776e+18, -0.0, 1.0]")
    #expect(JSON.object(("a", .object(("b", .number(.nan))))).standardText() == #"{"a": {"b": null}}"#)
  }

  @Test func indentedAsPythonDoes() throws {
    let text = """
      {
          "a": [
              1,
              {}
          ],
          "b": []
      }
      """
    #expect(try parse(text).text(indent: 4) == text)
  }

  @Test func everyDoubleComesBack() throws {
    var generator = SeededGenerator(7)
    for _ in 0..<2000 {
      let value = Double(bitPattern: generator.next())
      guard value.isFinite else { continue }
      #expect(try parse(JSON.number(value).text()).doubleValue == value)
    }
  }

  @Test(arguments: [
    "", "{", "[1,]", "{\"a\" 1}", "{\"a\":1,}", "[1 2]", "tru", "nul", "\"abc", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "1 2", "{1: 2}",
    "\"a\u{1}b\"", "--1", "+1", "-", "1e", "[", "\u{0}", "Nan", "\"\\ud800\\u0041\"", "01x", "0x10", "1_000", "\"\\u+123\"",
    ".5", "1.", "01", "infinity",
  ])
  func faultsAreErrors(text: String) { #expect(message(text) != nil) }

  @Test func faultsNameTheLine() {
    #expect(message("{\n\"a\": 1,\n\"b\" 2}")?.contains("line 3") == true)
    #expect(message(String(repeating: "[", count: 100_000))?.contains("nested") == true)
    #expect((try? JSON.parse([0x22, 0xff, 0x22], source: "x")) == nil)
    #expect(message(String(repeating: "[", count: 120) + String(repeating: "]", count: 120)) == nil)
  }

  @Test func largeObjectsAreReadInLinearTime() throws {
    let text = "{" + (0..<50_000).map { "\"key\($0)\": \($0)" }.joined(separator: ",") + "}"
    let object = try #require(try parse(text).objectValue)
    #expect(object.keys.count == 50_000)
    #expect(object["key49999"] == .integer(49_999))
  }

  @Test func removingAKeyKeepsTheOthers() {
    var object = JSONObject([("a", .integer(1)), ("b", .integer(2)), ("c", .integer(3))])
    object["a"] = nil
    object["d"] = .null
    #expect(object.keys == ["b", "c", "d"])
    #expect(object["c"] == .integer(3))
  }

  @Test func mutationsNeverTrap() {
    let original = Array(#"{"a": [1, -2.5e-3, "té\u00e9\n"], "b": {"c": null, "d": [true, false, NaN]}, "e": ""}"#.utf8)
    var generator = SeededGenerator(99)
    var accepted = 0
    for _ in 0..<20_000 where (try? JSON.parse(mutated(original, &generator), source: "x")) != nil { accepted += 1 }
    #expect(accepted > 0)
  }
}
