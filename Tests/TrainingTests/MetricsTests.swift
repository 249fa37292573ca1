import Glibc
import Platform
import TestSupport
import Testing
import Training
import WeightFiles

struct MetricsTests {
  private func record(_ step: Int, _ kind: MetricsRecord.Kind = .step) -> MetricsRecord {
    MetricsRecord(kind, step: step, epoch: step / 3, values: JSONObject([("loss", .number(1 / Double(step))), ("note", .string("a\nb"))]))
  }
  private func lines(_ path: String) throws -> [MetricsRecord] {
    try String(decoding: InputFile.contents(path), as: UTF8.self).split(separator: "\n").map {
      try MetricsRecord(JSON.parse(String($0), source: path), source: path)
    }
  }
  private func append(_ text: String, to path: String) throws {
    let old = try InputFile.contents(path)
    try AtomicFile.write(old + Array(text.utf8), to: path)
  }

  @Test func linesAreReadableAtOnce() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/metrics.jsonl"
      let stream = try MetricsStream(path)
      for step in 1...3 {
        try stream.write(record(step))
        #expect(try lines(path) == (1...step).map { record($0) })
      }
      try stream.sync()
      #expect(
        String(decoding: try InputFile.contents(path), as: UTF8.self).hasPrefix(
          #"{"kind": "step", "step": 1, "epoch": 0, "loss": 1.0, "note": "a\nb"}"# + "\n"))
    }
  }

  @Test func resumeCutsWhatCameLater() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/metrics.jsonl"
      var stream = try MetricsStream(path)
      for step in 1...200 { try stream.write(record(step)) }
      try append(#"{"kind": "step", "ste"#, to: path)
      stream = try MetricsStream(path, resumedStep: 150)
      #expect(try lines(path).map(\.step) == Array(1...150))
      try stream.write(record(151, .epoch))
      #expect(try lines(path).last == record(151, .epoch))
      // The torn line goes also when nothing else does.
      try append("{\"ki", to: path)
      stream = try MetricsStream(path, resumedStep: 1000)
      #expect(try lines(path).count == 151)
      stream = try MetricsStream(path, resumedStep: 0)
      #expect(try InputFile(path).size == 0)
      try stream.write(record(1))
      stream = try MetricsStream(path)
      #expect(try InputFile(path).size == 0)
      _ = try MetricsStream(folder + "/new.jsonl", resumedStep: 7)
    }
  }

  /// A wrong path must not cost the user a file.
  @Test func otherFilesAreLeftAlone() throws {
    try withTemporaryFolder { folder in
      let texts = ["hello", "hello\nworld\n", "{\"a\": 1}\n", "{\"kind\": \"step\", \"step\": 1, \"epoch\": 0}\nx\n"]
      for (index, text) in texts.enumerated() {
        let path = "\(folder)/\(index)"
        try AtomicFile.write(Array(text.utf8), to: path)
        #expect(throws: MedDINOError.self) { try MetricsStream(path, resumedStep: 0) }
        #expect(try InputFile.contents(path) == Array(text.utf8))
      }
      #expect(throws: MedDINOError.self) { try MetricsStream(folder) }
      #expect(throws: MedDINOError.self) { try MetricsStream("") }
    }
  }

  @Test func linesThatAreNoMetricsArePlaced() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/metrics.jsonl"
      let stream = try MetricsStream(path)
      for step in 1...3 { try stream.write(record(step)) }
      let size = try InputFile(path).size
      try append("\n", to: path)
      let error = #expect(throws: MedDINOError.self) { try MetricsStream(path, resumedStep: 3) }
      #expect(
        error?.kind == .format && error?.message.contains("\(path): the line from byte \(size) on") == true, "\(error?.message ?? "")")
      try AtomicFile.write(Array(try InputFile.contents(path).dropLast()), to: path)
      #expect(try MetricsStream(path, resumedStep: 5).resumedLastStep == 3)
      #expect(try MetricsStream(path, resumedStep: 2).resumedLastStep == 2)
      #expect(try MetricsStream(path).resumedLastStep == nil)
    }
  }

  @Test func historyGivesSeries() throws {
    var history = MetricsHistory()
    for step in 1...6 { history.append(record(step, step % 3 == 0 ? .epoch : .step)) }
    #expect(history.series("loss").map(\.x) == [1, 2])
    #expect(history.series("loss", .step).map(\.x) == [1, 2, 4, 5])
    let last = 1.0 / 6
    #expect(history.last("loss") == last)
    #expect(history.series("note").isEmpty && history.last("none") == nil)
    #expect(try MetricsHistory(JSON.parse(history.json.text(), source: "t"), source: "t") == history)
    #expect(throws: MedDINOError.self) { try MetricsHistory(.null, source: "t") }
    #expect(throws: MedDINOError.self) { try MetricsHistory(.array([.object(("step", .integer(1)))]), source: "t") }
  }
}
