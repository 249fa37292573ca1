import Platform
import Reports
import TestSupport
import Tensors
import Testing

struct PNGTests {
  let budget = MemoryBudget()

  @Test(arguments: [PNG.Format.gray, .rgb, .rgba])
  func pixelsComeBack(_ format: PNG.Format) throws {
    try withTemporaryFolder { folder in
      var random = SeededGenerator(1)
      let (width, height) = (37, 23)
      // Pairs of equal rows of noise, gradients and sparse dots, so that each row filter is the best one somewhere.
      let stride = width * format.rawValue
      var pixels = (0..<stride * height).map { index -> UInt8 in
        switch index / stride % 6 / 2 {
        case 0: return UInt8.random(in: 0...255, using: &random)
        case 1: return UInt8(truncatingIfNeeded: index / format.rawValue * 3)
        default: return UInt8.random(in: 0...4, using: &random) / 4 * 5
        }
      }
      for row in 1..<height where row % 6 == 1 {
        pixels.replaceSubrange(row * stride..<(row + 1) * stride, with: pixels[(row - 1) * stride..<row * stride])
      }
      let path = folder + "/a.png"
      try pixels.withUnsafeBytes { bytes in
        try PNG.write(bytes, width: width, height: height, format: format, to: path, in: budget)
      }
      let picture = try DecodedPNG(path)
      #expect(picture.width == width && picture.height == height && picture.samples == format.rawValue)
      #expect(picture.pixels == pixels)
      #expect(picture.filters == [0, 1, 2])
      #expect(try folderEntries(folder) == ["a.png"])
    }
    #expect(budget.bytesInUse == 0)
  }

  @Test func largePictureIsSplitIntoChunks() throws {
    try withTemporaryFolder { folder in
      var random = SeededGenerator(2)
      let pixels = (0..<1500 * 1000).map { _ in UInt8.random(in: 0...255, using: &random) }
      try pixels.withUnsafeBytes { bytes in
        try PNG.write(bytes, width: 1500, height: 1000, format: .gray, to: folder + "/b.png", in: budget)
      }
      let picture = try DecodedPNG(folder + "/b.png")
      #expect(picture.dataChunks == 2)
      #expect(picture.pixels == pixels)
    }
  }

  @Test func refusesSizesThatDoNotFit() throws {
    let bytes = [UInt8](repeating: 0, count: 12)
    func refuses(_ width: Int, _ height: Int, _ kind: MedDINOError.Kind = .invalid, path: String = "/tmp/never.png")
      -> Bool
    {
      bytes.withUnsafeBytes { raw in
        do throws(MedDINOError) {
          try PNG.write(raw, width: width, height: height, format: .rgb, to: path, in: budget)
          return false
        } catch { return error.kind == kind }
      }
    }
    #expect(refuses(0, 1) && refuses(2, 0) && refuses(-1, 4))
    #expect(refuses(Int.max, Int.max) && refuses(65_536, 1))
    #expect(refuses(2, 3))
    #expect(refuses(2, 2, .io, path: "/nonexistent/folder/x.png"))
    #expect(FileKind.of("/tmp/never.png") == .missing)
    for index in 0..<2 {
      let small = MemoryBudget()
      small.failAllocation(index)
      #expect(throws: MedDINOError.self) {
        try bytes.withUnsafeBytes {
          try PNG.write($0, width: 2, height: 2, format: .rgb, to: "/tmp/never.png", in: small)
        }
      }
      #expect(small.bytesInUse == 0)
    }
  }

  @Test func rgbPictureScalesClampsAndTakesNaNAsDark() throws {
    try withTemporaryFolder { folder in
      let planes = try Tensor([0, 1, 0.5, 2, -1, .nan], [3, 1, 2], in: budget)
      try RGBPicture.write(planes, pixelSize: 2, to: folder + "/c.png", in: budget)
      let picture = try DecodedPNG(folder + "/c.png")
      #expect(picture.width == 4 && picture.height == 2)
      #expect(picture.colour(1, 1) == Colour(0, 128, 0, 255))
      #expect(picture.colour(2, 0) == Colour(255, 255, 0, 255))
      #expect(throws: MedDINOError.self) {
        try RGBPicture.write(planes, pixelSize: 0, to: folder + "/d.png", in: budget)
      }
      let flat = try Tensor([0, 1], [2, 1], in: budget)
      #expect(throws: MedDINOError.self) { try RGBPicture.write(flat, to: folder + "/d.png", in: budget) }
    }
  }
}
