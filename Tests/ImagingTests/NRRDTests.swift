import Imaging
import Platform
import Tensors
import TestSupport
import Testing

@Suite struct NRRDTests {
  private let sample = TextHeaderSample.nrrd

  @Test func encodings() throws {
    try withTemporaryFolder { folder in
      var ascii = sample.with(["encoding": "ascii", "endian": nil])
      for separator in [" ", "\n", ", ", "\r\n\t"] {
        ascii.voxels = Array((0..<24).map(String.init).joined(separator: separator).utf8)
        for name in ["ascii", "text", "txt"] { #expect(values(try readVolume(ascii.with("encoding", name), in: folder)) == countingVoxels) }
      }
      var gzip = sample.with("encoding", "gzip")
      gzip.voxels = try compressed(sample.voxels, .gzip, at: folder + "/z")
      #expect(values(try readVolume(gzip, in: folder)) == countingVoxels)
      #expect(values(try readVolume(gzip.with("encoding", "GZ"), in: folder)) == countingVoxels)
      var big = sample.with("endian", "big")
      big.voxels = TextHeaderSample.int16(0..<24, isBig: true)
      #expect(values(try readVolume(big, in: folder)) == countingVoxels)
      for encoding in ["hex", "bzip2", "zrl"] {
        expectFailure(.unsupported, sample.with("encoding", encoding), in: folder, naming: encoding)
      }
    }
  }

  @Test func textOfEveryType() throws {
    try withTemporaryFolder { folder in
      let cases: [(name: String, dtype: DType, text: String, values: [Double])] = [
        ("signed char", .int8, "-128 127", [-128, 127]), ("uint8", .uint8, "0 255", [0, 255]),
        ("int16_t", .int16, "-32768 32767", [-32768, 32767]),
        ("unsigned short int", .uint16, "0 65535", [0, 65535]), ("int", .int32, "-2147483648 2147483647", [-2147483648, 2147483647]),
        ("uint", .uint32, "0 4294967295", [0, 4294967295]), ("long long", .int64, "-9007199254740992 1e3", [-9007199254740992, 1000]),
        ("uint64", .uint64, "0 9007199254740992", [0, 9007199254740992]), ("float", .float32, "0.5 -1.5e2", [0.5, -150]),
        ("double", .float64, "0.1 1e-300", [0.1, 1e-300]),
      ]
      for item in cases {
        var text = sample.with(["type": item.name, "encoding": "ascii", "sizes": "2 1 1"])
        text.voxels = Array(item.text.utf8)
        let volume = try readVolume(text, in: folder)
        #expect(volume.dtype == item.dtype && values(volume) == item.values)
      }
      for (type, text) in [
        ("uint8", "0 256"), ("int8", "-129 0"), ("uint16", "1 -1"), ("int", "0 1.5"), ("int64", "1e30 0"), ("float", "1 abc"),
        ("short", "7"),
      ] {
        var bad = sample.with(["type": type, "encoding": "ascii", "sizes": "2 1 1"])
        bad.voxels = Array(text.utf8)
        expectFailure(.format, bad, in: folder, naming: "sample.nrrd")
      }
    }
  }

  @Test func spaces() throws {
    for (names, signs) in [
      (["left-posterior-superior", "LPS", "scanner-xyz", "3D-right-handed", "3D-left-handed"], [1.0, 1, 1]),
      (["right-anterior-superior", "RAS"], [-1, -1, 1]), (["left-anterior-superior", "las"], [1, -1, 1]),
    ] {
      for name in names {
        let volume = try readVolume(sample.with("space", name))
        #expect(volume.geometry.origin == zip([-10, -20, 30], signs).map { $0 * $1 })
        #expect(volume.geometry.direction == [signs[0], 0, 0, 0, signs[1], 0, 0, 0, signs[2]])
        #expect(volume.geometry.spacing == [0.5, 0.75, 2])
      }
    }
    let dimension = try readVolume(sample.with(["space": nil, "space dimension": "3"]))
    #expect(dimension.geometry.origin == [-10, -20, 30])
  }

  @Test func permutedAndTiltedDirections() throws {
    let turned = try readVolume(sample.with("space directions", "(0,0.5,0) (0,0,-0.75) ( 2 , 0 , 0 )"))
    #expect(turned.geometry.spacing == [0.5, 0.75, 2])
    #expect(turned.geometry.direction == [0, 0, 1, 1, 0, 0, 0, -1, 0])
    let tilted = try readVolume(sample.with("space directions", "(1.2,1.6,0) (-1.6,1.2,0) (0,0,3)"))
    #expect(tilted.geometry.spacing == [2, 2, 3])
    #expect(zip(tilted.geometry.direction, [0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1]).allSatisfy { abs($0 - $1) < 1e-15 })
  }

  @Test func withoutDirections() throws {
    let bare = sample.with(["space": nil, "space directions": nil, "space origin": nil])
    #expect(try readVolume(bare).geometry == Geometry(dims: [4, 3, 2]))
    #expect(try readVolume(bare.with("spacings", "1 2 3")).geometry == Geometry(dims: [4, 3, 2], spacing: [1, 2, 3]))
    let flipped = try readVolume(bare.with("spacings", "-1 2 3"))
    #expect(flipped.geometry.spacing == [1, 2, 3] && flipped.geometry.direction == [-1, 0, 0, 0, 1, 0, 0, 0, 1])
    #expect(try readVolume(bare.with(["spacings": "1 2 3", "axis mins": "5 6 7"])).geometry.origin == [5.5, 7, 8.5])
    let nodes = bare.with(["spacings": "1 2 3", "axis mins": "5 6 7", "centerings": "node cell ???"])
    #expect(try readVolume(nodes).geometry.origin == [5, 7, 8.5])
    #expect(try readVolume(sample.with("space directions", nil)).geometry == Geometry(dims: [4, 3, 2], origin: [-10, -20, 30]))
    #expect(try readVolume(sample.with("space origin", nil)).geometry.origin == [0, 0, 0])
  }

  @Test func channelAxesWhereverTheyAre() throws {
    let base = sample.with("dimension", "4")
    let cases: [(sizes: String, directions: String, kinds: String?, first: [Double])] = [
      ("2 2 3 2", "none (0.5,0,0) (0,0.75,0) (0,0,2)", "list domain domain domain", [0, 2, 4]),
      ("2 2 3 2", "none (0.5,0,0) (0,0.75,0) (0,0,2)", "vector space space space", [0, 2, 4]),
      ("2 2 3 2", "none (0.5,0,0) (0,0.75,0) (0,0,2)", nil, [0, 2, 4]),
      ("2 2 3 2", "(nan,nan,nan) (0.5,0,0) (0,0.75,0) (0,0,2)", "??? domain domain domain", [0, 2, 4]),
      ("2 2 3 2", "(0.5,0,0) none (0,0.75,0) (0,0,2)", "domain list domain domain", [0, 1, 4]),
      ("2 3 2 2", "(0.5,0,0) (0,0.75,0) (0,0,2) none", "domain domain domain list", [0, 1, 2]),
      ("2 3 2 2", "(0.5,0,0) (0,0.75,0) (0,0,2) none", "domain domain domain time", [0, 1, 2]),
    ]
    for item in cases {
      let volume = try readVolume(base.with(["sizes": item.sizes, "space directions": item.directions, "kinds": item.kinds]))
      #expect(volume.channels == 2 && volume.geometry.dims == [2, 3, 2] && volume.geometry.spacing == [0.5, 0.75, 2])
      #expect(Array(values(volume).prefix(3)) == item.first, "\(item)")
      #expect(values(volume).sorted() == countingVoxels)
    }
    let time = base.with([
      "space": "left-posterior-superior-time", "sizes": "2 3 2 2", "space directions": "(0.5,0,0,0) (0,0.75,0,0) (0,0,2,0) (0,0,0,7)",
      "kinds": nil, "space origin": "(1,2,3,4)",
    ])
    let volume = try readVolume(time)
    #expect(volume.channels == 2 && values(volume) == countingVoxels && volume.geometry.origin == [1, 2, 3])
    let bare = sample.with(["dimension": "4", "sizes": "2 3 2 2", "space": nil, "space directions": nil, "space origin": nil, "kinds": nil])
    #expect(try readVolume(bare).channels == 2)
  }

  @Test func planes() throws {
    let plane = sample.with([
      "dimension": "2", "sizes": "4 6", "space": nil, "space dimension": "2", "space directions": "(0,2) (3,0)", "space origin": "(5,6)",
      "kinds": "domain domain",
    ])
    let volume = try readVolume(plane)
    #expect(volume.isPlane && values(volume) == countingVoxels)
    let expected = Geometry(dims: [4, 6, 1], spacing: [2, 3, 2997], origin: [5, 6, 0], direction: [0, 1, 0, 1, 0, 0, 0, 0, 1])
    #expect(volume.geometry == expected)
    let coloured = plane.with(["dimension": "3", "sizes": "3 4 2", "space directions": "none (2,0) (0,3)", "kinds": "vector domain domain"])
    let several = try readVolume(coloured)
    #expect(several.isPlane && several.channels == 3 && several.geometry.dims == [4, 2, 1])
  }

  @Test func detachedFiles() throws {
    try withTemporaryFolder { folder in
      try makeFolder(folder + "/parts")
      try AtomicFile.write(sample.voxels, to: folder + "/x.raw")
      try AtomicFile.write(Array("one\ntwo\n".utf8) + [1, 2, 3] + sample.voxels, to: folder + "/skip.raw")
      for index in 0..<6 {
        try AtomicFile.write(Array(sample.voxels[(index * 8)..<(index * 8 + 8)]), to: folder + "/parts/row\(index * 2).raw")
        try AtomicFile.write(Array(sample.voxels[(index * 8)..<(index * 8 + 8)]), to: folder + "/parts/s 0\(index).raw")
      }
      for index in 0..<2 {
        _ = try compressed(Array(sample.voxels[(index * 24)..<(index * 24 + 24)]), .gzip, at: folder + "/slice0\(index + 1).gz")
      }
      var header = sample
      header.ending = ".nhdr"
      header.voxels = []
      header.lines.removeLast()
      let list = (0..<6).map { "parts/row\($0 * 2).raw" }
      var headers = [
        header.with("data file", "x.raw"), header.with("datafile", "./x.raw"),
        header.with(["data file": "skip.raw", "line skip": "2", "byte skip": "3"]),
        header.with(["data file": "skip.raw", "byte skip": "-1"]), header.with("data file", "parts/row%d.raw 0 10 2 1"),
        header.with("data file", "parts/s %02d.raw 0 5 1 1"),
        header.with(["data file": "slice%02d.gz 1 2 1", "encoding": "gzip"]),
        header.with(["data file": "slice%02d.gz 1 2 1 3", "encoding": "gzip"]),
      ]
      var listing = header
      listing.lines += ["data file: LIST 1"] + list
      headers.append(listing)
      for one in headers { #expect(values(try readVolume(one, in: folder)) == countingVoxels, "\(one.lines)") }
      listing.lines.removeLast()
      expectFailure(.format, listing, in: folder, naming: "5 data files")
      expectFailure(.format, header.with("data file", "parts/row%d.raw 0 8 2 1"), in: folder, naming: "5 data files")
      expectFailure(.format, header.with("data file", "x%d.raw 0 2147483646 1"), in: folder, naming: "data files")
      expectFailure(.io, header.with("data file", "missing.raw"), in: folder, naming: "missing.raw")
      expectFailure(.format, header, in: folder, naming: "sample.nhdr")
    }
  }

  @Test func linesAsProgramsWriteThem() throws {
    var windows = sample
    windows.lines = windows.lines.map { $0 + "\r" }
    #expect(values(try readVolume(windows)) == countingVoxels)
    var free = sample
    free.lines.insert(
      contentsOf: [
        "# a comment: with a colon", "key:=value: x", "Segment0_Name:=liver", "CONTENT: a := b", "space units: \"mm\" \"mm\" \"mm\"",
      ], at: 1)
    #expect(values(try readVolume(free)) == countingVoxels)
    var cases = sample
    cases.lines[1] = "TYPE: Short"
    #expect(values(try readVolume(cases)) == countingVoxels)
  }

  @Test func brokenHeadersAreNamed() throws {
    try withTemporaryFolder { folder in
      let cases: [(MedDINOError.Kind, String, TextHeaderSample)] = [
        (.format, "type", sample.with("type", nil)), (.format, "unknown type", sample.with("type", "long")),
        (.unsupported, "blocks", sample.with("type", "block")),
        (.format, "dimension", sample.with("dimension", "x")), (.format, "dimension", sample.with("dimension", "99999999999999999999")),
        (.unsupported, "1 axes", sample.with(["dimension": "1", "sizes": "24"])), (.format, "dimension", sample.with("dimension", "-3")),
        (.unsupported, "5 axes", sample.with(["dimension": "5", "sizes": "2 2 2 2 2"])), (.format, "sizes", sample.with("sizes", "4 3")),
        (.format, "sizes", sample.with("sizes", "4 3 0")), (.format, "sizes", sample.with("sizes", "4 -3 2")),
        (.format, "sizes", sample.with("sizes", "4 3 2.5")),
        (.format, "sizes", sample.with("sizes", "4 3 2 1")), (.format, "endian", sample.with("endian", nil)),
        (.format, "endian", sample.with("endian", "middle")),
        (.format, "encoding", sample.with("encoding", nil)), (.format, "encoding", sample.with("encoding", "zip")),
        (.format, "unknown space", sample.with("space", "outer")), (.format, "kinds", sample.with("kinds", "domain domain")),
        (.format, "unknown kind", sample.with("kinds", "domain domain doma")),
        (.format, "space directions", sample.with("space directions", "(1,0,0) (0,1,0)")),
        (.format, "space directions", sample.with("space directions", "(1,0,0) (0,1,0) (0,0,1")),
        (.format, "space directions", sample.with("space directions", "(1,0,0) (0,1,0) (0,0,x)")),
        (.format, "direction of axis 2", sample.with("space directions", "(1,0,0) (0,1,0) (0,1)")),
        (.format, "spacing 0", sample.with("space directions", "(1,0,0) (0,0,0) (0,0,1)")),
        (.format, "determinant", sample.with("space directions", "(1,0,0) (1,0,0) (0,0,1)")),
        (.format, "axis 1", sample.with("space directions", "(1,0,0) (0,inf,0) (0,0,1)")),
        (.format, "spacing nan", sample.with("space directions", "(1,0,0) (0,nan,0) (0,0,1)")),
        (.format, "none for axis", sample.with("space directions", "(1,0,0) none (0,0,1)")),
        (.format, "space origin", sample.with("space origin", "(1,2)")),
        (.format, "origin", sample.with("space origin", "(1,nan,3)")), (.format, "spacings", sample.with("spacings", "1 2 3")),
        (.format, "without space", sample.with("space", nil)), (.format, "both space", sample.with("space dimension", "3")),
        (.unsupported, "without space directions", sample.with(["space directions": nil, "spacings": "1 2 3"])),
        (.unsupported, "cm", sample.with("space units", "\"cm\" \"cm\" \"cm\"")),
        (
          .unsupported, "complex",
          sample.with([
            "dimension": "4", "sizes": "2 2 3 2", "kinds": "complex domain domain domain",
            "space directions": "none (1,0,0) (0,1,0) (0,0,1)",
          ])
        ),
        (
          .unsupported, "kinds",
          sample.with([
            "dimension": "4", "sizes": "2 2 3 2", "kinds": "list list domain domain", "space directions": "none none (0,1,0) (0,0,1)",
          ])
        ),
        (
          .unsupported, "2 axes",
          sample.with(["dimension": "2", "sizes": "4 6", "kinds": "domain domain", "space directions": "(1,0,0) (0,1,0)"])
        ),
        (.format, "unknown field", sample.with("spacing", "1 2 3")), (.format, "byte skip", sample.with("byte skip", "-2")),
        (.format, "line skip", sample.with("line skip", "-1")),
        (.format, "sample.nrrd", sample.with("line skip", "400")),
        (.format, "sample.nrrd", sample.with("byte skip", "9223372036854775807")),
        (.format, "byte skip", sample.with("byte skip", "many")),
      ]
      for (kind, words, header) in cases { expectFailure(kind, header, in: folder, naming: words) }
      for value in ["0 2 3", "nan 2 3", "inf 2 3", "1 2", "1 2 x"] {
        expectFailure(
          .format, sample.with(["space": nil, "space directions": nil, "space origin": nil, "spacings": value]), in: folder,
          naming: "spacing")
      }
      var twice = sample
      twice.lines.insert("Type: short", at: 3)
      expectFailure(.format, twice, in: folder, naming: "twice")
      var noField = sample
      noField.lines.insert("nothing", at: 3)
      expectFailure(.format, noField, in: folder, naming: "nothing")
      for magic in ["NRRD", "NRRDxxxx", "NRRD00.01"] {
        var broken = sample
        broken.lines[0] = magic
        expectFailure(.format, broken, in: folder, naming: "magic")
      }
      var newer = sample
      newer.lines[0] = "NRRD0009"
      expectFailure(.unsupported, newer, in: folder, naming: "version 9")
    }
  }
}

func expectFailure(
  _ kind: MedDINOError.Kind, _ sample: TextHeaderSample, in folder: String, naming words: String,
  at location: SourceLocation = #_sourceLocation
) {
  let budget = MemoryBudget()
  let error = #expect(throws: MedDINOError.self, "\(sample.lines)", sourceLocation: location) {
    try readVolume(sample, in: folder, budget: budget)
  }
  #expect(error?.kind == kind, "\(error?.message ?? "")", sourceLocation: location)
  #expect(error?.message.contains(words) == true, "\"\(words)\" in \(error?.message ?? "")", sourceLocation: location)
  #expect(error?.message.contains("\n") == false, sourceLocation: location)
  #expect(budget.bytesInUse == 0, sourceLocation: location)
}
