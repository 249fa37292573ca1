import Glibc
import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles

@testable import Slices

struct SliceSetTests {
  private func check(_ set: SliceSet) throws -> SliceCheck { try set.check(pool: ThreadPool(threads: 2)) }

  @Test func readsEverySliceByNumber() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      try sample.write()
      for path in [root, sample.folder] {
        let set = try SliceSet(path)
        #expect(set.count == 10 && set.parts.count == 1 && set.skipped.isEmpty)
        for number in [9, 0, 4, 3, 8, 1, 2, 5, 6, 7] {
          let (rows, columns) = sample.shape(number)
          let slice = try set.slice(at: number)
          #expect(slice.height == rows && slice.width == columns)
          #expect(slice.values == (0..<rows * columns).map { Float(sample.value(number, $0)) })
          let tensor = try set.tensor(at: number, in: MemoryBudget())
          #expect(tensor.shape == [1, rows, columns] && tensor.floatArray() == slice.values)
          let shape = try set.shape(at: number)
          #expect(shape.height == rows && shape.width == columns)
          let origin = try set.origin(at: number)
          #expect(
            origin
              == SliceOrigin(
                part: "sample", caseName: "case\(number / 3)", file: "f\(number / 3).nii.gz", slice: number % 3,
                position: Float(number) * 2.5))
        }
        for number in [-1, 10, Int.max] {
          let error = #expect(throws: MedDINOError.self) { try set.slice(at: number) }
          #expect(error?.kind == .invalid && error?.message.contains("expected 0 to 9") == true)
        }
        let result = try check(set)
        #expect(result.problems.isEmpty && result.slices == 10 && result.bytes > 0)
        #expect(try set.readingSpeed(seconds: 0.01).positional > 0)
      }
    }
  }

  @Test func readsSeveralPartsInTheOrderOfTheirNames() throws {
    try withTemporaryFolder { root in
      try SampleSet(root: root, name: "b", slices: 3).write()
      try SampleSet(root: root, name: "a", slices: 5).write()
      try makeFolder(root + "/other")
      let set = try SliceSet(root)
      #expect(set.count == 8 && set.parts.map(\.manifest.name) == ["a", "b"])
      #expect(try set.origin(at: 4).part == "a" && set.origin(at: 5).part == "b")
      #expect(try set.slice(at: 5).values[0] == -100 && set.intensities.statistics().pixels == 135)
      let fingerprint = set.fingerprint
      try SampleSet(root: root, name: "c", slices: 3).write()
      #expect(try SliceSet(root).fingerprint != fingerprint)
    }
  }

  @Test func manyThreadsReadTheSame() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root, slices: 120, shardSlices: 1)
      try sample.write()
      let set = try SliceSet(root)  // more shards than files are kept open
      let wrong = CounterOfWrong()
      try ThreadPool(threads: 4).forEach(960) { index in
        let number = index * 7 % 120
        if (try? set.slice(at: number).values.first) != Float(sample.value(number, 0)) { wrong.add() }
      }
      #expect(wrong.count == 0)
    }
  }

  @Test func namesMissingAndCutShards() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      for (damage, file) in [
        ("missing", sample.path(1)), ("missing", sample.path(1, index: true)), ("cut", sample.path(1)),
        ("cut", sample.path(1, index: true)), ("longer", sample.path(1)),
      ] {
        try sample.write()
        switch damage {
        case "missing": unlink(file)
        case "cut": try sample.edit(file) { $0.removeLast(20) }
        default: try sample.edit(file) { $0.append(0) }
        }
        let error = #expect(throws: MedDINOError.self) { try SliceSet(root) }
        #expect(error?.message.hasPrefix(file) == true, "\(error?.message ?? "")")
        let log = Lines()
        let set = try SliceSet(root, policy: .skip, log: log.log)
        #expect(set.count == 6 && set.skipped.count == 1 && set.skipped[0].reason.contains(file))
        #expect(log.lines.count == 1 && log.lines[0].contains(file))
        #expect(try set.slice(at: 4).values[0] == Float(sample.value(8, 0)))
        #expect(try check(set).problems == set.skipped)
      }
      for number in 0..<3 { unlink(sample.path(number)) }
      let error = #expect(throws: MedDINOError.self) { try SliceSet(root, policy: .skip) }
      #expect(error?.kind == .invalid && error?.message.contains("3 left out") == true)
    }
  }

  @Test func namesDamagedSlices() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      try sample.write()
      let row = try SliceSet(root).row(at: 5)
      try sample.edit(sample.path(1)) { $0[row.offset + row.bytes - 1] ^= 1 }
      let strict = try SliceSet(root)
      let error = #expect(throws: MedDINOError.self) { try strict.slice(at: 5) }
      #expect(error?.kind == .format && error?.message.contains("\(sample.path(1)), slice 1: the check sum") == true)
      #expect(try strict.slice(at: 4).values[0] == Float(sample.value(4, 0)))
      let log = Lines()
      let set = try SliceSet(root, policy: .skip, log: log.log)
      for _ in 0..<2 { #expect(try set.slice(at: 5).values[0] == Float(sample.value(6, 0))) }
      #expect(set.faults.count == 1 && set.faults[0].place == "slice 5" && log.lines.count == 1)
      let problems = try check(set).problems
      #expect(problems.count == 2 && problems[0].reason.contains("check sum") && problems[1].reason.contains("SHA-256"))
    }
  }

  /// An index and a header that lie while the check sums agree.
  @Test func refusesLyingIndex() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      func index(_ number: Int, _ edit: (inout SliceRow) -> Void) throws {
        try sample.write()
        try sample.edit(sample.path(1, index: true)) { bytes in
          let start = bytes.count - 4 * SliceRow.byteCount + number * SliceRow.byteCount
          var row = bytes.withUnsafeBytes { SliceRow(UnsafeRawBufferPointer(rebasing: $0[start..<start + SliceRow.byteCount])) }
          edit(&row)
          bytes.replaceSubrange(start..<start + SliceRow.byteCount, with: row.encoded)
        }
      }
      let edits: [(String, (inout SliceRow) -> Void)] = [
        ("beyond", { $0.offset = 1 << 40 }), ("overflow", { $0.offset = Int.max }), ("length", { $0.bytes = Int(UInt32.max) }),
        ("short", { $0.bytes = 3 }), ("pixels", { $0.rows = 65535 }), ("none", { $0.columns = 0 }), ("start", { $0.offset = 0 }),
        ("shifted", { $0.offset += 2 }),
      ]
      for (name, edit) in edits {
        try index(1, edit)
        let set = try SliceSet(root)
        let error = #expect(throws: MedDINOError.self) { try set.slice(at: 5) }
        #expect(error?.kind == .format && error?.message.contains(sample.path(1)) == true, "\(name): \(error?.message ?? "")")
        #expect(try check(set).problems.count >= 2)
        #expect(try SliceSet(root, policy: .skip).slice(at: 5).values[0] == Float(sample.value(6, 0)), "\(name)")
      }
      try index(1) { $0.caseNumber = 99 }
      let error = #expect(throws: MedDINOError.self) { try SliceSet(root).origin(at: 5) }
      #expect(error?.message.contains("case 99") == true)
    }
  }

  @Test func refusesAnotherHeaderWithTheRightCheckSum() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      for (old, new, word) in [
        ("'<i2'", "'<f2'", "'<f2'"), ("(4, 5)", "(5, 4)", "[5, 4]"), ("False", "True ", "Fortran"), ("{'descr'", "{'desc?'", "lacks"),
        ("'shape'", "'shape ", "damaged"),
      ] {
        try sample.write()
        let row = try SliceSet(root).row(at: 5)
        var crc: UInt32 = 0
        try sample.edit(sample.path(1)) { bytes in
          let file = row.offset..<row.offset + row.bytes
          let header = String(decoding: bytes[row.offset + 10..<row.offset + 128], as: UTF8.self)
          var text = header
          if let range = text.firstRange(of: old) { text.replaceSubrange(range, with: new) }
          #expect(text != header && text.utf8.count == 118)
          bytes.replaceSubrange(row.offset + 10..<row.offset + 128, with: Array(text.utf8))
          crc = bytes.withUnsafeBytes { CRC32.of(UnsafeRawBufferPointer(rebasing: $0[file])) }
        }
        try sample.edit(sample.path(1, index: true)) { bytes in
          let start = bytes.count - 3 * SliceRow.byteCount + 28
          bytes.replaceSubrange(start..<start + 4, with: littleEndian(crc))
        }
        let error = #expect(throws: MedDINOError.self) { try SliceSet(root).slice(at: 5) }
        #expect(error?.kind == .format && error?.message.contains(word) == true, "\(word): \(error?.message ?? "")")
      }
    }
  }

  @Test func headersThatWereWrittenOtherwiseAreCalledSo() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      try sample.write()
      let row = try SliceSet(root).row(at: 5)
      // A space more and one less: the same header to NumPy, not the one that was written.
      try sample.edit(sample.path(1)) { bytes in
        let file = row.offset..<row.offset + row.bytes
        guard let place = bytes[file].firstIndex(of: 44) else { return }
        bytes.insert(32, at: place + 1)
        guard let end = bytes[place...].firstIndex(of: 10) else { return }
        bytes.remove(at: end - 1)
      }
      let error = #expect(throws: MedDINOError.self) { try SliceSet(root).slice(at: 5) }
      #expect(error?.message.contains("the header of the .npy is not as it was written") == true, "\(error?.message ?? "")")
    }
  }

  @Test func rulesOutOfRangeNameTheFile() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      try sample.write()
      let path = sample.folder + "/set.json"
      let text = String(decoding: try InputFile.contents(path), as: UTF8.self)
      let changed = text.replacing("\"clip_hu\": [-200, 200]", with: "\"clip_hu\": [-200000, 200]")
      #expect(changed != text)
      try AtomicFile.write(Array(changed.utf8), to: path)
      let error = #expect(throws: MedDINOError.self) { try SliceSet(root) }
      #expect(error?.message.hasPrefix(path + ": clip is -200000") == true, "\(error?.message ?? "")")
    }
  }

  @Test func refusesManifestsThatLie() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      try sample.write()
      let path = sample.folder + "/set.json"
      let good = String(decoding: try InputFile.contents(path), as: UTF8.self)
      for (old, new, word) in [
        ("\"version\": 1", "\"version\": 2", "version 2"), ("meddino slice set", "other", "no manifest"),
        ("sample-000001.tar", "../../etc/passwd", "expected sample-000001.tar"), ("\"name\": \"sample\"", "\"name\": \"../x\"", "letters"),
        ("\"slices\": 4", "\"slices\": -4", "from 0"), ("\"slices\": 4", "\"slices\": 9223372036854775807", "64 bits"),
        ("\"slices\": 4", "\"slices\": 5", "the counts say 10"), ("\"size\": 256", "\"size\": 1e9", "size is"),
        ("\"counts\": [", "\"counts\": [-1, ", "out of range"), ("\"licence\": \"none\"", "\"licence\": 3", "expected text"),
        ("{\"format\"", "[\"format\"", "line 1"), ("\"fit\": \"resize\"", "\"fit\": \"stretch\"", "fit"),
      ] {
        var text = good
        if let range = text.firstRange(of: old) { text.replaceSubrange(range, with: new) }
        #expect(text != good, "\(old)")
        try AtomicFile.write(Array(text.utf8), to: path)
        let error = #expect(throws: MedDINOError.self) { try SliceSet(root) }
        #expect(error?.message.contains(word) == true, "\(word): \(error?.message ?? "")")
        let skipping = #expect(throws: MedDINOError.self) { try SliceSet(root, policy: .skip) }
        #expect(skipping?.message.contains("1 left out") == true)
      }
    }
  }

  @Test func refusesWhatIsNoSet() throws {
    try withTemporaryFolder { root in
      for path in [root, root + "/none", root + "/file"] {
        try AtomicFile.write([1], to: root + "/file")
        let error = #expect(throws: MedDINOError.self) { try SliceSet(path) }
        #expect(error?.message.hasPrefix(path) == true)
      }
      #expect(!SliceSet.isSet(root) && !SliceSet.isSet(root + "/file") && !SliceSet.isSet(root + "/none"))
      try SampleSet(root: root).write()
      #expect(SliceSet.isSet(root) && SliceSet.isSet(root + "/sample"))
      try makeFolder(root + "/begun/resume")
      try AtomicFile.write(Array("{}".utf8), to: root + "/begun/resume/plan.json")
      let error = #expect(throws: MedDINOError.self) { try SliceSet(root) }
      #expect(error?.kind == .state && error?.message.contains("not finished") == true)
      let set = try SliceSet(root, policy: .skip)
      #expect(set.count == 10 && set.skipped.count == 1)
    }
  }

  @Test func checkStopsWhenAsked() throws {
    try withTemporaryFolder { root in
      try SampleSet(root: root).write()
      let set = try SliceSet(root)
      let cancellation = Cancellation()
      cancellation.request()
      let error = #expect(throws: MedDINOError.self) {
        try set.check(pool: ThreadPool(threads: 2), control: RunControl(cancellation: cancellation))
      }
      #expect(error?.kind == .cancelled)
    }
  }

  @Test func checkNamesWrongCasesAndValues() throws {
    try withTemporaryFolder { root in
      let sample = SampleSet(root: root)
      try sample.write()
      try sample.edit(sample.folder + "/cases.json") { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        bytes = Array(text.replacing("\"kept\": 1", with: "\"kept\": 2").utf8)
      }
      #expect(try check(SliceSet(root)).problems.contains { $0.reason.contains("11 slices, the manifest says 4 with 10") })
      unlink(sample.folder + "/cases.json")
      #expect(try check(SliceSet(root)).problems.count == 1)
      try sample.write()
      try sample.edit(sample.folder + "/set.json") { bytes in
        bytes = Array(String(decoding: bytes, as: UTF8.self).replacing("\"clip_hu\": [-200, 200]", with: "\"clip_hu\": [-99, 200]").utf8)
      }
      let problems = try check(SliceSet(root)).problems
      #expect(problems.count == 1 && problems[0].reason.contains("HU, the rules clip to -99...200"))
    }
  }
}

private final class CounterOfWrong: @unchecked Sendable {
  private let monitor = Monitor()
  private(set) var count = 0
  func add() {
    monitor.lock()
    count += 1
    monitor.unlock()
  }
}

/// Collects what a log says.
final class Lines: @unchecked Sendable {
  private(set) var lines: [String] = []
  var log: Log { Log(threshold: .warning) { [self] _, message in lines.append(message) } }
}
