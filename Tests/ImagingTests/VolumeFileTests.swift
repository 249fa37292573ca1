import Imaging
import Platform
import Tensors
import TestSupport
import Testing

/// All formats beside each other: what one writes, all read back alike.
@Suite struct VolumeFileTests {
  private let budget = MemoryBudget()
  private let tilted = [0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1]

  private func written(_ volume: Volume, _ path: String) throws -> Volume {
    try VolumeFile.write(volume, to: path)
    return try VolumeFile.read(path, in: budget)
  }

  @Test(arguments: DType.allCases) func everyTypeSurvives(dtype: DType) throws {
    try withTemporaryFolder { folder in
      let geometry = Geometry(dims: [3, 4, 5], spacing: [0.5, 1.5, 0.1], origin: [1, -2, 1.0 / 3])
      let volume = try makeVolume(dtype, geometry) { Double($0 % 2) * 100 }
      let expected: [DType: DType] = [.bool: .uint8, .float16: .float32, .bfloat16: .float32]
      for ending in VolumeFile.endings where !ending.hasPrefix(".nii") {
        let again = try written(volume, folder + "/a" + ending)
        #expect(again.dtype == expected[dtype] ?? dtype)
        #expect(values(again) == values(volume))
        #expect(again.geometry == geometry, "\(ending)")
      }
    }
  }

  @Test func allOrientationsRoundTrip() throws {
    try withTemporaryFolder { folder in
      for orientation in AxisOrientation.all {
        let plain = try makeVolume(.int16, Geometry(dims: [4, 3, 2], spacing: [1, 2, 4], origin: [8, -16, 32]), { Double($0) })
        let view = plain.rearranged(AxisOrientation.lps.steps(to: orientation))
        for ending in [".nrrd", ".mha", ".nii"] {
          let again = try written(view, folder + "/\(orientation.name)\(ending)")
          #expect(values(again) == values(view) && again.geometry == view.geometry)
        }
      }
    }
  }

  @Test func tiltedGridsAndReaders() throws {
    try withTemporaryFolder { folder in
      let geometry = Geometry(dims: [4, 3, 2], spacing: [0.75, 0.5, 2.5], origin: [8.125, -16, 32], direction: tilted)
      let volume = try makeVolume(.int16, geometry) { Double($0) }
      for ending in VolumeFile.endings { try VolumeFile.write(volume, to: folder + "/a" + ending) }
      for reader in VolumeFile.Reader.allCases {
        let want = try VolumeFile.readImage(folder + "/a.nii.gz", reader: reader, in: budget)
        for ending in VolumeFile.endings {
          let got = try VolumeFile.readImage(folder + "/a" + ending, reader: reader, in: budget)
          #expect(values(got.volume) == values(want.volume))
          #expect(got.fileOrientation == want.fileOrientation && got.isReordered == want.isReordered)
          #expect(got.volume.isReoriented == want.volume.isReoriented)
          #expect(zip(got.affine, want.affine).allSatisfy { abs($0 - $1) < 1e-6 })
          for (a, b) in [(got.volume.geometry, want.volume.geometry)] {
            #expect(zip(a.spacing + a.origin + a.direction, b.spacing + b.origin + b.direction).allSatisfy { abs($0 - $1) < 1e-6 })
          }
          let back = got.inFileOrder(got.volume)
          #expect(values(back) == values(volume))
        }
      }
      let exact = try VolumeFile.read(folder + "/a.mha", in: budget)
      #expect(exact.geometry == geometry)
    }
  }

