import FineTuning
import Glibc
import Imaging
import Platform
import Segmentation
import Synchronization
import Tensors
import TestSupport
import Testing
import WeightFiles

@Suite struct DatasetPlanningTests {
  private func run(
    _ small: SmallDataset, _ folder: String, upscale: Int? = 32, control: RunControl = RunControl(),
    _ change: (inout DatasetPlanning.Options) -> Void = { _ in }
  ) throws -> DatasetPlanning.Report {
    var options = DatasetPlanning.Options()
    options.upscale = upscale
    options.samples = 50_000
    change(&options)
    return try DatasetPlanning.run(small.folder, to: folder + "/out", options: options, pool: pool(), in: MemoryBudget(), control: control)
  }

  @Test func wholeFolder() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      let report = try run(small, folder)
      #expect(report.problems.isEmpty && report.configurations == ["2d", "2d_32"])
      #expect(report.preprocessed.map(\.configuration) == ["2d_32"] && report.preprocessed[0].result.made == 5)
      let prepared = try PreparedDataset(report.folder)
      #expect(prepared.name == "Dataset900_Phantom")
      for index in 0..<5 {
        #expect(try InputFile.contents(prepared.groundTruth("phantom_00\(index)")) == InputFile.contents(small.label(index)))
      }
      let store = try prepared.store("2d_32")
      #expect(store.configuration.patchSize == [32, 32])
      let cases = try store.identifiers()
      #expect(cases == (0..<5).map { "phantom_00\($0)" })
      let splits = try prepared.splits(cases: cases)
      #expect(splits.folds.count == 5 && splits.folds.allSatisfy { $0.validation.count == 1 && $0.train.count == 4 })
      #expect(Set(splits.folds.flatMap(\.validation)) == Set(cases))
      // Nothing but finished files lies there.
      let strangers = try folderEntries(store.folder).filter { !$0.hasSuffix(".safetensors") }
      #expect(strangers.isEmpty)
    }
  }

  /// A stored case gives the same numbers as the preprocessed case in memory, in any box.
  @Test func storedCaseEqualsMemory() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      let report = try run(small, folder)
      let prepared = try PreparedDataset(report.folder)
      let store = try prepared.store("2d_32")
      let budget = MemoryBudget()
      let stored = try store.open("phantom_003", in: budget)
      let contents = try PreprocessedCase(
        [NIfTI.read(small.image(3), in: budget)], labels: NIfTI.read(small.label(3), in: budget), plan: prepared.plan,
        configuration: store.configuration, scheme: prepared.scheme, pool: pool(), in: budget)
      let memory = try MemoryTrainingCase(identifier: "phantom_003", contents)
      #expect(stored.shape == memory.shape && stored.identifier == memory.identifier)
      #expect(stored.locations.map(\.key) == memory.locations.map(\.key))
      for (a, b) in zip(stored.locations, memory.locations) {
        #expect(a.positions.map { Array($0.elements(Int32.self)) } == b.positions.map { Array($0.elements(Int32.self)) })
      }
      #expect(stored.locations.contains { $0.count > 0 })
      let (rows, columns) = (stored.shape[2], stored.shape[3])
      for slice in 0..<stored.shape[1] {
        for (r, c) in [(0..<rows, 0..<columns), (1..<rows - 2, 3..<columns - 1), (2..<3, 0..<columns), (0..<rows, 5..<6)] {
          let count = r.count * c.count
          var images: [[Float]] = []
          var labels: [[Int16]] = []
          let sources: [any TrainingCase] = [stored, memory]
          for source in sources {
            var image = [Float](repeating: .nan, count: count)
            var label = [Int16](repeating: 77, count: count)
            try image.withUnsafeMutableBufferPointer {
              try source.readImage(channel: 0, slice: slice, rows: r, columns: c, into: #require($0.baseAddress))
            }
            try label.withUnsafeMutableBufferPointer {
              try source.readLabels(slice: slice, rows: r, columns: c, into: #require($0.baseAddress))
            }
            images.append(image)
            labels.append(label)
          }
          #expect(images[0] == images[1] && labels[0] == labels[1])
        }
      }
      var one: Float = 0
      #expect(throws: MedDINOError.self) { try stored.readImage(channel: 1, slice: 0, rows: 0..<1, columns: 0..<1, into: &one) }
      #expect(throws: MedDINOError.self) { try stored.readImage(channel: 0, slice: 99, rows: 0..<1, columns: 0..<1, into: &one) }
      #expect(throws: MedDINOError.self) {
        try memory.readImage(channel: 0, slice: 0, rows: rows..<rows + 1, columns: 0..<1, into: &one)
      }
    }
  }

  @Test func runsAgainOnlyWhatChanged() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      let first = try run(small, folder)
      let store = try PreparedDataset(first.folder).store("2d_32")
      let before = try InputFile.contents(store.path(of: "phantom_001"))
      let second = try run(small, folder)
      #expect(second.preprocessed[0].result.made == 0 && second.preprocessed[0].result.kept == 5)

      // A damaged file and a file of a run that was killed are made anew.
      try AtomicFile.write(Array(before.prefix(100)), to: store.path(of: "phantom_001"))
      unlink(store.path(of: "phantom_002"))
      let third = try run(small, folder)
      #expect(third.preprocessed[0].result.made == 2 && third.preprocessed[0].result.kept == 3)
      #expect(try InputFile.contents(store.path(of: "phantom_001")) == before)

      // Changed labels change the fingerprint, and with it every case.
      try small.revalue(small.label(0)) { $0 % 2 == 0 ? 1 : $1 }
      let fourth = try run(small, folder)
      #expect(fourth.preprocessed[0].result.made == 5)
    }
  }

  /// Labels that were replaced by others of the same size, whose file is older: what validation compares with is theirs.
  @Test func replacedLabelsAreCopiedAnew() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      try small.revalue(small.label(1)) { $1 }
      let copy = try PreparedDataset(run(small, folder).folder).groundTruth("phantom_001")
      let before = try InputFile.contents(copy)
      #expect(try FileStamp(copy) == FileStamp(small.label(1)))
      try small.revalue(small.label(1)) { $0 % 5 == 0 ? 2 : $1 }
      let past = timespec(tv_sec: 1_577_836_800, tv_nsec: 5)
      #expect(utimensat(AT_FDCWD, small.label(1), [past, past], 0) == 0)
      _ = try run(small, folder)
      let after = try InputFile.contents(copy)
      #expect(after.count == before.count && after != before)
      #expect(try after == InputFile.contents(small.label(1)))
    }
  }

  /// Splits are looked at before the images are: a broken file leaves no half-planned dataset.
  @Test func brokenSplitsAreFoundFirst() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      try AtomicFile.write(Array("[{\"train\": 3}]".utf8), to: small.folder + "/splits_final.json")
      let error = #expect(throws: MedDINOError.self) { try run(small, folder) }
      #expect(error?.kind == .format && error?.message.contains("splits_final.json: fold 0: train is missing") == true)
      #expect(FileKind.of(folder + "/out") == .missing)
    }
  }

  @Test func cancelledAnywhere() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      for stop in [1, 3, 8, 20] {
        let calls = Atomic<Int>(0)
        let control = RunControl { _, _ in calls.wrappingAdd(1, ordering: .relaxed).newValue < stop }
        do {
          _ = try run(small, folder, control: control)
          Issue.record("was not cancelled")
        } catch let error as MedDINOError { #expect(error.kind == .cancelled) }
      }
      let cancellation = Cancellation()
      cancellation.request()
      #expect(throws: MedDINOError.cancelled) { try run(small, folder, control: RunControl(cancellation: cancellation)) }
      let report = try run(small, folder)
      #expect(report.preprocessed[0].result.made + report.preprocessed[0].result.kept == 5)
    }
  }

  @Test func sameBytesWhateverTheThreads() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      var files: [[[UInt8]]] = []
      for threads in [1, 2, 3] {
        let out = "\(folder)/out\(threads)"
        var options = DatasetPlanning.Options()
        options.jobs = threads
        options.samples = 1_000_000
        let report = try DatasetPlanning.run(
          small.folder, to: out, options: options, pool: ThreadPool(threads: threads), in: MemoryBudget())
        let store = try PreparedDataset(report.folder).store("2d")
        let names = ["dataset_fingerprint.json", "nnUNetPlans.json", "splits_final.json"].map { report.folder + "/" + $0 }
        files.append(try (names + (0..<5).map { store.path(of: "phantom_00\($0)") }).map { try InputFile.contents($0) })
      }
      #expect(files[0] == files[1] && files[0] == files[2])
    }
  }

  @Test func keepsForeignConfigurationsAndOwnSplits() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      let mine = DatasetSplits(folds: [.init(train: ["phantom_000", "phantom_001"], validation: ["phantom_004"])])
      try AtomicFile.write(Array(mine.json.text().utf8), to: small.folder + "/splits_final.json")
      let first = try run(small, folder, upscale: nil) { $0.preprocess = false }
      #expect(first.configurations == ["2d"] && first.preprocessed.isEmpty)
      let path = first.folder + "/nnUNetPlans.json"
      var root = try #require(try JSON.parse(InputFile.contents(path), source: path).objectValue)
      var configurations = try #require(root["configurations"]?.objectValue)
      configurations["mine"] = .object(("inherits_from", .string("2d")), ("batch_size", .integer(3)))
      root["configurations"] = .object(configurations)
      try AtomicFile.write(Array(JSON.object(root).text().utf8), to: path)
      let second = try run(small, folder, upscale: 48) { $0.preprocess = false }
      #expect(second.configurations == ["2d", "mine", "2d_48"])
      let prepared = try PreparedDataset(second.folder)
      #expect(try prepared.plan.configuration("mine").batchSize == 3)
      #expect(try prepared.splits(cases: []) == mine)
      let error = #expect(throws: MedDINOError.self) { try prepared.store("2d_48").identifiers() }
      #expect(error?.message.contains("has not been preprocessed") == true)
    }
  }

  @Test func refusesBadOptions() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      for size in [0, -16, 20, 9000] {
        let error = #expect(throws: MedDINOError.self) { try run(small, folder, upscale: size) }
        #expect(error?.message.contains("\(size)") == true)
      }
      let unknown = #expect(throws: MedDINOError.self) { try run(small, folder) { $0.configurations = ["3d"] } }
      #expect(unknown?.message.contains("\"3d\"") == true)
      let memory = #expect(throws: MedDINOError.self) { try run(small, folder) { $0.gpuGigabytes = 0 } }
      #expect(memory?.kind == .invalid)
    }
  }

  @Test func verifyOnlyWritesNothing() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      let report = try run(small, folder) { $0.verifyOnly = true }
      #expect(report.problems.isEmpty && report.cases == 5 && report.folder.isEmpty)
      #expect(FileKind.of(folder + "/out") == .missing)
    }
  }

  /// Allocations fail one after another; nothing crashes or leaks, and the next run finishes the work.
  @Test func outOfMemory() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      var options = DatasetPlanning.Options()
      options.samples = 1000
      let budget = MemoryBudget()
      let run = { (out: String) in
        try DatasetPlanning.run(small.folder, to: folder + "/" + out, options: options, pool: pool(), in: budget)
      }
      _ = try run("first")
      let count = budget.allocationCount
      for index in stride(from: 0, to: count, by: max(1, count / 12)) {
        budget.restartCount()
        budget.failAllocation(index)
        let error = #expect(throws: MedDINOError.self) { try run("out\(index)") }
        #expect(error?.kind == .outOfMemory && budget.bytesInUse == 0, "allocation \(index): \(error?.message ?? "")")
        budget.failAllocation(-1)
        #expect(try run("out\(index)").problems.isEmpty)
      }
    }
  }
}
