import Platform
import TestSupport
import Testing

@testable import FineTuning

@Suite struct FeatureCacheTests {
  private let limit = 40 + 4 * (40 + 2 * 16)
  private func open(_ path: String, _ identity: String = "a", count: Int = 16) throws -> FeatureCache {
    try FeatureCache(path, valueCount: count, limit: limit, identity: identity)
  }
  private func values(_ number: Int) -> [UInt16] { (0..<16).map { UInt16(number * 100 + $0) } }
  private func key(_ number: Int) -> [UInt8] { [UInt8(number)].withUnsafeBytes { FeatureCache.key($0) } }
  private func put(_ number: Int, _ cache: FeatureCache) throws {
    try values(number).withUnsafeBufferPointer { try cache.write(key(number), $0) }
  }
  /// nil when it is not kept.
  private func get(_ number: Int, _ cache: FeatureCache) throws -> [UInt16]? {
    var found = [UInt16](repeating: 0, count: 16)
    let isKept = try found.withUnsafeMutableBufferPointer { try cache.read(key(number), into: $0) }
    return isKept ? found : nil
  }

  @Test func keepsWhatFits() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/f"
      do {
        let cache = try open(path)
        #expect(try get(1, cache) == nil)
        for number in 1...5 { try put(number, cache) }
        for number in 1...4 { #expect(try get(number, cache) == values(number)) }
        #expect(try get(5, cache) == nil)
        #expect(cache.count == 4 && cache.capacity == 4 && cache.hits == 4 && cache.misses == 2)
        #expect(throws: MedDINOError.self) { try open(path) }
      }
      #expect(try FileStamp(path).size == limit)
      let again = try open(path)
      for number in 1...4 { #expect(try get(number, again) == values(number)) }
    }
  }

  @Test func otherFeaturesAreForgotten() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/f"
      do { try put(1, open(path)) }
      do { #expect(try get(1, open(path, "b")) == nil) }
      do { #expect(try get(1, open(path)) == nil) }
      try AtomicFile.write("something else altogether, and longer than a head", path)
      let cache = try open(path)
      try put(2, cache)
      #expect(try get(2, cache) == values(2))
    }
  }

  /// Cut anywhere, or with any byte changed: what is found is right.
  @Test func damage() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/f"
      do {
        let cache = try open(path)
        for number in 1...3 { try put(number, cache) }
      }
      let whole = try InputFile.contents(path)
      var found = 0
      for cut in stride(from: 0, through: whole.count, by: 7) {
        try AtomicFile.write(Array(whole.prefix(cut)), to: path)
        found += try check(path)
      }
      for place in stride(from: 0, to: whole.count, by: 5) {
        var bytes = whole
        bytes[place] ^= 0x10
        try AtomicFile.write(bytes, to: path)
        found += try check(path)
      }
      #expect(found > 50)
    }
  }
  private func check(_ path: String) throws -> Int {
    let cache = try open(path)
    var found = 0
    for number in 1...3 {
      guard let kept = try get(number, cache) else {
        try put(number, cache)
        #expect(try get(number, cache) == values(number))
        continue
      }
      #expect(kept == values(number))
      found += 1
    }
    return found
  }
}

extension AtomicFile {
  fileprivate static func write(_ text: String, _ path: String) throws { try write(Array(text.utf8), to: path) }
}
