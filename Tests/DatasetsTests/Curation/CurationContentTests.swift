import Glibc
import Imaging
import Platform
import Slices
import Tensors
import TestSupport
import Testing

@testable import Datasets

/// What gets into a set, what stays out, and that it is counted.
struct CurationContentTests {
  @Test func dropsEmptyDuplicateAndNearSlices() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      let volume = try CurationSample.volume(seed: 1, dims: [24, 20, 8])
      let voxels = volume.mutableBase.assumingMemoryBound(to: Int16.self)
      let area = 24 * 20
      for place in 0..<area {
        voxels[place] = -1000  // air
        voxels[area + place] = 50  // one value
        voxels[3 * area + place] = voxels[2 * area + place]
      }
      try sample.write("a.nii", volume)
      try sample.write("b.nii", volume)
      let report = try sample.curate()
      #expect(report.cases[0].slices.kept == 5 && report.cases[0].slices.empty == 2 && report.cases[0].slices.duplicate == 1)
      #expect(report.cases[1].slices.kept == 0 && report.cases[1].slices.empty == 2 && report.cases[1].slices.duplicate == 6)
      #expect(report.manifest.slices.seen == 16)
      var options = CurationSample.options()
      options.rules.dropsDuplicates = false
      #expect(try sample.curate(options, name: "all").manifest.slices.kept == 12)
      options.rules.dropsDuplicates = true
      options.rules.step = 6
      let thinned = try sample.curate(options, to: root + "/thin")
      let set = try SliceSet(root + "/thin")
      #expect(thinned.manifest.slices.thinned == 4 && thinned.manifest.slices.kept == 3)
      #expect(try (0..<3).map { try set.origin(at: $0).slice } == [2, 5, 7])
    }
  }

  @Test func slicesOfEarlierPartsCountAsSeen() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("a.nii", seed: 1)
      try sample.curate(name: "first")
      // The same pixels in other axes, another type and another spacing in the header.
      let volume = try CurationSample.volume(seed: 1)
      let turned = volume.rearranged(try volume.geometry.orientation().steps(to: .ras))
      try sample.write("a.nii", turned)
      try sample.write("b.nii", seed: 2)
      let report = try sample.curate(name: "second")
      #expect(report.manifest.slices.kept == 6 && report.manifest.slices.duplicate == 6)
      #expect(report.manifest.earlierParts.map(\.name) == ["first"])
      #expect(try SliceSet(sample.set).count == 12)
      // The plan remembers what was there: a third part does not change the second.
      try sample.curate(name: "third")
      #expect(try sample.curate(name: "second").seenSlices == 0)
    }
  }

  @Test func namesStayOut() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<4 { try sample.write("v\(number).nii.gz", seed: number) }
      var options = CurationSample.options()
      options.excludedNames = ["v1", "part/v3.nii.gz", "other/v0", "v77"]
      let report = try sample.curate(options)
      #expect(report.cases.map(\.name) == ["v0", "v2"] && report.manifest.excludedNames == ["v1", "v3"])
      #expect(report.unmatchedExclusions == ["v77"])
      options.excludedNames = ["v0", "v1", "v2", "v3"]
      let error = #expect(throws: MedDINOError.self) { try sample.curate(options, name: "none") }
      #expect(error?.kind == .invalid && FileKind.of(sample.set + "/none") == .missing)
      for name in ["a//c", "", "/a"] {
        options.excludedNames = [name]
        #expect(throws: MedDINOError.self) { try sample.curate(options, name: "none") }
      }
    }
  }

  /// Volumes in folders of the source are called "folder_file"; a list may give their paths.
  @Test func pathsStayOut() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for (number, name) in ["pat1/a0", "pat1/a1", "pat2/a0", "pat2/deep/a2"].enumerated() {
        try sample.write(name + ".nii.gz", seed: number)
      }
      var options = CurationSample.options()
      options.excludedNames = ["pat1/a0", "pat2_a0", "part/pat2/deep/a2.nii.gz", "pat1/a7", "elsewhere/a0", "part/b"]
      let report = try sample.curate(options)
      #expect(report.cases.map(\.name) == ["pat1_a1"])
      #expect(report.manifest.excludedNames == ["pat1_a0", "pat2_a0", "pat2_deep_a2"])
      #expect(report.unmatchedExclusions == ["b", "pat1/a7"])
    }
  }

  /// A digest that is not the one that was written would let a slice in twice.
  @Test func damagedDigestsOfAnEarlierPartAreNoticed() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("v0.nii.gz", seed: 0)
      try sample.curate(name: "first")
      let path = sample.set + "/first/first-000000.index.npy"
      let whole = try InputFile.contents(path)
      var bytes = whole
      bytes[bytes.count - 3] ^= 1
      try AtomicFile.write(bytes, to: path)
      let error = #expect(throws: MedDINOError.self) { try sample.curate(name: "second") }
      #expect(error?.kind == .format && error?.message.contains(path) == true, "\(error?.message ?? "accepted")")
      // The part itself is made again from there.
      try sample.curate(name: "first")
      #expect(try InputFile.contents(path) == whole)
      #expect(try sample.curate(name: "second").manifest.slices.kept == 0)
    }
  }

  @Test func volumesThatBecomeTooLargeAreNamed() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("wide.nii.gz", seed: 1, dims: [24, 20, 3], spacing: [2000, 2000, 3])
      let error = #expect(throws: MedDINOError.self) { try sample.curate() }
      #expect(error?.kind == .unsupported && error?.message.contains("wide.nii.gz: 20 pixels") == true, "\(error?.message ?? "")")
    }
  }

  /// Benchmark test cases under another name, orientation and file ending.
  @Test func imagesStayOutUnderAnyName() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      for number in 0..<3 { try sample.write("v\(number).nii.gz", seed: number) }
      let volume = try CurationSample.volume(seed: 1)
      try makeFolder(root + "/test")
      try NIfTI.write(volume.rearranged(try volume.geometry.orientation().steps(to: .ras)), to: root + "/test/patient.nii")
      var options = CurationSample.options()
      options.excludedImages = [root + "/test"]
      let report = try sample.curate(options)
      #expect(report.cases.map(\.slices.kept) == [6, 0, 6] && report.cases[1].slices.excluded == 6)
      #expect(report.manifest.excludedSlices == 6)
      let whole = try CurationSample.files(sample.set + "/part")
      for stop in [0.1, 0.6, 0.9] {
        let folder = "\(root)/stopped\(stop)"
        #expect(throws: MedDINOError.self) {
          try sample.curate(options, to: folder, control: RunControl { fraction, _ in fraction < stop })
        }
        try sample.curate(options, to: folder)
        #expect(try CurationSample.files(folder + "/part") == whole)
      }
      options.excludedImages = [root + "/nowhere"]
      #expect(throws: MedDINOError.self) { try sample.curate(options, name: "other") }
      try AtomicFile.write([1, 2, 3], to: root + "/test/bad.nii")
      options.excludedImages = [root + "/test/bad.nii"]
      options.badCase = .skip
      #expect(throws: MedDINOError.self) { try sample.curate(options, name: "other") }
    }
  }

  @Test func badVolumesAreNamedOrEndTheRun() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("a.nii.gz", seed: 1)
      try AtomicFile.write(Array("<html>".utf8), to: sample.source + "/page.nii.gz")
      try sample.write("z.nii.gz", seed: 2)
      let whole = try InputFile.contents(sample.source + "/z.nii.gz")
      try AtomicFile.write(Array(whole.dropLast(40)), to: sample.source + "/cut.nii.gz")
      let error = #expect(throws: MedDINOError.self) { try sample.curate() }
      #expect(error?.kind == .format && error?.message.contains("cut.nii.gz") == true)
      var options = CurationSample.options()
      options.badCase = .skip
      let said = Said()
      let report = try sample.curate(options, name: "rest", log: said.log)
      #expect(report.leftOut.map(\.name) == ["cut", "page"] && report.manifest.slices.kept == 12 && report.manifest.leftOut == 2)
      // Where the source lies is not in the set.
      #expect(report.leftOut.allSatisfy { $0.leftOut?.hasPrefix($0.file) == true })
      #expect(said.lines.count == 3 && said.lines[0].contains("part is not finished"))
      #expect(try SliceSet(sample.set + "/rest").count == 12)
    }
  }

  @Test func leavesOutWhatIsNoAxialCT() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      let raw = try CurationSample.volume(seed: 1)
      let voxels = raw.mutableBase.assumingMemoryBound(to: Int16.self)
      for place in 0..<raw.geometry.voxelCount { voxels[place] += 1024 }
      try sample.write("raw.nii", raw)
      let (c, s) = (cos(0.7), sin(0.7))
      try sample.write("tilted.nii", try CurationSample.volume(seed: 2, direction: [1, 0, 0, 0, c, -s, 0, s, c]))
      let channels = try Volume(allocating: .int16, channels: 2, geometry: Geometry(dims: [8, 8, 2]), in: MemoryBudget())
      memset(channels.mutableBase, 0, 8 * 8 * 2 * 2 * 2)
      try sample.write("two.nii", channels)
      var flat = try CurationSample.volume(seed: 3, dims: [24, 20, 1])
      flat.isPlane = true
      try sample.write("flat.nii", flat)
      try sample.write("good.nii", seed: 4)
      let report = try sample.curate()
      let reasons = Dictionary(uniqueKeysWithValues: report.leftOut.map { ($0.name, $0.leftOut ?? "") })
      #expect(reasons["raw"]?.contains("not in HU") == true && reasons["tilted"]?.contains("40.1 degrees") == true)
      #expect(reasons["two"]?.contains("2 channels") == true && reasons["flat"] == "two-dimensional" && reasons.count == 4)
      #expect(report.manifest.slices.kept == 6)
      var options = CurationSample.options()
      options.rules.requiresHounsfield = false
      options.rules.largestTilt = 45
      #expect(try sample.curate(options, name: "all").leftOut.map(\.name) == ["flat", "two"])
    }
  }

  @Test func refusesBadArguments() throws {
    try withTemporaryFolder { root in
      let sample = CurationSample(root: root)
      try sample.write("a.nii", seed: 1)
      for name in ["", "../x", "a/b", ".hidden", String(repeating: "x", count: 65), "ä"] {
        let error = #expect(throws: MedDINOError.self) { try sample.curate(name: name) }
        #expect(error?.kind == .invalid)
      }
      for edit in [{ $0.shardSlices = 0 }, { $0.jobs = -1 }, { $0.rules.size = 3 }] as [(inout CurationOptions) -> Void] {
        var options = CurationSample.options()
        edit(&options)
        let error = #expect(throws: MedDINOError.self) { try sample.curate(options) }
        #expect(error?.kind == .invalid && FileKind.of(sample.set) == .missing)
      }
      try makeFolder(root + "/empty")
      for folders in [[], [root + "/empty"], [root + "/none"], [sample.source, sample.source]] {
        let error = #expect(throws: MedDINOError.self) {
          try Curation.run(CurationSource(name: "p", folders: folders), to: sample.set, pool: ThreadPool(threads: 1), in: MemoryBudget())
        }
        #expect(error?.message.isEmpty == false && FileKind.of(sample.set) == .missing)
      }
      #expect(try CurationSource.name(ofFolder: sample.source) == "source")
    }
  }
}

/// Collects what a log says.
private final class Said: @unchecked Sendable {
  private(set) var lines: [String] = []
  var log: Log { Log(threshold: .warning) { [self] _, message in lines.append(message) } }
}
