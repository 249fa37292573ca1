import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles

@Suite struct TorchArchiveWriterTests {
  /// What is written is what the reader of other people's checkpoints finds.
  @Test func tensorsComeBack() throws {
    try withTemporaryFolder { folder in
      let budget = MemoryBudget()
      let matrix = try Tensor([2, 3], in: budget, "matrix")
      for index in 0..<6 { matrix.floats[index] = Float(index) / 7 }
      let scalar = try Tensor([], in: budget, "scalar")
      scalar.floats[0] = -2.5
      let whole = try Tensor([1, 4], .int64, in: budget, "whole")
      for index in 0..<4 { whole.elements(Int64.self)[index] = Int64(index) << 40 }
      let path = folder + "/a.pth"
      try TorchArchiveWriter.write(
        [.init("teacher", [("backbone.ä", matrix), ("scalar", scalar)]), .init("more", [("whole", whole)])], to: path)
      let archive = try TorchArchive(InputFile(path), in: budget)
      for (group, name, tensor) in [("teacher", "backbone.ä", matrix), ("teacher", "scalar", scalar), ("more", "whole", whole)] {
        let record = try #require(archive.root[group]?[name]?.tensorValue)
        let read = try archive.tensor(record, in: budget)
        #expect(read.shape == tensor.shape && read.dtype == tensor.dtype)
        #expect(Array(read.bytes) == Array(tensor.bytes))
      }
      // The same bytes whenever it is written.
      try TorchArchiveWriter.write(
        [.init("teacher", [("backbone.ä", matrix), ("scalar", scalar)]), .init("more", [("whole", whole)])], to: folder + "/b.pth")
      #expect(try InputFile.contents(path) == InputFile.contents(folder + "/b.pth"))
    }
  }

  @Test func otherTypesAreRefused() throws {
    try withTemporaryFolder { folder in
      let wide = try Tensor([2], .uint64, in: MemoryBudget(), "wide")
      let error = #expect(throws: MedDINOError.self) { try TorchArchiveWriter.write([.init("a", [("wide", wide)])], to: folder + "/a.pth") }
      #expect(error?.kind == .unsupported && error?.message.contains("wide") == true)
      #expect(FileKind.of(folder + "/a.pth") == .missing)
    }
  }
}
