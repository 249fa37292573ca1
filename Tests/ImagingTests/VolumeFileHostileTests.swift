import Imaging
import Platform
import Tensors
import TestSupport
import Testing

/// Text headers that lie, are cut or were tampered with end in an error, never in a trap, a large allocation or a file elsewhere.
@Suite struct VolumeFileHostileTests {
  private let budget = MemoryBudget(limit: 64 << 20)

  private func failure(_ bytes: [UInt8], _ path: String) throws -> MedDINOError? {
    try AtomicFile.write(bytes, to: path)
    do throws(MedDINOError) { _ = try VolumeFile.read(path, in: budget) } catch {
      #expect(!error.message.contains("\n"))
      #expect(budget.bytesInUse == 0)
      return error
    }
    return nil
  }

  @Test func announcedTerabytesAreNotAllocated() throws {
    try withTemporaryFolder { folder in
      let sizes = ["2147483647 2147483647 2147483647", "2147483647 2147483647 1", "100000 100000 100", "4 3 3"]
      for size in sizes {
        for (encoding, compression) in [("raw", "False"), ("gzip", "True"), ("ascii", nil)] {
          var nrrd = TextHeaderSample.nrrd.with(["sizes": size, "encoding": encoding])
          var meta = TextHeaderSample.metaImage.with([
            "DimSize": size, "CompressedData": compression, "BinaryData": compression == nil ? "False" : "True",
          ])
          if compression == "True" {
            nrrd.voxels = try compressed(nrrd.voxels, .gzip, at: folder + "/z")
            meta.voxels = try compressed(meta.voxels, .zlib, at: folder + "/z")
          }
          for sample in [nrrd, meta] {
            let tight = MemoryBudget()
            let error = #expect(throws: MedDINOError.self) { try readVolume(sample, in: folder, budget: tight) }
            #expect(error?.kind == .format, "\(size) \(encoding): \(error?.message ?? "")")
            // a compressed stream may be as long as its few bytes allow; what is announced beyond is not believed
            #expect(tight.peakBytes <= 1 << 20)
          }
        }
      }
    }
  }

  /// The files are there, so that only the rule keeps them shut.
  @Test func dataFilesElsewhereStayShut() throws {
    try withTemporaryFolder { root in
      let folder = root + "/inner"
      try makeFolder(folder)
      let voxels = TextHeaderSample.nrrd.voxels
      for path in ["/x.raw", "/x0.raw", "/x1.raw"] { try AtomicFile.write(voxels, to: root + path) }
      try AtomicFile.write(voxels, to: folder + "/..raw")
      var nrrd = TextHeaderSample.nrrd
      (nrrd.ending, nrrd.voxels) = (".nhdr", [])
      var meta = TextHeaderSample.metaImage
      (meta.ending, meta.voxels) = (".mhd", [])
      for name in [root + "/x.raw", "../x.raw", "./../x.raw", "a/../../x.raw", "..//x.raw", "../x%d.raw 0 1 1"] {
        for sample in [nrrd.with("data file", name), meta.with("ElementDataFile", name)] {
          expectFailure(.unsupported, sample, in: folder, naming: "folder")
        }
      }
      for sample in [nrrd.with("data file", "LIST"), meta.with("ElementDataFile", "LIST")] {
        var listing = sample
        // the list ends an NRRD header wherever its field stands
        if let place = listing.lines.firstIndex(where: { $0.hasSuffix("LIST") }) { listing.lines.append(listing.lines.remove(at: place)) }
        listing.lines.removeAll { $0.isEmpty }
        listing.lines += ["../x0.raw", "../x1.raw"]
        expectFailure(.unsupported, listing, in: folder, naming: "folder")
      }
      #expect(values(try readVolume(nrrd.with("data file", "..raw"), in: folder)) == countingVoxels)
      #expect(values(try readVolume(meta.with("ElementDataFile", "..raw"), in: folder)) == countingVoxels)
    }
  }

  @Test func truncationsAreErrors() throws {
    try withTemporaryFolder { folder in
      for sample in [TextHeaderSample.nrrd, .metaImage] {
        for length in 0..<sample.file.count {
          let error = try failure(Array(sample.file[..<length]), folder + "/a" + sample.ending)
          // a cut name of a data file is that of a missing one
          let isName = sample.ending == ".mha" && length < sample.header.count && error?.kind == .io
          #expect(error?.kind == .format || isName, "\(length): \(error?.message ?? "none")")
        }
      }
      var nrrd = TextHeaderSample.nrrd.with("encoding", "gzip")
      nrrd.voxels = try compressed(nrrd.voxels, .gzip, at: folder + "/z")
      var meta = TextHeaderSample.metaImage.with("CompressedData", "True")
      meta.voxels = try compressed(meta.voxels, .zlib, at: folder + "/z")
      for sample in [nrrd, meta] {
        for length in sample.header.count..<sample.file.count {
          #expect(try failure(Array(sample.file[..<length]), folder + "/a" + sample.ending)?.kind == .format)
        }
      }
    }
  }

  @Test func flippedBytesNeverTrap() throws {
    try withTemporaryFolder { folder in
      var random = SeededGenerator(12)
      for sample in [TextHeaderSample.nrrd, .metaImage] {
        for _ in 0..<1500 {
          var bytes = sample.file
          for _ in 0..<Int.random(in: 1...4, using: &random) {
            let place = Int.random(in: 0..<sample.header.count, using: &random)
            bytes[place] =
              Bool.random(using: &random) ? UInt8.random(in: 0x20...0x7e, using: &random) : UInt8.random(in: 0...255, using: &random)
          }
          _ = try failure(bytes, folder + "/a" + sample.ending)
        }
      }
    }
  }

  @Test func endlessHeaders() throws {
    try withTemporaryFolder { folder in
      let long = [UInt8](repeating: 0x41, count: 3 << 20)
      let lines = Array(String(repeating: "#" + String(repeating: "a", count: 60_000) + "\n", count: 300).utf8)
      let spaces = "space directions: " + String(repeating: " ", count: 1_000_000) + "\n"
      let cases: [(bytes: [UInt8], ending: String, words: String)] = [
        (Array("NRRD0004\ncontent: ".utf8) + long, ".nrrd", "longer than"), (Array("NRRD0004\n#".utf8) + long, ".nrrd", "longer than"),
        (Array("NDims = 3\nComment = ".utf8) + long, ".mha", "longer than"),
        (Array("NRRD0004\n".utf8) + lines, ".nrrd", "no end of the header"), (Array(("NRRD0004\n" + spaces).utf8), ".nrrd", "missing"),
      ]
      for item in cases {
        let error = try failure(item.bytes, folder + "/a" + item.ending)
        #expect(error?.kind == .format && error?.message.contains(item.words) == true, "\(error?.message ?? "none")")
      }
    }
  }

  @Test func otherContentUnderTheseNames() throws {
    try withTemporaryFolder { folder in
      for ending in [".nrrd", ".nhdr", ".mha", ".mhd"] {
        #expect(try failure([], folder + "/a" + ending)?.kind == .format)
        #expect(try failure([UInt8](repeating: 0x41, count: 4000), folder + "/a" + ending)?.kind == .format)
        #expect(try failure([UInt8](repeating: 0, count: 4000), folder + "/a" + ending)?.kind == .format)
        #expect(throws: MedDINOError.self) { try VolumeFile.read(folder + "/missing" + ending, in: budget) }
        try makeFolder(folder + "/folder" + ending)
        #expect(throws: MedDINOError.self) { try VolumeFile.read(folder + "/folder" + ending, in: budget) }
      }
    }
  }
}
