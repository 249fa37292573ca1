import Datasets
import Imaging
import Platform
import Segmentation
import TestSupport
import Testing
import WeightFiles

struct BenchmarkTests {
  private func description(_ root: String) throws -> DatasetDescription {
    try DatasetDescription.parse(try InputFile.contents(root + "/dataset.json"))
  }
  /// Voxels and geometry of a file as text, to compare with another's.
  private func content(_ path: String) throws -> String {
    let volume = try NIfTI.read(path, in: MemoryBudget())
    let g = volume.geometry
    var values: [Double] = []
    for z in 0..<g.dims[2] { for y in 0..<g.dims[1] { for x in 0..<g.dims[0] { values.append(volume.value(x, y, z)) } } }
    return "\(volume.dtype) \(g.dims) \(g.spacing) \(g.origin) \(g.direction) \(values)"
  }

  @Test func amosKeepsTheCTsOfBothLists() throws {
    try withTemporaryFolder { folder in
      let source = folder + "/amos22"
      try MiniatureBenchmark(root: source).amos22()
      let done = try Benchmark.amos22.convert(from: source, to: folder + "/raw")
      let root = folder + "/raw/Dataset218_AMOS2022_postChallenge_task1"
      #expect(done.folder == root && done.trainingCases == 3 && done.testCases == 1 && done.leftOut == 3 && done.copied == 7)
      #expect(try folderEntries(root) == ["dataset.json", "imagesTr", "imagesTs", "labelsTr", "leak-note.json", "leak-note.md"])
      let names = ["amos_0001", "amos_0409", "amos_0410"]
      #expect(try folderEntries(root + "/imagesTr") == names.map { $0 + "_0000.nii.gz" })
      #expect(try folderEntries(root + "/labelsTr") == names.map { $0 + ".nii.gz" })
      #expect(try folderEntries(root + "/imagesTs") == ["amos_0500_0000.nii.gz"])
      // Number 410 is a CT of the training list and an MR of the validation list.
      #expect(try content(root + "/imagesTr/amos_0410_0000.nii.gz") == content(source + "/imagesTr/amos_0410.nii.gz"))
      #expect(try content(root + "/labelsTr/amos_0409.nii.gz") == content(source + "/labelsVa/amos_0409.nii.gz"))
      let dataset = try description(root)
      #expect(dataset.channelNames == ["CT"] && dataset.readerOverride == "NibabelIOWithReorient" && dataset.trainingCases == 3)
      #expect(dataset.labels.map { $0.values[0] } == Array(0...15))
      #expect(dataset.labels[9].name == "postcava" && dataset.labels[15].name == "prostate/uterus")
    }
  }

  @Test func amosOwnSplit() throws {
    try withTemporaryFolder { folder in
      try MiniatureBenchmark(root: folder + "/a").amos22()
      var options = BenchmarkOptions()
      options.publishedSplit = true
      let root = try Benchmark.amos22.convert(from: folder + "/a", to: folder, options: options).folder
      let splits = try JSON.parse(try InputFile.contents(root + "/splits_final.json"), source: "splits").arrayValue
      #expect(splits?.count == 1)
      #expect(splits?[0]["train"] == .array([.string("amos_0001"), .string("amos_0410")]))
      #expect(splits?[0]["val"] == .array([.string("amos_0409")]))
      let error = #expect(throws: MedDINOError.self) { try Benchmark.kits23.convert(from: folder, to: folder, options: options) }
      #expect(error?.kind == .invalid)
      // Without the option the next conversion takes it away, but nobody else's.
      #expect(try !Benchmark.amos22.convert(from: folder + "/a", to: folder).keptSplits)
      #expect(FileKind.of(root + "/splits_final.json") == .missing)
      let own = Array("[{\"train\": [\"amos_0410\"], \"val\": [\"amos_0001\"]}]".utf8)
      try AtomicFile.write(own, to: root + "/splits_final.json")
      #expect(try Benchmark.amos22.convert(from: folder + "/a", to: folder).keptSplits)
      #expect(try InputFile.contents(root + "/splits_final.json") == own)
    }
  }

