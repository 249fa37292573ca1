import Datasets
import Glibc
import Imaging
import Platform
import TestSupport
import Testing

struct BenchmarkResumeTests {
  @Test func goesOnWhereItStopped() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/lits")
      try mini.lits()
      var seen: [Double] = []
      let control = RunControl { fraction, _ in
        seen.append(fraction)
        return fraction < 0.5
      }
      let error = #expect(throws: MedDINOError.self) { try Benchmark.lits.convert(from: mini.root, to: folder, control: control) }
      #expect(error?.kind == .cancelled && seen == seen.sorted())
      let root = folder + "/Dataset003_Liver"
      #expect(FileKind.of(root + "/dataset.json") == .missing)
      let before = try folderEntries(root + "/imagesTr").count + folderEntries(root + "/labelsTr").count
      #expect(before > 0 && before < 6)
      let done = try Benchmark.lits.convert(from: mini.root, to: folder)
      #expect(done.kept == before && done.kept + done.copied + done.compressed == 7)
      let again = try Benchmark.lits.convert(from: mini.root, to: folder)
      #expect(again.kept == 7 && again.copied == 0 && again.compressed == 0)
    }
  }

  @Test func replacesWhatIsNotWhole() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/lits")
      try mini.lits()
      let root = try Benchmark.lits.convert(from: mini.root, to: folder).folder
      let whole = try InputFile.contents(root + "/imagesTr/liver_0_0000.nii.gz")
      try AtomicFile.write(Array(whole.dropLast(3)), to: root + "/imagesTr/liver_0_0000.nii.gz")
      try AtomicFile.write([1, 2, 3], to: root + "/imagesTr/liver_10_0000.nii.gz")
      let done = try Benchmark.lits.convert(from: mini.root, to: folder)
      #expect(done.kept == 5 && done.compressed == 1 && done.copied == 1)
      #expect(try InputFile.contents(root + "/imagesTr/liver_0_0000.nii.gz") == whole)
    }
  }

  /// Other contents of the same size are other contents, also where they are older.
  @Test func replacesWhatHasChanged() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/lits")
      try mini.lits()
      let root = try Benchmark.lits.convert(from: mini.root, to: folder).folder
      func values(_ path: String) throws -> [Double] {
        let volume = try NIfTI.read(path, in: mini.budget)
        return (0..<4).map { volume.value($0, 0, 0) }
      }
      let (plain, packed) = ("Training Batch 1/volume-0.nii", "media/nas/Training Batch 2/segmentation-10.nii")
      try mini.volume(plain, seed: 7)
      try mini.volume(packed, seed: 5, labels: true)
      let past = timespec(tv_sec: 1_577_836_800, tv_nsec: 5)
      #expect(utimensat(AT_FDCWD, mini.root + "/" + plain, [past, past], 0) == 0)
      let done = try Benchmark.lits.convert(from: mini.root, to: folder)
      #expect(done.compressed == 2 && done.copied == 0 && done.kept == 5)
      #expect(try values(root + "/imagesTr/liver_0_0000.nii.gz") == values(mini.root + "/" + plain))
      #expect(try values(root + "/labelsTr/liver_10.nii.gz") == values(mini.root + "/" + packed))
      #expect(try Benchmark.lits.convert(from: mini.root, to: folder).kept == 7)
    }
  }

  @Test func linksShareTheBytes() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/kits")
      try mini.kits23([3])
      var options = BenchmarkOptions()
      options.link = true
      let done = try Benchmark.kits23.convert(from: mini.root, to: folder, options: options)
      #expect(done.linked == 2 && done.copied == 0)
      let linked = done.folder + "/imagesTr/case_00003_0000.nii.gz"
      #expect(try InputFile.contents(linked) == InputFile.contents(mini.root + "/dataset/case_00003/imaging.nii.gz"))
      #expect(try sameFile(linked, mini.root + "/dataset/case_00003/imaging.nii.gz"))
    }
  }

  @Test func namesEveryMissingFile() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/b")
      for number in 1...9 { try mini.volume("imagesTr/img000\(number).nii.gz", seed: number) }
      for number in [1, 2] { try mini.volume("labelsTr/label000\(number).nii.gz", seed: number, labels: true) }
      try mini.volume("labelsTr/label0012.nii.gz", seed: 1, labels: true)
      let error = #expect(throws: MedDINOError.self) { try Benchmark.btcv.convert(from: mini.root, to: folder) }
      #expect(error?.kind == .invalid)
      let message = error?.message ?? ""
      #expect(message.contains("8 files are missing") && message.contains("labelsTr/label0003.nii.gz") && message.contains("3 more"))
      #expect(FileKind.of(folder + "/Dataset023_BTCV") == .missing)
    }
  }

  @Test func refusesWhatIsNoSuchDataset() throws {
    try withTemporaryFolder { folder in
      try makeFolder(folder + "/empty")
      for benchmark in Benchmark.allCases {
        for source in [folder + "/empty", folder + "/none"] {
          let error = #expect(throws: MedDINOError.self) { try benchmark.convert(from: source, to: folder) }
          #expect(error?.message.hasPrefix(source) == true)
        }
      }
      // A web page saved under the name of a scan.
      let mini = MiniatureBenchmark(root: folder + "/kits")
      try mini.kits23([1])
      try mini.text("dataset/case_00001/imaging.nii.gz", "<html>quota exceeded</html>")
      let page = #expect(throws: MedDINOError.self) { try Benchmark.kits23.convert(from: mini.root, to: folder + "/raw") }
      #expect(page?.kind == .format && page?.message.contains("not a NIfTI file") == true)
      // Case folders without the downloaded images.
      let bare = MiniatureBenchmark(root: folder + "/bare")
      try bare.volume("dataset/case_00000/segmentation.nii.gz", seed: 1, labels: true)
      let images = #expect(throws: MedDINOError.self) { try Benchmark.kits23.convert(from: bare.root, to: folder + "/raw") }
      #expect(images?.message.contains("download") == true)
    }
  }

  @Test func refusesCasesOfSomethingElse() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/kits")
      try mini.kits23([1, 2])
      try Benchmark.kits23.convert(from: mini.root, to: folder)
      let smaller = MiniatureBenchmark(root: folder + "/smaller")
      try smaller.kits23([1])
      let error = #expect(throws: MedDINOError.self) { try Benchmark.kits23.convert(from: smaller.root, to: folder) }
      #expect(error?.message.contains("case_00002_0000.nii.gz") == true)
    }
  }

  @Test func twoFilesOfOneCase() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/lits")
      try mini.lits()
      try mini.volume("copy/volume-0.nii", seed: 1)
      let error = #expect(throws: MedDINOError.self) { try Benchmark.lits.convert(from: mini.root, to: folder) }
      #expect(error?.message.contains("number 0 is there twice") == true)
    }
  }

  @Test func splitsMustNameTheCases() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/kits")
      try mini.kits23([1, 2])
      var options = BenchmarkOptions()
      options.splits = folder + "/splits.json"
      func write(_ text: String) throws { try AtomicFile.write(Array(text.utf8), to: folder + "/splits.json") }
      for (text, word) in [
        ("{}", "list of splits"), ("[{\"train\": [\"case_00001\"]}]", "no val"),
        ("[{\"train\": [\"case_00001\"], \"val\": [\"case_00009\"]}]", "case_00009"),
        ("[{\"train\": [\"case_00001\"], \"val\": [\"case_00001\"]}]", "twice"),
      ] {
        try write(text)
        let error = #expect(throws: MedDINOError.self) { try Benchmark.kits23.convert(from: mini.root, to: folder, options: options) }
        #expect(error?.kind == .format && error?.message.contains(word) == true)
        #expect(FileKind.of(folder + "/Dataset220_KiTS2023") == .missing)
      }
      try write("[{\"train\": [\"case_00002\"], \"val\": [\"case_00001\"]}]")
      let done = try Benchmark.kits23.convert(from: mini.root, to: folder, options: options)
      #expect(try InputFile.contents(done.folder + "/splits_final.json") == InputFile.contents(folder + "/splits.json"))
    }
  }

  @Test func amosListsMustBeUsable() throws {
    try withTemporaryFolder { folder in
      let mini = MiniatureBenchmark(root: folder + "/amos")
      try mini.amos22()
      let good = String(decoding: try InputFile.contents(mini.root + "/dataset.json"), as: UTF8.self)
      func edited(_ old: String, _ new: String) -> String {
        var text = good
        if let place = text.firstRange(of: old) { text.replaceSubrange(place, with: new) }
        return text
      }
      for (text, word) in [
        (edited("\"validation\"", "\"other\""), "validation is missing"), (edited("\"15\":", "\"16\":"), "labels has the values"),
        (edited("./imagesTr/amos_0001.nii.gz", "./imagesTr/scan.nii.gz"), "scan"),
        (edited("./imagesTr/amos_0001.nii.gz", "./imagesTr/amos_0002.nii.gz"), "imagesTr/amos_0002.nii.gz"),
      ] {
        try mini.text("dataset.json", text)
        let error = #expect(throws: MedDINOError.self) { try Benchmark.amos22.convert(from: mini.root, to: folder) }
        #expect(error?.message.contains(word) == true, "\(word): \(error?.message ?? "")")
      }
    }
  }
}
