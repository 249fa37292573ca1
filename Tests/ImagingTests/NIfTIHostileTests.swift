import Imaging
import Platform
import TestSupport
import Testing

/// Damaged and lying files end in an error of the library, never in a trap and never in a large allocation.
@Suite struct NIfTIHostileTests {
  /// Small enough that a header which announces much more is refused by the limit at the latest.
  private let budget = MemoryBudget(limit: 64 << 20)

  private func attempt(_ bytes: [UInt8], _ path: String, gzip: Bool = false) throws -> MedDINOError.Kind? {
    if gzip { try gzipped(bytes, at: path) } else { try AtomicFile.write(bytes, to: path) }
    var kind: MedDINOError.Kind?
    for reader in VolumeFile.Reader.allCases {
      if let error = failure(path, reader) {
        kind = error.kind
        #expect(!error.message.contains("\n"))
      }
    }
    #expect(budget.bytesInUse == 0)
    return kind
  }

  private func failure(_ path: String, _ reader: VolumeFile.Reader) -> MedDINOError? {
    do throws(MedDINOError) { _ = try NIfTI.read(path, reader: reader, in: budget) } catch { return error }
    return nil
  }

  /// What users of a viewer have at hand: they are told what to do with it.
  @Test func dicomIsNamed() throws {
    try withTemporaryFolder { folder in
      let file = folder + "/slice.dcm"
      try AtomicFile.write([UInt8](repeating: 0, count: 128) + Array("DICM".utf8) + [UInt8](repeating: 2, count: 600), to: file)
      let single = failure(file, .simpleITK)
      #expect(single?.kind == .unsupported && single?.message.contains("a DICOM file") == true)
      let series = failure(folder, .simpleITK)
      #expect(series?.kind == .io && series?.message.contains("a folder") == true)
    }
  }

  @Test func impossibleFieldsAreRefused() throws {
    try withTemporaryFolder { folder in
      let changes: [(String, (inout NIfTISample) -> Void)] = [
        ("no axes", { $0.dim[0] = 0 }), ("eight axes", { $0.dim[0] = 8 }), ("negative axes", { $0.dim[0] = -3 }),
        ("zero extent", { $0.dim[2] = 0 }), ("negative extent", { $0.dim[1] = -4 }), ("fifth axis", { $0.dim = [5, 4, 5, 6, 1, 2, 1, 1] }),
        ("one axis", { $0.dim = [1, 120, 1, 1, 1, 1, 1, 1] }), ("huge", { $0.dim = [4, 32767, 32767, 32767, 32767, 1, 1, 1] }),
        ("too large by one", { $0.dim[3] = 7 }),
        ("zero spacing", { $0.pixdim[1] = 0 }), ("nan spacing", { $0.pixdim[2] = .nan }),
        ("infinite spacing", { $0.pixdim[3] = .infinity }),
        ("type 0", { $0.datatype = 0 }), ("complex", { $0.datatype = 32 }), ("rgb", { $0.datatype = 128 }),
        ("rgba", { $0.datatype = 2304 }),
        ("float128", { $0.datatype = 1536 }), ("bits", { $0.datatype = 1 }), ("negative type", { $0.datatype = -4 }),
        ("offset inside", { $0.offset = 12 }), ("negative offset", { $0.offset = -1 }), ("far offset", { $0.offset = 1e15 }),
        ("nan offset", { $0.offset = .nan }), ("no matrix", { $0.srow = [Double](repeating: 0, count: 12) }),
        ("nan matrix", { $0.srow[5] = .nan }), ("flat matrix", { $0.srow[8...10] = $0.srow[0...2] }),
        ("nan origin", { $0.srow[3] = .nan }), ("nan quaternion", { ($0.sform, $0.qform, $0.quaternion) = (0, 1, [.nan, 0, 0]) }),
        ("a pair alone", { $0.isPair = true }),
      ]
      for (name, change) in changes {
        for version in [1, 2] {
          var sample = NIfTISample(version: version)
          let voxels = sample.voxels
          change(&sample)
          for gzip in [false, true] {
            let kind = try attempt(sample.header + voxels, folder + "/a.nii" + (gzip ? ".gz" : ""), gzip: gzip)
            #expect(kind == .format || kind == .unsupported, "\(name), version \(version), gzip \(gzip): \(String(describing: kind))")
          }
        }
      }
    }
  }

