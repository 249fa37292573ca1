import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles

@Suite struct SafeTensorsTests {
  let budget = MemoryBudget()

  private func file(_ header: String, _ data: [UInt8]) throws -> SafeTensorsFile {
    try SafeTensorsFile(memorySource(littleEndian(UInt64(header.utf8.count)) + Array(header.utf8) + data))
  }
  private func refused(_ header: String, _ data: Int) -> Bool { (try? file(header, [UInt8](repeating: 0, count: data))) == nil }
  private func entry(_ name: String, _ dtype: String, _ shape: String, _ from: Int, _ to: Int) -> String {
    #""\#(name)": {"dtype": "\#(dtype)", "shape": [\#(shape)], "data_offsets": [\#(from), \#(to)]}"#
  }

  /// A header of 1 MB that would become a hundred is refused before it is parsed.
  @Test func headersCountAgainstTheLimit() throws {
    let values = String(repeating: #"{"":0},"#, count: 150_000)
    let header = Array(#"{"__metadata__": {"a": ["#.utf8) + Array(values.utf8) + Array("0]}}".utf8)
    let bytes = littleEndian(UInt64(header.count)) + header
    let small = MemoryBudget(limit: 16 << 20)
    #expect {
      try SafeTensorsFile(memorySource(bytes), in: small)
    } throws: {
      ($0 as? MedDINOError)?.kind == .outOfMemory && small.bytesInUse == 0
    }
    #expect { try SafeTensorsFile(memorySource(bytes)) } throws: { ($0 as? MedDINOError)?.kind == .format }
    let text = "{\(entry("a", "F32", "1", 0, 4))}"
    let own = MemoryBudget()
    var file: SafeTensorsFile? = try SafeTensorsFile(
      memorySource(littleEndian(UInt64(text.utf8.count)) + Array(text.utf8) + [0, 0, 0, 0]), in: own)
    #expect(file?.names == ["a"] && own.bytesInUse > 0)
    file = nil
    #expect(own.bytesInUse == 0)
  }

  @Test func roundTripOfEveryType() throws {
    var generator = SeededGenerator(3)
    try withTemporaryFolder { folder in
      var tensors: [(String, Tensor)] = []
      for dtype in DType.allCases {
        let tensor = try Tensor([2, 3], dtype, in: budget)
        for place in 0..<tensor.byteCount { tensor.bytes[place] = UInt8.random(in: 0...1, using: &generator) }
        tensors.append((dtype.rawValue, tensor))
      }
      tensors.append(("scalar", try Tensor([5], [], in: budget)))
      tensors.append(("empty", try Tensor([0, 4], .float32, in: budget)))
      let path = folder + "/x.safetensors"
      try SafeTensorsWriter.write(tensors, metadata: [("b", "2"), ("a", "é")], to: path)
      let file = try SafeTensorsFile(InputFile(path))
      #expect(file.metadata == ["a": "é", "b": "2"])
      #expect(Set(file.names) == Set(tensors.map(\.0)))
      for (name, tensor) in tensors {
        let got = try file.tensor(name, in: budget)
        #expect(got.shape == tensor.shape && got.dtype == tensor.dtype && got.bytes.elementsEqual(tensor.bytes), "\(name)")
      }
      let head = try InputFile(path).bytes(at: 0, count: 8)
      #expect(head[0] % 8 == 0)
      #expect(throws: MedDINOError.self) { try file.tensor("none", in: budget) }
      #expect(throws: MedDINOError.self) { try file.tensor("float64", in: MemoryBudget(limit: 47)) }
    }
  }

  @Test func headersThatLie() throws {
    #expect(try file("{\(entry("a", "F32", "2", 0, 8))}", [UInt8](repeating: 0, count: 8)).names == ["a"])
    #expect(refused("{\(entry("a", "F32", "2", 0, 8))}", 7))
    #expect(refused("{\(entry("a", "F32", "2", 0, 8))}", 9))
    #expect(refused("{\(entry("a", "F32", "3", 0, 8))}", 8))
    #expect(refused("{\(entry("a", "F33", "2", 0, 8))}", 8))
    #expect(refused("{\(entry("a", "F32", "-2", 0, 8))}", 8))
    #expect(refused("{\(entry("a", "F32", "2.5", 0, 8))}", 8))
    #expect(refused("{\(entry("a", "F32", "2", 8, 0))}", 8))
    #expect(refused("{\(entry("a", "F32", "4611686018427387904,4", 0, 8))}", 8))
    #expect(refused("{\(entry("a", "U8", "4", 0, 4)), \(entry("b", "U8", "4", 5, 9))}", 9))
    #expect(refused("{\(entry("a", "U8", "4", 0, 4)), \(entry("b", "U8", "4", 3, 7))}", 7))
    #expect(refused("{\(entry("a", "U8", "4", 0, 4)), \(entry("a", "U8", "4", 4, 8))}", 8))
    #expect(refused(#"{"a": {"dtype": "U8", "shape": [0]}}"#, 0))
    #expect(refused(#"{"a": 5}"#, 0))
    #expect(refused("[]", 0))
    #expect(refused(#"{"__metadata__": {"a": 5}}"#, 0))
    #expect(refused(#"{"__metadata__": []}"#, 0))
    #expect(refused("{\(entry("a", "U8", "0", 0, 0)), \(entry("a", "U8", "4", 0, 4))}", 4))
    let empty = "{\(entry("a", "U8", "4", 0, 4)), \(entry("b", "U8", "0", 0, 0)), \(entry("c", "U8", "0,3", 4, 4))}"
    #expect(try file(empty, [1, 2, 3, 4]).names == ["b", "a", "c"])
    for head in [[UInt8](), [1, 2, 3], littleEndian(UInt64.max), littleEndian(UInt64(1) << 40), littleEndian(UInt64(0))] {
      #expect((try? SafeTensorsFile(memorySource(head))) == nil)
    }
  }

  @Test func isNotMistakenForAnArchive() {
    // A header length of 0x80 or 0x4b50 begins like a bare pickle or a ZIP file.
    for length in [0x80, 0x4b50, 0x4_4b50] { #expect(!TorchArchive.recognises(littleEndian(UInt64(length)) + Array("{".utf8))) }
    #expect(TorchArchive.recognises([0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0]))
    #expect(TorchArchive.recognises([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9]))
    #expect(TorchArchive.recognises([0x80]))
  }

  @Test func mutationsNeverTrap() throws {
    let header = "{\(entry("a", "F32", "2,2", 0, 16)), \(entry("b", "I64", "", 16, 24)), \"__metadata__\": {\"k\": \"v\"}}"
    let original = littleEndian(UInt64(header.utf8.count)) + Array(header.utf8) + [UInt8](repeating: 7, count: 24)
    var generator = SeededGenerator(11)
    var accepted = 0
    for _ in 0..<10_000 {
      guard let file = try? SafeTensorsFile(memorySource(mutated(original, &generator))) else { continue }
      accepted += 1
      for name in file.names { _ = try? file.tensor(name, in: MemoryBudget(limit: 1 << 20)) }
    }
    #expect(accepted > 0 && accepted < 10_000)
  }

  @Test func aFailedWriteLeavesTheEarlierFile() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/x.safetensors"
      let tensor = try Tensor([1, 2], [2], in: budget)
      try SafeTensorsWriter.write([("a", tensor)], to: path)
      let item = SafeTensorsWriter.Item(name: "a", dtype: .float32, shape: [3])
      #expect(throws: MedDINOError.self) {
        try SafeTensorsWriter.write([item], metadata: [], to: path) { (_) throws(MedDINOError) in tensor }
      }
      #expect(try SafeTensorsFile(InputFile(path)).shape(of: "a") == [2])
      #expect(try folderEntries(folder) == ["x.safetensors"])
    }
  }
}
