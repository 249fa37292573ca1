import Imaging
import Platform
import Tensors
import TestSupport
import Testing

@Suite struct NIfTITests {
  private let budget = MemoryBudget()

  @Test func readsEveryContainerAndByteOrder() throws {
    try withTemporaryFolder { folder in
      for version in [1, 2] {
        for isBigEndian in [false, true] {
          var sample = NIfTISample(version: version, isBigEndian: isBigEndian)
          try AtomicFile.write(sample.file, to: folder + "/a.nii")
          try gzipped(sample.file, at: folder + "/a.nii.gz")
          sample.isPair = true
          try AtomicFile.write(sample.header, to: folder + "/b.hdr")
          try AtomicFile.write(sample.voxels, to: folder + "/b.img")
          try gzipped(sample.header, at: folder + "/c.hdr.gz")
          try gzipped(sample.voxels, at: folder + "/c.img.gz")
          for name in ["a.nii", "a.nii.gz", "b.hdr", "b.img", "c.hdr.gz", "c.img.gz"] {
            let volume = try NIfTI.read(folder + "/" + name, in: budget)
            #expect(volume.dtype == .int16 && volume.geometry.dims == [4, 5, 6])
            #expect(values(volume) == (0..<120).map(Double.init))
            #expect(volume.geometry.origin == [-10, -20, 30])
            #expect(volume.geometry.direction == [1, 0, 0, 0, 1, 0, 0, 0, 1])
            #expect(volume.geometry.spacing == [0.5, 0.75, 2])
          }
        }
      }
    }
    #expect(budget.bytesInUse == 0)
  }

  @Test func severalGzipMembersReadAsOne() throws {
    try withTemporaryFolder { folder in
      let bytes = NIfTISample().file
      try gzipped(Array(bytes[..<400]), at: folder + "/1.gz")
      try gzipped(Array(bytes[400...]), at: folder + "/2.gz")
      let joined = try InputFile.contents(folder + "/1.gz") + InputFile.contents(folder + "/2.gz") + [0, 0, 0]
      try AtomicFile.write(joined, to: folder + "/a.nii.gz")
      #expect(values(try NIfTI.read(folder + "/a.nii.gz", in: budget)) == (0..<120).map(Double.init))
    }
  }

  @Test(arguments: DType.allCases) func everyTypeSurvives(dtype: DType) throws {
    try withTemporaryFolder { folder in
      let geometry = Geometry(dims: [3, 4, 5], spacing: [0.5, 1.5, 2], origin: [1, -2, 3])
      let volume = try makeVolume(dtype, geometry) { Double($0 % 2) * 100 }
      for path in [folder + "/a.nii", folder + "/a.nii.gz"] {
        try NIfTI.write(volume, to: path)
        let again = try NIfTI.read(path, in: budget)
        let expected: [DType: DType] = [.bool: .uint8, .float16: .float32, .bfloat16: .float32]
        #expect(again.dtype == expected[dtype] ?? dtype)
        #expect(values(again) == values(volume))
        #expect(again.geometry == geometry)
      }
    }
  }

  @Test func allOrientationsRoundTrip() throws {
    try withTemporaryFolder { folder in
      for orientation in AxisOrientation.all {
        let plain = try makeVolume(
          .int16, Geometry(dims: [4, 3, 2], spacing: [1, 2, 4], origin: [8, -16, 32]), { Double($0) })
        let view = plain.rearranged(AxisOrientation.lps.steps(to: orientation))
        #expect(try view.geometry.orientation() == orientation)
        let path = folder + "/\(orientation.name).nii.gz"
        try NIfTI.write(view, to: path)
        let again = try NIfTI.read(path, in: budget)
        #expect(values(again) == values(view))
        #expect(again.geometry == view.geometry)
        #expect(values(try again.reoriented(to: .lps)) == values(plain))
        #expect(try again.reoriented(to: .lps).geometry == plain.geometry)
        let image = try NIfTI.readImage(path, reader: .nibabelReorient, in: budget)
        #expect(image.fileOrientation == orientation)
        #expect(try image.volume.geometry.orientation() == .ras)
        #expect(values(image.inFileOrder(image.volume)) == values(view))
        #expect(image.inFileOrder(image.volume).geometry == view.geometry)
      }
    }
  }