  @Test func announcedTerabytesAreNotAllocated() throws {
    try withTemporaryFolder { folder in
      var sample = NIfTISample(version: 2)
      let voxels = sample.voxels
      for dim in [[3, 1 << 30, 1 << 30, 2, 1, 1, 1, 1], [3, 1 << 31, 1 << 31, 1 << 31, 1, 1, 1, 1], [3, Int.max, 2, 2, 1, 1, 1, 1]] {
        sample.dim = dim
        for gzip in [false, true] {
          let tight = MemoryBudget()
          let path = folder + (gzip ? "/a.nii.gz" : "/a.nii")
          if gzip { try gzipped(sample.header + voxels, at: path) } else { try AtomicFile.write(sample.header + voxels, to: path) }
          #expect(throws: MedDINOError.self) { try NIfTI.read(path, in: tight) }
          #expect(tight.peakBytes == 0)
        }
      }
    }
  }

  @Test func truncationsAreErrors() throws {
    try withTemporaryFolder { folder in
      let plain = NIfTISample().file
      for length in stride(from: 0, to: plain.count, by: 97) {
        #expect(try attempt(Array(plain[..<length]), folder + "/a.nii") == .format)
        #expect(try attempt(Array(plain[..<length]), folder + "/b.nii.gz", gzip: true) == .format)
      }
      try gzipped(plain, at: folder + "/c.nii.gz")
      let packed = try InputFile.contents(folder + "/c.nii.gz")
      for length in stride(from: 0, to: packed.count, by: 20) {
        #expect(try attempt(Array(packed[..<length]), folder + "/d.nii.gz") == .format)
      }
    }
  }

  @Test func wrongCheckSumIsAnError() throws {
    try withTemporaryFolder { folder in
      try gzipped(NIfTISample().file, at: folder + "/a.nii.gz")
      var packed = try InputFile.contents(folder + "/a.nii.gz")
      packed[packed.count - 8] ^= 1
      #expect(try attempt(packed, folder + "/a.nii.gz") == .format)
    }
  }

  @Test func flippedBytesNeverTrap() throws {
    try withTemporaryFolder { folder in
      var random = SeededGenerator(11)
      for version in [1, 2] {
        let sample = NIfTISample(version: version, isBigEndian: version == 2)
        let plain = sample.file
        try gzipped(plain, at: folder + "/a.nii.gz")
        let packed = try InputFile.contents(folder + "/a.nii.gz")
        for _ in 0..<400 {
          var bytes = plain
          for _ in 0..<Int.random(in: 1...3, using: &random) {
            bytes[Int.random(in: 0..<sample.header.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
          }
          _ = try attempt(bytes, folder + "/b.nii")
          bytes = packed
          bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
          _ = try attempt(bytes, folder + "/c.nii.gz")
        }
      }
    }
  }

  @Test func otherFilesAndMissingOnes() throws {
    try withTemporaryFolder { folder in
      #expect(try attempt([], folder + "/a.nii") == .format)
      #expect(try attempt([UInt8](repeating: 0x41, count: 4000), folder + "/a.nii") == .format)
      #expect(throws: MedDINOError.self) { try NIfTI.read(folder + "/missing.nii", in: budget) }
      #expect(throws: MedDINOError.self) { try NIfTI.read(folder, in: budget) }
      #expect(throws: MedDINOError.self) { try NIfTI.read("", in: budget) }
      try AtomicFile.write(NIfTISample(isPair: true).header, to: folder + "/b.hdr")
      #expect(throws: MedDINOError.self) { try NIfTI.read(folder + "/b.hdr", in: budget) }
      var analyze = NIfTISample().header
      for index in 344..<348 { analyze[index] = 0 }
      #expect(try attempt(analyze, folder + "/c.nii") == .unsupported)
    }
  }
}
