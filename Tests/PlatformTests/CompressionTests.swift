import Platform
import TestSupport
import Testing

struct CompressionTests {
  private func bytes(_ count: Int) -> [UInt8] {
    var random = SeededGenerator(5)
    return (0..<count).map { $0 % 3 == 0 ? UInt8.random(in: 0...255, using: &random) : 7 }
  }

  private func packed(_ bytes: [UInt8], _ wrapping: GzipWriter.Wrapping, behind prefix: [UInt8], at path: String) throws {
    let file = try AtomicFile(path)
    try file.write(prefix)
    let writer = try GzipWriter(file, wrapping: wrapping)
    try bytes.withUnsafeBytes { try writer.write($0) }
    try writer.finish()
    try file.commit()
  }

  private func inflated(_ path: String, _ range: Range<Int>?, acceptsZlib: Bool, count: Int) throws -> [UInt8] {
    let reader = try GzipReader(InputFile(path), range: range, acceptsZlib: acceptsZlib)
    var result = [UInt8](repeating: 0, count: count)
    try result.withUnsafeMutableBytes { try reader.readAll(into: $0) }
    try reader.finish(limit: 0)
    return result
  }

  @Test func bothWrappingsAndPartsOfFiles() throws {
    try withTemporaryFolder { folder in
      let data = bytes(300_000)
      for wrapping in [GzipWriter.Wrapping.gzip, .zlib] {
        let path = folder + "/a"
        try packed(data, wrapping, behind: [1, 2, 3], at: path)
        let size = try InputFile(path).size
        #expect(try inflated(path, 3..<size, acceptsZlib: true, count: data.count) == data)
        // what follows the range is not looked at, even where it looks like another member
        try AtomicFile.write(try InputFile.contents(path) + [0x1f, 0x8b, 9], to: path)
        #expect(try inflated(path, 3..<size, acceptsZlib: true, count: data.count) == data)
        #expect(throws: MedDINOError.self) { try inflated(path, 3..<size - 1, acceptsZlib: true, count: data.count) }
        #expect(throws: MedDINOError.self) { try GzipReader(InputFile(path), range: 3..<size + 4) }
      }
      try packed(data, .zlib, behind: [], at: folder + "/z")
      #expect(throws: MedDINOError.self) { try inflated(folder + "/z", nil, acceptsZlib: false, count: data.count) }
      var damaged = try InputFile.contents(folder + "/z")
      damaged[damaged.count - 1] ^= 1
      try AtomicFile.write(damaged, to: folder + "/z")
      #expect(throws: MedDINOError.self) { try inflated(folder + "/z", nil, acceptsZlib: true, count: data.count) }
    }
  }

  @Test func writtenBytesCanBeReplaced() throws {
    try withTemporaryFolder { folder in
      for length in [10, 200_000] {
        var data = bytes(length)
        let file = try AtomicFile(folder + "/a")
        try file.write(data)
        try file.overwrite([1, 2, 3], at: 4)
        try file.write([9])
        #expect(throws: MedDINOError.self) { try file.overwrite([1, 2], at: length) }
        #expect(throws: MedDINOError.self) { try file.overwrite([1], at: -1) }
        try file.commit()
        data.replaceSubrange(4..<7, with: [1, 2, 3])
        #expect(try InputFile.contents(folder + "/a") == data + [9])
      }
    }
  }
}