  @Test func channelsInAnyMemoryOrder() throws {
    try withTemporaryFolder { folder in
      let geometry = Geometry(dims: [4, 3, 2], spacing: [1, 2, 3])
      let planar = try makeVolume(.float32, geometry, channels: 3) { Double($0) * 0.5 }
      for ending in VolumeFile.endings {
        let again = try written(planar, folder + "/a" + ending)
        #expect(again.channels == 3 && values(again) == values(planar) && again.geometry == geometry)
        // once more from the strides that the file gave
        for other in [".nrrd", ".mhd", ".nii"] { #expect(values(try written(again, folder + "/b" + other)) == values(planar)) }
        let turned = planar.rearranged([(2, true), (0, false), (1, true)])
        #expect(values(try written(turned, folder + "/c" + ending)) == values(turned))
      }
    }
  }

  @Test func scaledValuesAreWrittenAsTheyAre() throws {
    try withTemporaryFolder { folder in
      for (dtype, stored) in [
        (DType.int16, DType.float32), (.uint8, .float32), (.float16, .float32), (.int32, .float64), (.float64, .float64),
      ] {
        var volume = try makeVolume(dtype, Geometry(dims: [4, 3, 2])) { Double($0) }
        (volume.slope, volume.intercept) = (0.25, -1024)
        for ending in [".nrrd", ".mha"] {
          let again = try written(volume, folder + "/a" + ending)
          #expect(again.dtype == stored && again.slope == 1 && again.intercept == 0 && values(again) == values(volume))
        }
      }
    }
  }

  @Test func planesStayPlanes() throws {
    try withTemporaryFolder { folder in
      let geometry = Geometry(dims: [4, 3, 1], spacing: [0.5, 2, 1998], origin: [5, 6, 0], direction: [0, 1, 0, 1, 0, 0, 0, 0, 1])
      var plane = try makeVolume(.uint8, geometry) { Double($0) }
      plane.isPlane = true
      for ending in [".nrrd", ".nhdr", ".mha", ".mhd"] {
        let again = try written(plane, folder + "/a" + ending)
        #expect(again.isPlane && again.geometry == geometry && values(again) == values(plane))
        // tilted out of x and y, it cannot be two axes
        var leaning = plane
        leaning.geometry.direction = [1, 0, 0, 0, 0.8, -0.6, 0, 0.6, 0.8]
        let three = try written(leaning, folder + "/b" + ending)
        #expect(!three.isPlane && three.geometry.spacing[2] == 1 && values(three) == values(plane))
      }
    }
  }

  @Test func contentDecidesWhatIsRead() throws {
    try withTemporaryFolder { folder in
      let volume = try makeVolume(.int16, Geometry(dims: [4, 3, 2])) { Double($0) }
      for ending in VolumeFile.singleFileEndings {
        try VolumeFile.write(volume, to: folder + "/a" + ending)
        for other in [".nii.gz", ".nii", ".nrrd", ".mha", ".dat", ""] {
          try AtomicFile.copy(folder + "/a" + ending, to: folder + "/b" + other)
          #expect(values(try VolumeFile.read(folder + "/b" + other, in: budget)) == values(volume))
        }
      }
    }
  }

  @Test func writersAreWholeAndEqual() throws {
    try withTemporaryFolder { folder in
      let volume = try makeVolume(.int16, Geometry(dims: [40, 30, 20])) { Double($0 % 999) }
      for ending in VolumeFile.endings {
        let (a, b) = (folder + "/a" + ending, folder + "/a.b" + ending.uppercased())
        try VolumeFile.write(volume, to: a)
        try VolumeFile.write(volume, to: b)
        #expect(values(try VolumeFile.read(b, in: budget)) == values(volume))
        let before = try InputFile.contents(a)
        if ending != ".nhdr", ending != ".mhd" { #expect(try before == InputFile.contents(b)) }
        let cancel = RunControl { _, _ in false }
        #expect(throws: MedDINOError.cancelled) { try VolumeFile.write(volume, to: a, control: cancel) }
        #expect(try InputFile.contents(a) == before)
      }
      #expect(try folderEntries(folder).allSatisfy { !$0.contains("tmp") })
      for name in ["a.png", "nii", "a.nrrd.gz", ".mha", ""] {
        #expect(throws: MedDINOError.self, "\(name)") { try VolumeFile.write(volume, to: folder + "/" + name) }
      }
      for name in ["a%d.nhdr", "LIST.mhd", "a\nb.nhdr"] {
        let error = #expect(throws: MedDINOError.self, "\(name)") { try VolumeFile.write(volume, to: folder + "/" + name) }
        #expect(error?.kind == .invalid)
      }
    }
  }

  @Test func namesAndEndings() throws {
    #expect(VolumeFile.stem("a.b.nii.gz") == "a.b" && VolumeFile.stem("A.NRRD") == "A" && VolumeFile.stem("x/y.mhd") == "x/y")
    #expect(
      VolumeFile.stem("a.gz") == nil && VolumeFile.stem(".nrrd") == nil && VolumeFile.stem("x/.mha") == nil
        && VolumeFile.stem("nrrd") == nil)
    #expect(VolumeFile.endingsInWords == ".nii.gz, .nii, .nrrd, .nhdr, .mha or .mhd")
    try withTemporaryFolder { folder in
      #expect(try VolumeFile.commonEnding(in: folder) == nil)
      for name in ["a.nrrd", "b.nrrd", "b.raw", ".c.mha"] { try AtomicFile.write([], to: folder + "/" + name) }
      #expect(try VolumeFile.commonEnding(in: folder) == ".nrrd")
      try AtomicFile.write([], to: folder + "/c.mha")
      let error = #expect(throws: MedDINOError.self) { try VolumeFile.commonEnding(in: folder) }
      #expect(error?.message.contains(".mha and .nrrd") == true)
    }
  }

  /// Bytes of a header as other programs expect them.
  @Test func headersOfWrittenFiles() throws {
    try withTemporaryFolder { folder in
      let volume = try makeVolume(.uint8, Geometry(dims: [4, 3, 2], spacing: [0.1, 2, 3], origin: [0, -1.5, 1e-7]), channels: 2) {
        Double($0)
      }
      for (ending, lines) in [
        (
          ".nhdr",
          [
            "NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior", "sizes: 2 4 3 2",
            "space directions: none (0.1,0,0) (0,2,0) (0,0,3)", "kinds: vector domain domain domain", "encoding: gzip",
            "space origin: (0,-1.5,1e-07)", "data file: a.raw.gz",
          ]
        ),
        (
          ".mhd",
          [
            "ObjectType = Image", "NDims = 3", "CompressedData = True", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 -1.5 1e-07",
            "AnatomicalOrientation = RAI", "ElementSpacing = 0.1 2 3", "DimSize = 4 3 2", "ElementNumberOfChannels = 2",
            "ElementType = MET_UCHAR", "ElementDataFile = a.zraw",
          ]
        ),
      ] {
        try VolumeFile.write(volume, to: folder + "/a" + ending)
        let text = String(decoding: try InputFile.contents(folder + "/a" + ending), as: UTF8.self)
        let found = text.split(separator: "\n").map(String.init)
        for line in lines { #expect(found.contains(line), "\(line) in \(found)") }
      }
    }
  }

  @Test(.enabled(if: sharedData != nil, "no real CT beside the checkout")) func realFiles() throws {
    let data = try #require(sharedData)
    let chest = try VolumeFile.read(data + "/cip-lung64-nrrd/ct-64.nrrd", in: budget)
    #expect(chest.geometry.dims == [64, 64, 79] && chest.dtype == .int16)
    #expect(chest.geometry.spacing == [4.1718719999999996, 4.1718719999999996, 3.9873417721518987])
    #expect(chest.geometry.origin == [-128.41380599999999, -264.41380599999997, -360.25632911392404])
    let lung = try VolumeFile.read(data + "/elastix-lung-baseline/3DCT_lung_baseline.mha", in: budget)
    #expect(lung.geometry == Geometry(dims: [115, 157, 129], spacing: [1.366, 1.366, 2.5], origin: [-153.827, -150.352, -1434.5]))
    #expect(values(lung).min() == -2048 && values(lung).max() == 1435)
    let mask = try VolumeFile.read(data + "/elastix-lung-baseline/3DCT_lung_baseline_mask.mha", in: budget)
    #expect(values(mask).filter { $0 != 0 }.count == 721_043)
  }
}
