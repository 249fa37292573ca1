import Glibc
import Imaging
import Platform
import Slices
import Tensors
import TestSupport
import Testing

@testable import Datasets

struct CurationTests {
  @Test func makesASetThatCanBeRead() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<3 { try sample.write("v\(number).nii.gz", seed: number) }
      let report = try sample.curate()
      #expect(report.manifest.slices.kept == 18 && report.manifest.shards.count == 5 && report.manifest.cases == 3)
      #expect(report.seenSlices == 18 && report.resumedSlices == 0 && report.slicesPerSecond > 0)
      let set = try SliceSet(sample.set)
      #expect(set.count == 18)
      #expect(try set.check(pool: ThreadPool(threads: 2)).problems.isEmpty)
      for index in 0..<18 {
        let slice = try set.slice(at: index)
        let origin = try set.origin(at: index)
        #expect(slice.height == 16 && slice.width == 16 && slice.values.max() ?? 0 > 30 && slice.values.min() == -1000)
        #expect(origin.caseName == "v\(index / 6)" && origin.slice == index % 6 && origin.position == Float(40 + 3 * (index % 6)))
      }
      #expect(report.manifest.intensities.statistics().pixels == 18 * 256)
      let again = try sample.curate()
      #expect(again.resumedSlices == 18 && again.seenSlices == 0 && again.cases == report.cases)
    }
  }

  @Test func theSameBytesWhateverTheThreads() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<5 { try sample.write("v\(number).nii.gz", seed: number, dims: [20 + number, 24, 5]) }
      try sample.curate(CurationSample.options(jobs: 1), to: root + "/one", threads: 1)
      let one = try CurationSample.files(root + "/one/part")
      for (threads, jobs) in [(2, 3), (4, 8)] {
        try sample.curate(CurationSample.options(jobs: jobs), to: root + "/\(threads)", threads: threads)
        #expect(try CurationSample.files(root + "/\(threads)/part") == one)
      }
    }
  }

  /// Stopped at every report of progress in turn, then run again.
  @Test func aStoppedRunGoesOnToTheSameBytes() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<4 { try sample.write("v\(number).nii.gz", seed: number) }
      try sample.write("v9.nii.gz", seed: 1)  // duplicates of v1
      try sample.curate(to: root + "/whole")
      let whole = try CurationSample.files(root + "/whole/part")
      var resumed = 0
      for stop in [0.0, 0.1, 0.25, 0.41, 0.6, 0.75, 0.85, 0.95] {
        let folder = "\(root)/stopped\(stop)"
        let error = #expect(throws: MedDINOError.self) {
          try sample.curate(to: folder, control: RunControl { fraction, _ in fraction < stop })
        }
        #expect(error?.kind == .cancelled)
        #expect(throws: MedDINOError.self) { try SliceSet(folder) }
        let report = try sample.curate(to: folder)
        #expect(try CurationSample.files(folder + "/part") == whole)
        resumed += report.resumedSlices
      }
      #expect(resumed > 0)
    }
  }

  /// What a process that was killed at any place leaves: any number of complete shards, then files without their step.
  @Test func goesOnFromAnyLeftovers() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<3 { try sample.write("v\(number).nii.gz", seed: number) }
      try sample.curate(to: root + "/whole")
      let whole = try CurationSample.files(root + "/whole/part")
      let steps = whole.keys.filter { $0.hasPrefix("resume/shard-") }.sorted()
      #expect(steps.count == 4)
      for complete in 0...steps.count {
        for damage in ["none", "later shard", "cut shard", "no plan's end", "no index", "temporary"] {
          let folder = root + "/\(complete)-\(damage)/part"
          try makeFolder(folder + "/resume")
          for (name, bytes) in whole {
            if ["set.json", "cases.json", "summary.txt"].contains(name) { continue }
            if steps.dropFirst(complete).contains(name) { continue }
            let isLater = name.hasPrefix("part-") && Int(name.dropFirst(5).prefix(6)) ?? 0 >= complete
            if isLater, damage != "later shard" { continue }
            try AtomicFile.write(bytes, to: folder + "/" + name)
          }
          let first = folder + "/part-000000"
          if complete > 0, damage == "cut shard" { truncate(first + ".tar", 1000) }
          if complete > 0, damage == "no index" { unlink(first + ".index.npy") }
          if damage == "temporary" { try AtomicFile.write([1, 2, 3], to: folder + "/part-000009.tar.tmp-999999999-1") }
          let report = try sample.curate(to: root + "/\(complete)-\(damage)")
          #expect(try CurationSample.files(folder) == whole, "\(complete) \(damage)")
          let isLost = damage == "cut shard" || damage == "no index"
          #expect(report.resumedSlices == (isLost ? 0 : 4 * complete))
        }
      }
    }
  }

  @Test func makesLostFilesOfAFinishedPartAgain() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<3 { try sample.write("v\(number).nii.gz", seed: number) }
      try sample.curate()
      let whole = try CurationSample.files(sample.set + "/part")
      for file in ["part-000002.tar", "part-000004.tar", "part-000000.index.npy", "cases.json", "set.json"] {
        unlink(sample.set + "/part/" + file)
        let report = try sample.curate()
        #expect(report.seenSlices > 0 && report.manifest.slices.kept == 18, "\(file)")
        #expect(try CurationSample.files(sample.set + "/part") == whole, "\(file)")
      }
    }
  }

  @Test func survivesDamagedRecordsOfTheRunBefore() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<3 { try sample.write("v\(number).nii.gz", seed: number) }
      try sample.curate(to: root + "/whole")
      let whole = try CurationSample.files(root + "/whole/part")
      for damage in ["", "{", "[]", "{\"record\": 1}"] {
        #expect(throws: MedDINOError.self) { try sample.curate(control: RunControl { fraction, _ in fraction < 0.8 }) }
        try AtomicFile.write(Array(damage.utf8), to: sample.set + "/part/resume/shard-1.json")
        #expect(try sample.curate().resumedSlices == 4)
        #expect(try CurationSample.files(sample.set + "/part") == whole)
        // The plan is what tells the same command: without it nothing is touched.
        try AtomicFile.write(Array("{".utf8), to: sample.set + "/part/resume/plan.json")
        let error = #expect(throws: MedDINOError.self) { try sample.curate() }
        #expect(error?.kind == .format && error?.message.contains("plan.json") == true)
        unlink(sample.set + "/part/resume/plan.json")
        let gone = #expect(throws: MedDINOError.self) { try sample.curate() }
        #expect(gone?.kind == .state && gone?.message.contains("plan is gone") == true)
        for name in whole.keys { unlink(sample.set + "/part/" + name) }
      }
    }
  }

  /// Four times the volumes need no more memory.
  @Test func memoryDoesNotGrowWithTheVolumes() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      var peaks: [Int] = []
      for count in [4, 16] {
        for number in 0..<count { try sample.write("v\(number).nii.gz", seed: number) }
        let budget = MemoryBudget()
        _ = try Curation.run(
          CurationSource(name: "part\(count)", folders: [sample.source]), to: root + "/\(count)", options: CurationSample.options(),
          pool: ThreadPool(threads: 1), in: budget)
        peaks.append(budget.peakBytes)
        #expect(budget.bytesInUse == 0)
      }
      // A volume more or less may be ahead at the moment of the peak.
      #expect(abs(peaks[1] - peaks[0]) <= 24 * 20 * 6 * 2)
    }
  }

  @Test func refusesToGoOnWithSomethingElse() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<3 { try sample.write("v\(number).nii.gz", seed: number) }
      #expect(throws: MedDINOError.self) { try sample.curate(control: RunControl { fraction, _ in fraction < 0.7 }) }
      var other = CurationSample.options()
      other.rules.size = 32
      var bigger = CurationSample.options()
      bigger.shardSlices = 5
      var excluding = CurationSample.options()
      excluding.excludedNames = ["v1"]
      for (options, word) in [(other, "size was 16, is 32"), (bigger, "shard_slices was 4, is 5"), (excluding, "excluded_names 0")] {
        let error = #expect(throws: MedDINOError.self) { try sample.curate(options) }
        #expect(error?.kind == .state && error?.message.contains(word) == true, "\(error?.message ?? "")")
      }
      try sample.write("v0.nii.gz", seed: 7, dims: [24, 20, 7])
      let error = #expect(throws: MedDINOError.self) { try sample.curate() }
      #expect(error?.kind == .state && error?.message.contains("volumes 0 was") == true)
    }
  }

  /// A file of the same size with other voxels, amid whose slices the run was stopped.
  @Test func noticesAVolumeThatChanged() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("v.nii", seed: 1, dims: [24, 20, 9])
      #expect(throws: MedDINOError.self) {
        try sample.curate(control: RunControl { _, _ in FileKind.of(sample.set + "/part/resume/shard-1.json") == .missing })
      }
      // One volume fits into one block, so the stop comes at its end.
      try sample.write("v.nii", seed: 2, dims: [24, 20, 9])
      let error = #expect(throws: MedDINOError.self) { try sample.curate() }
      #expect(error?.kind == .state && error?.message.contains("changed since") == true)
    }
  }

  @Test func onlyOneRunWrites() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("v.nii", seed: 1)
      let holder = try PartFolder(sample.set, part: "part")
      let error = #expect(throws: MedDINOError.self) { try sample.curate() }
      #expect(error?.kind == .state && error?.message.contains("another run") == true)
      withExtendedLifetime(holder) {}
    }
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("v.nii", seed: 1)
      try sample.curate()
      var other = CurationSample.options()
      other.shardSlices = 3
      #expect(throws: MedDINOError.self) { try sample.curate(other) }
      #expect(try folderEntries(sample.set + "/part").allSatisfy { !$0.hasPrefix(".") })
    }
  }

  @Test func failsCleanlyWithoutMemory() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<2 { try sample.write("v\(number).nii", seed: number) }
      try sample.curate(to: root + "/whole")
      let whole = try CurationSample.files(root + "/whole/part")
      let pool = try ThreadPool(threads: 1)
      for failing in 0..<60 {
        let budget = MemoryBudget()
        budget.failAllocation(failing)
        do {
          _ = try Curation.run(
            CurationSource(name: "part", folders: [sample.source]), to: sample.set, options: CurationSample.options(), pool: pool,
            in: budget)
          #expect(failing > 6)
          break
        } catch let error as MedDINOError {
          #expect(error.kind == .outOfMemory)
        }
        #expect(budget.bytesInUse == 0)
      }
      #expect(try CurationSample.files(sample.set + "/part") == whole)
    }
  }
}
