import Platform
import TestSupport
import Testing

@Suite struct SHA256Tests {
  private func update(_ hash: inout SHA256, _ bytes: [UInt8]) { bytes.withUnsafeBytes { hash.update($0) } }
  private func hash(_ text: String) -> String {
    var hash = SHA256()
    update(&hash, Array(text.utf8))
    return hash.finish().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// Examples of FIPS 180-4.
  @Test func knownVectors() {
    #expect(hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    #expect(hash(long) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    let million = String(repeating: "a", count: 1_000_000)
    #expect(hash(million) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  }

  @Test func piecesGiveTheSameDigest() {
    var generator = SeededGenerator(180)
    for length in [1, 55, 56, 63, 64, 65, 119, 120, 128, 1000] {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
      var whole = SHA256()
      update(&whole, bytes)
      var parts = SHA256()
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = min(rest.count, Int.random(in: 0...70, using: &generator))
        update(&parts, Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
      }
      #expect(parts.finish() == whole.finish(), "\(length) bytes")
    }
  }
}
