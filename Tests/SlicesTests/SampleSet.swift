import Platform
import TestSupport

@testable import Slices

/// A finished part with made-up slices: slice k holds k - 100, k - 99, … and is of case k / 3.
struct SampleSet {
  let root: String
  var name = "sample"
  var slices = 10
  var shardSlices = 4
  var folder: String { root + "/" + name }

  func shape(_ number: Int) -> (rows: Int, columns: Int) { (3 + number % 2, 5) }
  func value(_ number: Int, _ place: Int) -> Int16 { Int16(number - 100 + place) }

  func write() throws {
    try makeFolder(folder)
    var shards: [SliceShardRecord] = []
    var rules = SliceRules()
    rules.clip = -200...200
    var counts = IntensityCounts(rules.clip)
    var cases: [SliceCase] = []
    var start = 0
    while start < slices {
      let writer = try SliceShardWriter(folder: folder, part: name, number: shards.count, firstNumber: start)
      for number in start..<min(start + shardSlices, slices) {
        let (rows, columns) = shape(number)
        let pixels = (0..<rows * columns).map { value(number, $0) }
        pixels.withUnsafeBufferPointer { counts.add($0) }
        if number / 3 == cases.count { cases.append(SliceCase(name: "case\(cases.count)", file: "f\(cases.count).nii.gz")) }
        cases[number / 3].slices.kept += 1
        try pixels.withUnsafeBufferPointer { buffer in
          guard let base = buffer.baseAddress else { return }
          try writer.append(
            base, rows: rows, columns: columns, caseNumber: number / 3, slice: number % 3, position: Float(number) * 2.5,
            digest: SliceDigest(high: UInt64(number), low: 7))
        }
      }
      shards.append(try writer.commit())
      start += shardSlices
    }
    var total = SliceCounts()
    total.kept = slices
    let manifest = SliceManifest(
      name: name, title: "Sample", licence: "none", reference: "", rules: rules, cases: cases.count, leftOut: 0, excludedNames: [],
      excludedSlices: 0, slices: total, intensities: counts, shards: shards, earlierParts: [])
    try AtomicFile.write(Array(("[" + cases.map { $0.json.text() }.joined(separator: ",") + "]").utf8), to: folder + "/cases.json")
    try AtomicFile.write(Array(manifest.json.text().utf8), to: folder + "/set.json")
  }

  func path(_ shard: Int, index: Bool = false) -> String {
    let names = SliceShardWriter.names(name, shard)
    return folder + "/" + (index ? names.index : names.tar)
  }

  /// Changes a file in place.
  func edit(_ path: String, _ body: (inout [UInt8]) throws -> Void) throws {
    var bytes = try InputFile.contents(path)
    try body(&bytes)
    try AtomicFile.write(bytes, to: path)
  }
}