  @Test func formsAreChosenByReader() throws {
    try withTemporaryFolder { folder in
      func origin(_ change: (inout NIfTISample) -> Void, _ reader: VolumeFile.Reader) throws -> [Double] {
        var sample = NIfTISample()
        sample.qoffset = [1, 2, 3]
        change(&sample)
        try AtomicFile.write(sample.file, to: folder + "/a.nii")
        return try NIfTI.read(folder + "/a.nii", reader: reader, in: budget).geometry.origin
      }
      let (s, q) = ([-10.0, -20, 30], [-1.0, -2, 3])
      expectEqual(try origin({ $0.qform = 1 }, .simpleITK), s)
      expectEqual(try origin({ ($0.qform, $0.sform) = (1, 2) }, .simpleITK), q)
      expectEqual(try origin({ ($0.qform, $0.sform) = (1, 2) }, .nibabel), s)
      expectEqual(try origin({ ($0.qform, $0.sform) = (0, 2) }, .simpleITK), s)
      expectEqual(try origin({ ($0.qform, $0.sform) = (1, 0) }, .nibabel), q)
      expectEqual(try origin({ $0.sform = 0 }, .simpleITK), [0, 0, 0])
      expectEqual(try origin({ $0.sform = 0 }, .nibabel), [-0.75, 1.5, -5])
      expectEqual(try origin({ ($0.qform, $0.srow[1]) = (1, 0.3) }, .simpleITK), q)  // sheared
      #expect(throws: MedDINOError.self) { try origin({ $0.srow[1] = 0.3 }, .simpleITK) }
      expectEqual(try origin({ $0.srow[1] = 0.3 }, .nibabel), s)
      expectEqual(try origin({ $0.units = 3 }, .simpleITK), s.map { $0 * 0.001 })
      expectEqual(try origin({ $0.units = 3 }, .nibabel), s)
    }
  }

  @Test func scalingIsKeptBesideTheStoredValues() throws {
    try withTemporaryFolder { folder in
      func read(_ slope: Double, _ intercept: Double, _ reader: VolumeFile.Reader) throws -> [Double] {
        try AtomicFile.write(NIfTISample(slope: slope, intercept: intercept).file, to: folder + "/a.nii")
        let volume = try NIfTI.read(folder + "/a.nii", reader: reader, in: budget)
        #expect(volume.dtype == .int16)
        return [volume.slope, volume.intercept]
      }
      expectEqual(try read(2.5, -1024, .simpleITK), [2.5, -1024])
      expectEqual(try read(0, 5, .simpleITK), [1, 5])
      expectEqual(try read(.nan, 5, .simpleITK), [1, 5])
      expectEqual(try read(0, 5, .nibabel), [1, 0])
      expectEqual(try read(2, .nan, .simpleITK), [2, 0])
      #expect(throws: MedDINOError.self) { try read(2, .nan, .nibabel) }
    }
  }

  @Test func planesAndChannels() throws {
    try withTemporaryFolder { folder in
      var sample = NIfTISample(dim: [2, 4, 5, 1, 1, 1, 1, 1])
      try AtomicFile.write(sample.file, to: folder + "/a.nii")
      let plane = try NIfTI.read(folder + "/a.nii", in: budget)
      #expect(plane.isPlane && plane.geometry.dims == [4, 5, 1] && plane.geometry.spacing == [0.5, 0.75, 999 * 0.75])
      try NIfTI.write(plane, to: folder + "/b.nii")
      #expect(try InputFile.contents(folder + "/b.nii")[40] == 2)
      sample.dim = [4, 4, 5, 2, 3, 1, 1, 1]
      try AtomicFile.write(sample.file, to: folder + "/a.nii")
      let stack = try NIfTI.read(folder + "/a.nii", in: budget)
      #expect(stack.channels == 3 && stack.value(0, 0, 0, channel: 2) == 80)
      try NIfTI.write(stack, to: folder + "/b.nii.gz")
      #expect(values(try NIfTI.read(folder + "/b.nii.gz", in: budget)) == values(stack))
      sample.dim = [5, 4, 5, 6, 1, 1, 1, 1]
      try AtomicFile.write(sample.file, to: folder + "/a.nii")
      #expect(try NIfTI.read(folder + "/a.nii", in: budget).channels == 1)
    }
  }

  @Test func longAxesBecomeSecondVersion() throws {
    try withTemporaryFolder { folder in
      let volume = try makeVolume(.uint8, Geometry(dims: [40000, 2, 1])) { Double($0 % 251) }
      try NIfTI.write(volume, to: folder + "/a.nii.gz")
      let again = try NIfTI.read(folder + "/a.nii.gz", in: budget)
      #expect(again.geometry == volume.geometry && values(again) == values(volume))
    }
  }

  @Test func equalVolumesGiveEqualFilesAndFailuresLeaveNone() throws {
    try withTemporaryFolder { folder in
      let volume = try makeVolume(.int16, Geometry(dims: [9, 8, 7])) { Double($0) }
      try NIfTI.write(volume, to: folder + "/a.nii.gz")
      try NIfTI.write(volume, to: folder + "/b.nii.gz")
      #expect(try InputFile.contents(folder + "/a.nii.gz") == InputFile.contents(folder + "/b.nii.gz"))
      let stop = Cancellation()
      stop.request()
      #expect(throws: MedDINOError.cancelled) {
        try NIfTI.write(volume, to: folder + "/c.nii.gz", control: RunControl(cancellation: stop))
      }
      #expect(throws: MedDINOError.cancelled) {
        try NIfTI.read(folder + "/a.nii.gz", in: budget, control: RunControl(cancellation: stop))
      }
      #expect(throws: MedDINOError.self) { try NIfTI.write(volume, to: folder + "/c.mha") }
      #expect(try folderEntries(folder) == ["a.nii.gz", "b.nii.gz"])
    }
  }
}
