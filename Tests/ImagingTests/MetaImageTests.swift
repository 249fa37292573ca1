import Imaging
import Platform
import Tensors
import TestSupport
import Testing

@Suite struct MetaImageTests {
  private let sample = TextHeaderSample.metaImage

  @Test func rowsOfTheMatrixAreAxes() throws {
    let volume = try readVolume(sample.with("TransformMatrix", "0 1 0 0 0 -1 1 0 0"))
    #expect(volume.geometry.direction == [0, 0, 1, 1, 0, 0, 0, -1, 0])
    #expect(try readVolume(sample.with("ElementSpacing", "0.5 -0.75 2")).geometry.direction == [1, 0, 0, 0, -1, 0, 0, 0, 1])
    #expect(try readVolume(sample.with("ElementSpacing", "0.5 -0.75 2")).geometry.spacing == [0.5, 0.75, 2])
  }

  @Test func whatIsMissingHasItsUsualValue() throws {
    let least = TextHeaderSample(
      lines: ["NDims = 3", "DimSize = 4 3 2", "ElementType = MET_SHORT", "ElementDataFile = LOCAL"], ending: ".mha")
    #expect(try readVolume(least).geometry == Geometry(dims: [4, 3, 2]))
    #expect(try readVolume(least.with("ElementSize", "2 3 4")).geometry.spacing == [2, 3, 4])
    #expect(try readVolume(least.with(["ElementSize": "2 3 4", "ElementSpacing": "5 6 7"])).geometry.spacing == [5, 6, 7])
    var first = least
    first.lines.insert("Comment = made by hand: no = yes", at: 0)
    #expect(values(try readVolume(first)) == countingVoxels)
  }

