import Platform
import TestSupport
import Testing

@Suite struct ByteSourceTests {
  @Test func memoryIsGivenBackOnce() throws {
    nonisolated(unsafe) var released = 0
    var bytes: [UInt8] = [1, 2, 3, 4]
    bytes.withUnsafeMutableBytes { raw in
      if let base = raw.baseAddress {
        let source = MemorySource(base, size: 4) { released += 1 }
        #expect((try? source.bytes(at: 1, count: 2)) == [2, 3])
        #expect(released == 0)
      }
    }
    #expect(released == 1)
  }

  @Test(arguments: [(-1, 1), (0, 5), (4, 1), (2, -1), (Int.max, 1), (1, Int.max), (Int.min, 2)])
  func positionsOutsideAreRefused(at: Int, count: Int) {
    let source: any ByteSource = memorySource([1, 2, 3, 4])
    #expect(throws: MedDINOError.self) { try source.bytes(at: at, count: count) }
  }

  @Test func filesAreSourcesToo() throws {
    try withTemporaryFolder { folder in
      try AtomicFile.write([9, 8, 7], to: folder + "/x")
      let source: any ByteSource = try InputFile(folder + "/x")
      #expect(try source.bytes(at: 1, count: 2) == [8, 7])
      #expect(throws: MedDINOError.self) { try source.bytes(at: 2, count: 2) }
    }
  }
}