  @Test(arguments: [true, false])
  func btcvInBothLayouts(_ original: Bool) throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/btcv")
      let (images, labels, tests) =
        original ? ("RawData/Training/img", "RawData/Training/label", "RawData/Testing/img") : ("imagesTr", "labelsTr", "imagesTs")
      for number in [1, 10] {
        let digits = number == 1 ? "0001" : "0010"
        try mini.pair("\(images)/img\(digits).nii.gz", "\(labels)/label\(digits).nii.gz", seed: number)
      }
      try mini.volume("\(tests)/img0061.nii.gz", seed: 5)
      try mini.text("\(images)/.DS_Store", "")
      let root = try Benchmark.btcv.convert(from: mini.root, to: folder).folder
      #expect(root == folder + "/Dataset023_BTCV")
      #expect(try folderEntries(root + "/imagesTr") == ["img0001_0000.nii.gz", "img0010_0000.nii.gz"])
      #expect(try folderEntries(root + "/labelsTr") == ["img0001.nii.gz", "img0010.nii.gz"])
      #expect(try folderEntries(root + "/imagesTs") == ["img0061_0000.nii.gz"])
      #expect(try content(root + "/labelsTr/img0010.nii.gz") == content("\(mini.root)/\(labels)/label0010.nii.gz"))
      let dataset = try description(root)
      #expect(dataset.labels.count == 14 && dataset.labels[10].name == "portal & splenic vein" && dataset.readerOverride == nil)
    }
  }

  @Test func kitsHasNestedRegions() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/kits23")
      try mini.kits23()
      for source in [mini.root, mini.root + "/dataset"] {
        let root = try Benchmark.kits23.convert(from: source, to: folder).folder
        #expect(
          try folderEntries(root + "/imagesTr")
            == ["case_00000_0000.nii.gz", "case_00001_0000.nii.gz", "case_00400_0000.nii.gz"])
        let dataset = try description(root)
        let scheme = try LabelScheme(dataset)
        #expect(scheme.foreground.map(\.description) == ["(1, 2, 3)", "(2, 3)", "2"])
        #expect(scheme.heads.map(\.value) == [1, 3, 2] && scheme.heads.map(\.name) == ["kidney", "masses", "tumor"])
        #expect(dataset.readerOverride == "NibabelIOWithReorient" && dataset.regionsClassOrder == [1, 3, 2])
      }
    }
  }

  @Test func litsIsCompressedAndNamedAsTheDecathlon() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/lits")
      try mini.lits()
      let done = try Benchmark.lits.convert(from: mini.root, to: folder)
      #expect(done.compressed == 6 && done.copied == 1 && done.trainingCases == 3 && done.testCases == 1)
      // Sorted as text, as nnU-Net's folds are made.
      #expect(
        try folderEntries(done.folder + "/imagesTr") == ["liver_0_0000.nii.gz", "liver_10_0000.nii.gz", "liver_2_0000.nii.gz"])
      #expect(try folderEntries(done.folder + "/imagesTs") == ["test_volume_3_0000.nii.gz"])
      let target = done.folder + "/imagesTr/liver_2_0000.nii.gz"
      let plain = try InputFile.contents(mini.root + "/Training Batch 1/volume-2.nii")
      var unpacked = [UInt8](repeating: 0, count: plain.count)
      let reader = try GzipReader(InputFile(target))
      try unpacked.withUnsafeMutableBytes { try reader.readAll(into: $0) }
      try reader.finish(limit: 0)
      #expect(unpacked == plain)
      #expect(try description(done.folder).labels.map(\.values) == [[0], [1], [2]])

      var options = BenchmarkOptions()
      options.regions = true
      try Benchmark.lits.convert(from: mini.root, to: folder + "/regions", options: options)
      let regions = try description(folder + "/regions/Dataset003_Liver")
      #expect(regions.labels.map(\.values) == [[0], [1, 2], [2]] && regions.regionsClassOrder == [1, 2])
    }
  }

  @Test func decathlonLiver() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/Task03_Liver")
      for number in [0, 11] { try mini.pair("imagesTr/liver_\(number).nii.gz", "labelsTr/liver_\(number).nii.gz", seed: number) }
      try mini.volume("imagesTs/liver_132.nii.gz", seed: 3)
      try mini.text("imagesTr/._liver_0.nii.gz", "resource fork")
      for source in [mini.root, folder] {
        let done = try Benchmark.lits.convert(from: source, to: folder + "/raw")
        #expect(done.trainingCases == 2 && done.testCases == 1)
        #expect(try folderEntries(done.folder + "/labelsTr") == ["liver_0.nii.gz", "liver_11.nii.gz"])
      }
    }
  }

  @Test func leakNoteNamesEveryCase() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/lits")
      try mini.lits()
      let root = try Benchmark.lits.convert(from: mini.root, to: folder).folder
      let note = try JSON.parse(try InputFile.contents(root + "/leak-note.json"), source: "note")
      #expect(
        note["counted_as_seen"]?.arrayValue?.compactMap(\.stringValue) == ["liver_0", "liver_10", "liver_2", "test_volume_3"])
      #expect(note["listed_as"] == .array([.string("LiTS"), .string("MSD Liver")]))
      let text = String(decoding: try InputFile.contents(root + "/leak-note.md"), as: UTF8.self)
      #expect(text.contains("all 4 (3 labelled, 1 test)"))
    }
  }
}