  @Test func otherNamesOfFields() throws {
    for name in ["Position", "Origin"] {
      #expect(try readVolume(sample.with(["Offset": nil, name: "1 2 3"])).geometry.origin == [1, 2, 3])
      #expect(try readVolume(sample.with(name, "-10 -20  30")).geometry.origin == [-10, -20, 30])
      try withTemporaryFolder { expectFailure(.format, sample.with(name, "1 2 3"), in: $0, naming: "Offset is there twice") }
    }
    for name in ["Orientation", "Rotation"] {
      let volume = try readVolume(sample.with(["TransformMatrix": nil, name: "0 1 0 1 0 0 0 0 1"]))
      #expect(volume.geometry.direction == [0, 1, 0, 1, 0, 0, 0, 0, 1])
    }
    for name in ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"] {
      var big = sample.with("BinaryDataByteOrderMSB", nil).with(name, "True")
      big.voxels = TextHeaderSample.int16(0..<24, isBig: true)
      #expect(values(try readVolume(big)) == countingVoxels)
    }
  }

  @Test func layoutOfLines() throws {
    for separator in ["=", ": ", " :", " =  "] {
      var other = sample
      other.lines = other.lines.map { line in
        let parts = line.split(separator: "=").map { String($0.drop { $0 == " " }) }
        return String(parts[0].dropLast()) + separator + parts[1]
      }
      #expect(values(try readVolume(other)) == countingVoxels)
    }
    var windows = sample
    windows.lines = windows.lines.map { $0 + "\r" }
    #expect(values(try readVolume(windows)) == countingVoxels)
  }

  @Test func encodings() throws {
    try withTemporaryFolder { folder in
      let packed = try compressed(sample.voxels, .zlib, at: folder + "/z")
      let gzip = try compressed(sample.voxels, .gzip, at: folder + "/g")
      for bytes in [packed, gzip] {
        for size in [nil, String(bytes.count), String(bytes.count) + "     "] {
          var header = sample.with(["CompressedData": "True", "CompressedDataSize": size])
          header.voxels = bytes
          #expect(values(try readVolume(header, in: folder)) == countingVoxels)
          if size != nil {
            header.voxels += [1, 2, 3]
            #expect(values(try readVolume(header, in: folder)) == countingVoxels)
          }
        }
      }
      var wrong = sample.with(["CompressedData": "True", "CompressedDataSize": String(packed.count + 1)])
      wrong.voxels = packed
      expectFailure(.format, wrong, in: folder, naming: "truncated")
      wrong = wrong.with("CompressedDataSize", String(packed.count - 1))
      expectFailure(.format, wrong, in: folder, naming: "truncated")
      expectFailure(.format, wrong.with("CompressedDataSize", "-4"), in: folder, naming: "CompressedDataSize")
      var text = sample.with("BinaryData", "False")
      text.voxels = Array((0..<24).map(String.init).joined(separator: " ").utf8)
      #expect(values(try readVolume(text, in: folder)) == countingVoxels)
    }
  }

  @Test func everyType() throws {
    try withTemporaryFolder { folder in
      let types: [(String, DType)] = [
        ("MET_CHAR", .int8), ("MET_UCHAR", .uint8), ("MET_SHORT", .int16), ("MET_USHORT", .uint16), ("MET_INT", .int32),
        ("MET_UINT", .uint32),
        ("MET_LONG", .int32), ("MET_ULONG", .uint32), ("MET_LONG_LONG", .int64), ("MET_ULONG_LONG", .uint64), ("MET_FLOAT", .float32),
        ("MET_DOUBLE", .float64), ("MET_UCHAR_ARRAY", .uint8),
      ]
      for (name, dtype) in types {
        var header = sample.with("ElementType", name)
        let packed = try makeVolume(dtype, Geometry(dims: [4, 3, 2])) { Double($0 * 5) }
        header.voxels = Array(UnsafeRawBufferPointer(start: packed.base, count: 24 * dtype.byteCount))
        let volume = try withExtendedLifetime(packed) { try readVolume(header, in: folder) }
        #expect(volume.dtype == dtype && values(volume) == (0..<24).map { Double($0 * 5) })
      }
    }
  }

  @Test func channelsPlanesAndFourAxes() throws {
    let colour = try readVolume(sample.with(["DimSize": "2 3 2", "ElementNumberOfChannels": "2"]))
    #expect(colour.channels == 2 && colour.geometry.dims == [2, 3, 2])
    let even = (0..<12).map { Double($0 * 2) }
    #expect(values(colour) == even + even.map { $0 + 1 })
    let four = sample.with([
      "NDims": "4", "DimSize": "2 3 2 2", "ElementSpacing": "1 2 3 4", "Offset": "5 6 7 8", "CenterOfRotation": nil,
      "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    ])
    let volume = try readVolume(four)
    #expect(volume.channels == 2 && values(volume) == countingVoxels)
    #expect(volume.geometry == Geometry(dims: [2, 3, 2], spacing: [1, 2, 3], origin: [5, 6, 7]))
    let one = try readVolume(four.with(["DimSize": "4 3 2 1"]))
    #expect(one.channels == 1 && one.isPacked)
    let plane = try readVolume(
      sample.with([
        "NDims": "2", "DimSize": "4 6", "ElementSpacing": "2 3", "Offset": "5 6", "CenterOfRotation": nil, "TransformMatrix": "0 1 1 0",
      ]))
    #expect(plane.isPlane)
    let expected = Geometry(dims: [4, 6, 1], spacing: [2, 3, 2997], origin: [5, 6, 0], direction: [0, 1, 0, 1, 0, 0, 0, 0, 1])
    #expect(plane.geometry == expected)
    try withTemporaryFolder { folder in
      expectFailure(.unsupported, four.with("ElementNumberOfChannels", "2"), in: folder, naming: "channels")
      expectFailure(.unsupported, four.with("TransformMatrix", "1 0 0 .1 0 1 0 0 0 0 1 0 0 0 0 1"), in: folder, naming: "fourth")
    }
  }

  @Test func detachedFiles() throws {
    try withTemporaryFolder { folder in
      try makeFolder(folder + "/parts")
      try AtomicFile.write(sample.voxels, to: folder + "/x.raw")
      try AtomicFile.write([1, 2, 3] + sample.voxels, to: folder + "/skip.raw")
      for index in 0..<2 {
        let slice = Array(sample.voxels[(index * 24)..<(index * 24 + 24)])
        try AtomicFile.write(slice, to: folder + "/parts/s0\(index + 1).raw")
        try AtomicFile.write(slice, to: folder + "/parts/t \(index * 3).raw")
      }
      var header = sample
      header.ending = ".mhd"
      header.voxels = []
      var headers = [
        header.with("ElementDataFile", "x.raw"), header.with(["ElementDataFile": "skip.raw", "HeaderSize": "3"]),
        header.with(["ElementDataFile": "skip.raw", "HeaderSize": "-1"]), header.with("ElementDataFile", "parts/s%02d.raw"),
        header.with("ElementDataFile", "parts/s%02d.raw 1"), header.with("ElementDataFile", "parts/s%02d.raw 1 2 1"),
        header.with("ElementDataFile", "parts/t %d.raw 0 3 3"),
      ]
      for count in ["", " 2D", " 2"] {
        var listing = header.with("ElementDataFile", "LIST" + count)
        listing.lines += ["parts/s01.raw", "", "parts/s02.raw"]
        headers.append(listing)
      }
      for one in headers { #expect(values(try readVolume(one, in: folder)) == countingVoxels, "\(one.lines)") }
      var listing = header.with("ElementDataFile", "LIST")
      listing.lines += ["parts/s01.raw"]
      expectFailure(.format, listing, in: folder, naming: "1 data files")
      for pattern in [
        "s%02d.raw 0 9 1", "s%02d.raw 1 2 0", "s%02d.raw 2 1 1", "s%d.raw 9223372036854775807", "s%d.raw 1 2 3 4", "s%d.raw x",
      ] {
        expectFailure(.format, header.with("ElementDataFile", "parts/" + pattern), in: folder, naming: "sample.mhd")
      }
      expectFailure(.io, header.with("ElementDataFile", "missing.raw"), in: folder, naming: "missing.raw")
      expectFailure(.io, header.with("ElementDataFile", "50%.raw"), in: folder, naming: "50%.raw")
      var local = sample
      local.voxels = [1, 2, 3] + local.voxels
      #expect(values(try readVolume(local.with("HeaderSize", "-1"), in: folder)) == countingVoxels)
      expectFailure(.format, local.with("HeaderSize", "20"), in: folder, naming: "inside the header")
      expectFailure(.format, local.with(["HeaderSize": "-1", "CompressedData": "True"]), in: folder, naming: "HeaderSize")
    }
  }

  @Test func brokenHeadersAreNamed() throws {
    try withTemporaryFolder { folder in
      let cases: [(MedDINOError.Kind, String, TextHeaderSample)] = [
        (.format, "DimSize", sample.with("DimSize", nil)), (.format, "ElementType", sample.with("ElementType", nil)),
        (.format, "NDims", sample.with("NDims", "3.0")), (.format, "NDims", sample.with("NDims", "0")),
        (.format, "NDims", sample.with("NDims", "11")),
        (.unsupported, "1 axes", sample.with("NDims", "1")), (.unsupported, "5 axes", sample.with("NDims", "5")),
        (.format, "DimSize", sample.with("DimSize", "4 3")), (.format, "DimSize", sample.with("DimSize", "4 0 2")),
        (.format, "DimSize", sample.with("DimSize", "4 3 -2")),
        (.format, "DimSize", sample.with("DimSize", "4 3 2147483648")), (.format, "ElementSpacing", sample.with("ElementSpacing", "0 1 1")),
        (.format, "ElementSpacing", sample.with("ElementSpacing", "nan 1 1")),
        (.format, "ElementSpacing", sample.with("ElementSpacing", "1 inf 1")),
        (.format, "ElementSpacing", sample.with("ElementSpacing", "1 1")), (.format, "Offset", sample.with("Offset", "1 2 x")),
        (.format, "origin", sample.with("Offset", "1 2 nan")),
        (.format, "TransformMatrix", sample.with("TransformMatrix", "0 0 0 0 0 0 0 0 0")),
        (.format, "determinant", sample.with("TransformMatrix", "1 0 0 1 0 0 0 0 1")),
        (.format, "TransformMatrix", sample.with("TransformMatrix", "2 0 0 0 1 0 0 0 1")),
        (.format, "TransformMatrix", sample.with("TransformMatrix", "nan 0 0 0 1 0 0 0 1")),
        (.format, "TransformMatrix", sample.with("TransformMatrix", "1 0 0 0 1 0")),
        (.format, "ElementType", sample.with("ElementType", "MET_HALF")),
        (.unsupported, "MET_STRING", sample.with("ElementType", "MET_STRING")),
        (.unsupported, "ObjectType", sample.with("ObjectType", "Tube")),
        (.format, "ElementNumberOfChannels", sample.with("ElementNumberOfChannels", "0")),
        (.format, "HeaderSize", sample.with("HeaderSize", "-2")),
        (.unsupported, "Slope", sample.with("ElementToIntensityFunctionSlope", "2")),
        (.unsupported, "Offset", sample.with("ElementToIntensityFunctionOffset", "-1024")),
        (.unsupported, "DistanceUnits", sample.with("DistanceUnits", "cm")),
      ]
      for (kind, words, header) in cases { expectFailure(kind, header, in: folder, naming: words) }
      let neutral = sample.with(["ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0", "DistanceUnits": "mm"])
      let unscaled = try readVolume(neutral, in: folder)
      #expect(values(unscaled) == countingVoxels)
      var twice = sample
      twice.lines.insert("NDims = 3", at: 3)
      expectFailure(.format, twice, in: folder, naming: "NDims is there twice")
      var noField = sample
      noField.lines.insert("nothing", at: 3)
      expectFailure(.format, noField, in: folder, naming: "nothing")
      var open = sample
      open.lines.removeLast()
      open.voxels = []
      expectFailure(.format, open, in: folder, naming: "ElementDataFile")
    }
  }
}
