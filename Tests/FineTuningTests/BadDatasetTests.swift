import FineTuning
import Glibc
import Platform
import TestSupport
import Testing
import WeightFiles

/// Everything that can be wrong with a dataset is named in one clear message, and nothing is written.
@Suite struct BadDatasetTests {
  /// The problems of a dataset of 5 cases after `spoil`.
  private func problems(cases: Int = 5, _ spoil: (SmallDataset) throws -> Void) throws -> [DatasetProblem] {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder, cases: cases)
      try spoil(small)
      var options = DatasetPlanning.Options()
      options.upscale = 32
      options.samples = 50_000
      let report = try DatasetPlanning.run(small.folder, to: folder + "/out", options: options, pool: pool(), in: MemoryBudget())
      #expect(FileKind.of(folder + "/out") == .missing, "a bad dataset must leave nothing")
      #expect(report.preprocessed.isEmpty)
      return report.problems
    }
  }
  /// One problem, whose text holds all of `parts`.
  private func expectOne(
    _ kind: DatasetProblem.Kind, _ parts: [String], cases: Int = 5, spoil: (SmallDataset) throws -> Void
  ) throws {
    let found = try problems(cases: cases, spoil)
    #expect(found.map(\.kind) == [kind], "\(found)")
    let text = found.first?.description ?? ""
    for part in parts { #expect(text.contains(part), "\"\(part)\" is not in: \(text)") }
    #expect(!text.contains("\n"))
  }

  @Test func missingLabel() throws {
    try expectOne(.missingLabel, ["case phantom_002", "labelsTr/phantom_002.nii", "missing"]) { unlink($0.label(2)) }
  }
  @Test func missingChannel() throws {
    let found = try problems { small in
      try small.describe { $0["channel_names"] = .object(("0", .string("CT")), ("1", .string("T1"))) }
      for index in 0..<5 where index != 3 { try AtomicFile.copy(small.image(index), to: small.image(index, channel: 1)) }
    }
    #expect(found.map(\.kind) == [.missingChannel] && found[0].identifier == "phantom_003", "\(found)")
    #expect(found[0].message.contains("1 channel") && found[0].message.contains("declares 2"), "\(found)")
  }
  @Test func misnamedChannel() throws {
    try expectOne(.missingChannel, ["case phantom_00", "no channel file"], cases: 4) { small in
      try AtomicFile.copy(small.image(0), to: small.folder + "/imagesTr/phantom_00_abcd.nii")
      try AtomicFile.copy(small.label(0), to: small.folder + "/labelsTr/phantom_00.nii")
      try small.describe { $0["numTraining"] = .integer(5) }
    }
  }
  @Test func shapeMismatch() throws {
    try expectOne(.shape, ["case phantom_001", "labels", "[24, 24, 5]", "[24, 24, 4]"]) {
      try $0.rewrite($0.label(1), geometry: { $0.dims[2] = 5 })
    }
  }
  @Test func spacingMismatch() throws {
    try expectOne(.spacing, ["case phantom_001", "labels", "15.0", "14.0"]) {
      try $0.rewrite($0.label(1), geometry: { $0.spacing[0] = 15 })
    }
  }
  @Test func channelsOfOtherGrids() throws {
    let found = try problems { small in
      try small.describe { $0["channel_names"] = .object(("0", .string("CT")), ("1", .string("T1"))) }
      for index in 0..<5 { try AtomicFile.copy(small.image(index), to: small.image(index, channel: 1)) }
      try small.rewrite(small.image(1, channel: 1), geometry: { $0.spacing[2] = 49 })
      try small.rewrite(small.image(2, channel: 1), geometry: { $0.dims[0] = 23 })
    }
    #expect(found.map(\.kind) == [.spacing, .shape], "\(found)")
    #expect(found[0].description.hasPrefix("case phantom_001: channel 1: spacing [14.0, 14.0, 49.0] mm"), "\(found)")
    #expect(found[1].description.hasPrefix("case phantom_002: channel 1: shape [23, 24, 4]"), "\(found)")
  }
  @Test func unknownLabel() throws {
    try expectOne(.unknownLabel, ["case phantom_004", "9.0 (2 voxels)", "declares 0, 1, 2, 3"]) {
      try $0.revalue($0.label(4)) { $0 < 2 ? 9 : $1 }
    }
  }
  @Test func fractionalLabel() throws {
    try expectOne(.unknownLabel, ["case phantom_004", "0.5 (1 voxels)"]) { try $0.revalue($0.label(4)) { $0 < 1 ? 0.5 : $1 } }
  }
  @Test func notANumberInImage() throws {
    try expectOne(.nonFinite, ["case phantom_000", "channel 0", "NaN", "3 voxels"]) {
      try $0.revalue($0.image(0)) { $0 < 3 ? .nan : $1 }
    }
  }
  @Test func notANumberInLabels() throws {
    try expectOne(.nonFinite, ["case phantom_000", "labels", "NaN", "3 voxels"]) { try $0.revalue($0.label(0)) { $0 < 3 ? .nan : $1 } }
  }
  @Test func wrongCount() throws {
    try expectOne(.trainingCount, ["numTraining is 7", "5 training cases"]) { try $0.describe { $0["numTraining"] = .integer(7) } }
  }
  @Test func oneCase() throws {
    try expectOne(.singleCase, ["only one training case", "phantom_000"], cases: 1) { _ in }
  }
  @Test func noForegroundAnywhere() throws {
    try expectOne(.emptyForeground, ["no case has foreground", "5 cases"]) { small in
      for index in 0..<5 { try small.revalue(small.label(index)) { _, _ in 0 } }
    }
  }
  @Test func unreadable() throws {
    try expectOne(.unreadable, ["case phantom_002", "imagesTr/phantom_002_0000.nii", "cannot be read"]) {
      let bytes = try InputFile.contents($0.image(2))
      try AtomicFile.write(Array(bytes.prefix(bytes.count / 2)), to: $0.image(2))
    }
  }
  @Test func missingKey() throws {
    try expectOne(.description, ["dataset.json", "file_ending"]) { small in
      // The default ending is .nii.gz: give the files that.
      try small.describe { $0["file_ending"] = nil }
      for index in 0..<5 {
        rename(small.image(index), small.image(index) + ".gz")
        rename(small.label(index), small.label(index) + ".gz")
      }
    }
  }
  /// A region with the background in it can be planned and learned, but nothing scores it.
  @Test func regionsWithTheBackground() throws {
    try expectOne(.description, ["dataset.json", "whole is [0, 1, 2, 3]", "without the background"]) {
      try $0.describe {
        $0["labels"] = .object(
          ("background", .integer(0)), ("whole", .integers([0, 1, 2, 3])), ("some", .integers([2, 3])), ("last", .integer(3)))
        $0["regions_class_order"] = .integers([1, 2, 3])
      }
    }
  }
  @Test func endlessSpacing() throws {
    try expectOne(.spacing, ["case phantom_003", "image", "e+30", "below 1e9"]) {
      try $0.rewrite($0.image(3), geometry: { $0.spacing[0] = 1e30 })
      try $0.rewrite($0.label(3), geometry: { $0.spacing[0] = 1e30 })
    }
  }
  @Test func foldersAndPipesInPlaceOfFiles() throws {
    let found = try problems { small in
      for path in [small.image(1), small.label(2), small.label(4)] { unlink(path) }
      try makeFolder(small.image(1))
      try makeFolder(small.label(2))
      mkfifo(small.label(4), 0o600)
    }
    #expect(found.map(\.kind) == [.missingChannel, .missingLabel, .missingLabel], "\(found)")
    guard found.count == 3 else { return }
    #expect(found[0].message.hasSuffix("phantom_001_0000.nii is a folder, expected a file"), "\(found)")
    #expect(found[1].message.hasSuffix("phantom_002.nii is a folder, expected a file"), "\(found)")
    #expect(found[2].message.hasSuffix("phantom_004.nii is a device or pipe, expected a file"), "\(found)")
  }
  /// There is foreground, but only where the image is 0, which training never sees.
  @Test func foregroundInTheMargin() throws {
    let error = #expect(throws: MedDINOError.self) {
      try problems { small in
        for index in 0..<5 {
          try small.revalue(small.image(index)) { place, value in place % 24 < 12 ? 0 : value == 0 ? 1 : value }
          try small.revalue(small.label(index)) { place, _ in place % 24 < 6 ? 1 : 0 }
        }
      }
    }
    #expect(error?.kind == .invalid && error?.message.contains("no case has foreground where its image is not 0") == true)
  }
  @Test func severalAtOnce() throws {
    let found = try problems { small in
      unlink(small.label(0))
      try small.revalue(small.image(1)) { $0 == 0 ? .infinity : $1 }
      try small.revalue(small.label(3)) { $0 == 0 ? 200 : $1 }
      try small.describe { $0["numTraining"] = .integer(4) }
    }
    #expect(found.map(\.kind) == [.trainingCount, .missingLabel, .nonFinite, .unknownLabel], "\(found)")
    #expect(found.map(\.identifier) == [nil, "phantom_000", "phantom_001", "phantom_003"])
  }

  @Test func gapInLabels() throws {
    let error = try failure {
      try $0.describe { $0["labels"] = .object(("background", .integer(0)), ("a", .integer(1)), ("b", .integer(3))) }
    }
    #expect(error?.kind == .format)
    #expect(error?.message.contains("[0, 1, 3], expected consecutive") == true, "\(error?.message ?? "")")
  }
  @Test func noDescription() throws {
    let error = try failure { unlink($0.folder + "/dataset.json") }
    #expect(error?.kind == .io && error?.message.contains("dataset.json: missing") == true, "\(error?.message ?? "")")
  }
  @Test func otherFormat() throws {
    let error = try failure { try $0.describe { $0["file_ending"] = .string(".png") } }
    #expect(error?.kind == .unsupported && error?.message.contains("\".png\"") == true, "\(error?.message ?? "")")
  }
  private func failure(_ spoil: (SmallDataset) throws -> Void) throws -> MedDINOError? {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      try spoil(small)
      do {
        _ = try RawDataset(small.folder)
        return nil
      } catch let error as MedDINOError { return error }
    }
  }

  @Test func otherPlaceOnlyWarns() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      try small.rewrite(small.label(1), geometry: { $0.origin[2] += 3 })
      try small.revalue(small.label(2)) { _, _ in 0 }
      try AtomicFile.copy(small.label(0), to: small.folder + "/labelsTr/stranger.nii")
      let survey = try DatasetSurvey(RawDataset(small.folder), options: small.quick, pool: pool(), in: MemoryBudget())
      #expect(survey.problems.isEmpty && survey.fingerprint != nil, "\(survey.problems)")
      #expect(survey.warnings.count == 3, "\(survey.warnings)")
      #expect(survey.warnings[0].contains("phantom_001: labels: origin"))
      #expect(survey.warnings[1].contains("phantom_002: no foreground"))
      #expect(survey.warnings[2].contains("stranger.nii"))
    }
  }

  @Test func messageIsCutAtItsLimit() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder)
      for index in 0..<5 { unlink(small.label(index)) }
      let survey = try DatasetSurvey(RawDataset(small.folder), options: small.quick, pool: pool(), in: MemoryBudget())
      let error = #expect(throws: MedDINOError.self) { try survey.requireNoProblems("x", limit: 2) }
      let message = error?.message ?? ""
      #expect(message.contains("5 problems") && message.contains("and 3 more"), "\(message)")
      #expect(message.contains("phantom_001") && !message.contains("phantom_002"))
    }
  }
}
