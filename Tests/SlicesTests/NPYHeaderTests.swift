import Platform
import TestSupport
import Testing

@testable import Slices

struct NPYHeaderTests {
  /// The bytes that numpy.save writes for int16 of shape (2, 3) and for a vector of five.
  @Test func writesWhatNumPyWrites() throws {
    let matrix = NPYHeader.bytes(.string("<i2"), shape: [2, 3])
    let text = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }"
    let padded = text + String(repeating: " ", count: 118 - text.utf8.count - 1) + "\n"
    #expect(matrix == [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(padded.utf8))
    #expect(String(decoding: NPYHeader.bytes(.string("<u8"), shape: [5])[10...], as: UTF8.self).contains("'shape': (5,), }"))
    #expect(String(decoding: NPYHeader.bytes(.string("<u8"), shape: [])[10...], as: UTF8.self).contains("'shape': (), }"))
  }

  @Test func readsBackWhatItWrites() throws {
    for shape in [[], [7], [3, 4], [1, 2, 3]] {
      for descr in [PythonLiteral.string("<i2"), SliceRow.descr] {
        let bytes = NPYHeader.bytes(descr, shape: shape)
        #expect(bytes.count % 64 == 0)
        let header = try NPYHeader(bytes + [1, 2, 3], "a.npy")
        #expect(header.descr == descr && header.shape == shape && !header.isFortranOrder && header.dataOffset == bytes.count)
      }
    }
  }

  @Test func readsLaterVersions() throws {
    let text = Array("{\"descr\": '|u1', 'fortran_order': True, 'shape': (4, 5,)}\n".utf8)
    for version in [UInt8(2), 3] {
      let bytes = [0x93] + Array("NUMPY".utf8) + [version, 0] + littleEndian(UInt32(text.count)) + text
      let header = try NPYHeader(bytes, "a.npy")
      #expect(header.descr == .string("|u1") && header.isFortranOrder && header.shape == [4, 5] && header.dataOffset == bytes.count)
    }
  }

  @Test func refusesDamage() throws {
    let whole = NPYHeader.bytes(.string("<i2"), shape: [2, 3])
    for length in 0..<whole.count {
      let error = #expect(throws: MedDINOError.self) { try NPYHeader(Array(whole.prefix(length)), "cut.npy") }
      #expect(error?.kind == .format && error?.message.hasPrefix("cut.npy: ") == true)
    }
    func file(_ text: String, version: UInt8 = 1, length: Int? = nil) -> [UInt8] {
      [0x93] + Array("NUMPY".utf8) + [version, 0] + littleEndian(UInt16(length ?? text.utf8.count)) + Array(text.utf8)
    }
    for (bytes, word) in [
      (file("{'descr': '<i2'}"), "lacks"), (file("{}"), "lacks"), (file(""), "ends where"), (file("[[[[[[[[[[[[1"), "nested"),
      (file("{'descr': '<i2', 'fortran_order': 0, 'shape': (1,)}"), "lacks"),
      (file("{'descr': '<i2', 'fortran_order': False, 'shape': (-1,)}"), "whole numbers"),
      (file("{'descr': '<i2', 'fortran_order': False, 'shape': (99999999999999999999,)}"), "is no value"),
      (file("{'descr': '<i2', 'descr': '<i2'}"), "twice"), (file("{'descr': __import__('os')}"), "is no value"),
      (file("{'descr': 'a\\x41'}"), "byte 92"), (file("{'descr': '<i2"), "inside a string"), (file("{1: 2}"), "no string"),
      (file("{'descr' '<i2'}"), "':'"), (file("{'descr': '<i2' 'x'}"), "','"), (file("{} {}"), "text after"),
      (file("{}", version: 9), "version 9"), (file("{}", length: 60000), "announces"), (Array("PK\u{3}\u{4}0123456789".utf8), "not a .npy"),
    ] {
      let error = #expect(throws: MedDINOError.self) { try NPYHeader(bytes, "bad.npy") }
      #expect(error?.kind == .format && error?.message.contains(word) == true, "\(word): \(error?.message ?? "")")
    }
  }

  /// Random damage never traps, and whatever is accepted is a shape.
  @Test func survivesNoise() throws {
    var random = SeededGenerator(5)
    let whole = NPYHeader.bytes(SliceRow.descr, shape: [12])
    for _ in 0..<2000 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      if let header = try? NPYHeader(bytes, "noise") { #expect(header.shape.allSatisfy { $0 >= 0 }) }
    }
  }
}

struct TarHeaderTests {
  @Test func readsBackWhatItWrites() throws {
    for size in [0, 1, 511, 512, 8_589_934_591] {
      let header = TarHeader(name: "slice_000000001.npy", size: size)
      #expect(header.bytes.count == 512)
      #expect(try TarHeader(header.bytes, "a.tar") == header)
    }
    #expect([0, 1, 511, 512, 513].map(TarHeader.padding) == [0, 511, 1, 0, 511])
  }

  /// Field by field, as POSIX has them.
  @Test func hasTheFieldsOfUstar() throws {
    let bytes = TarHeader(name: "x.npy", size: 10).bytes
    func text(_ range: Range<Int>) -> String { String(decoding: bytes[range].prefix { $0 != 0 }, as: UTF8.self) }
    #expect(
      text(0..<100) == "x.npy" && text(100..<108) == "0000644" && text(124..<136) == "00000000012" && text(136..<148) == "00000000000")
    #expect(bytes[156] == 48 && Array(bytes[257..<265]) == Array("ustar\0".utf8) + [48, 48])
    let sum = bytes.enumerated().reduce(0) { $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element)) }
    #expect(Int(text(148..<154), radix: 8) == sum)
  }

  @Test func refusesDamage() throws {
    let whole = TarHeader(name: "x.npy", size: 10).bytes
    for place in [0, 3, 125, 150, 156, 258] {
      var bytes = whole
      bytes[place] ^= 1
      let error = #expect(throws: MedDINOError.self) { try TarHeader(bytes, "a.tar") }
      #expect(error?.kind == .format)
    }
    #expect(throws: MedDINOError.self) { try TarHeader(Array(whole.prefix(100)), "a.tar") }
    #expect(throws: MedDINOError.self) { try TarHeader([UInt8](repeating: 0, count: 512), "a.tar") }
  }
}
