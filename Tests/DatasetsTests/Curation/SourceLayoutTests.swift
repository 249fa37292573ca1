import Platform
import Slices
import TestSupport
import Testing

@testable import Datasets

struct SourceLayoutTests {
  @Test func patterns() {
    for (pattern, path, expected) in [
      ("a/b", "a/b", true), ("a/b", "a/c", false), ("a/*", "a/b", true), ("a/*", "a/b/c", false), ("**/b", "b", true),
      ("**/b", "x/y/b", true), ("a/**/b", "a/b", true), ("a/**/b", "a/x/y/b", true), ("a/**", "a/x/y", true), ("a/**", "b/x", false),
      ("img*", "img0001", true), ("img*", "label", false), ("*_0000", "Case_1_0000", true), ("*_0000", "Case_1_0001", false),
      ("*a*b*c", "xxaybzzc", true), ("*a*b*c", "xxaybzzcd", false), ("**", "", true), ("*", "x", true), ("*", "x/y", false),
      ("**/**/x", "x", true), ("", "", true),
    ] {
      #expect(PathPattern(pattern).matches(path) == expected, "\(pattern) \(path)")
    }
    let long = String(repeating: "a", count: 5000)
    #expect(!PathPattern("*a*a*a*a*a*b").matches(long))
  }

  /// Every entry finds the files of its published layout, and no label.
  @Test func catalogueFindsThePublishedLayouts() throws {
    let layouts: [String: (images: [String], others: [String], names: [String])] = [
      "btcv": (
        ["RawData/Training/img/img0001.nii.gz", "RawData/Testing/img/img0061.nii.gz"], ["RawData/Training/label/label0001.nii.gz"],
        ["img0001", "img0061"]
      ),
      "pancreas-ct": (["data/PANCREAS_0001.nii.gz"], ["TCIA_pancreas_labels-02-05-2017/label0001.nii.gz"], ["PANCREAS_0001"]),
      "chaos": (
        ["CHAOS_Train_Sets/Train_Sets/CT/1.nii.gz", "CHAOS_Test_Sets/Test_Sets/CT/2.nii.gz"], ["CHAOS_Train_Sets/Train_Sets/MR/1.nii.gz"],
        ["CHAOS_Test_Sets_Test_Sets_CT_2", "CHAOS_Train_Sets_Train_Sets_CT_1"]
      ),
      "lits": (
        ["Training Batch 1/volume-0.nii", "Training Batch 2/volume-28.nii", "test/test-volume-3.nii"],
        ["Training Batch 1/segmentation-0.nii"], ["test-volume-3", "volume-0", "volume-28"]
      ),
      "kits": (
        ["dataset/case_00000/imaging.nii.gz"],
        ["dataset/case_00000/segmentation.nii.gz", "dataset/case_00000/instances/kidney_instance-1_annotation-1.nii.gz"], ["case_00000"]
      ),
      "word": (
        ["imagesTr/word_0002.nii.gz", "imagesVal/word_0001.nii.gz", "imagesTs/word_0014.nii.gz"],
        ["labelsTr/word_0002.nii.gz", "labelsVal/word_0001.nii.gz"], ["word_0001", "word_0002", "word_0014"]
      ),
      "abdomenct-1k": (["imagesTr/Case_00001_0000.nii.gz"], ["labels/Case_00001.nii.gz"], ["Case_00001"]),
      "amos22": (
        ["imagesTr/amos_0001.nii.gz", "imagesVa/amos_0008.nii.gz", "imagesTs/amos_0500.nii.gz"],
        ["imagesTr/amos_0507.nii.gz", "labelsTr/amos_0001.nii.gz"], ["amos_0001", "amos_0008", "amos_0500"]
      ),
      "ct-org": (["volume-0.nii.gz", "volume-21.nii.gz"], ["labels-0.nii.gz"], ["volume-0", "volume-21"]),
      "totalsegmentator": (["s0000/ct.nii.gz"], ["s0000/segmentations/aorta.nii.gz"], ["s0000"]),
      "abdomenatlas": (
        ["BDMAP_00000001/ct.nii.gz"], ["BDMAP_00000001/segmentations/liver.nii.gz", "BDMAP_00000001/combined_labels.nii.gz"],
        ["BDMAP_00000001"]
      ),
    ]
    #expect(SourceCatalogue.entries.count == 17 && Set(SourceCatalogue.entries.map(\.name)).count == 17)
    for entry in SourceCatalogue.entries {
      let task = String(entry.name.dropFirst(4))
      let layout =
        layouts[entry.name]
        ?? (
          ["T/imagesTr/\(task)_001.nii.gz", "T/imagesTs/\(task)_003.nii.gz"],
          ["T/labelsTr/\(task)_001.nii.gz", "T/imagesTr/._\(task)_001.nii.gz"],
          ["\(task)_001", "\(task)_003"]
        )
      #expect(SliceManifest.isName(entry.name) && !entry.licence.isEmpty && !entry.description.isEmpty)
      try withTemporaryFolder { root in
        for file in layout.images + layout.others {
          let path = root + "/" + file
          try makeFolder(path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/"))
          try AtomicFile.write([1], to: path)
        }
        let listing = try SourceListing([root], layout: entry.layout, reader: ImageVolumeReader())
        #expect(listing.volumes.map(\.name) == layout.names && Set(listing.volumes.map(\.file)) == Set(layout.images), "\(entry.name)")
        #expect(listing.passedOver == layout.others.count { !$0.contains("._") }, "\(entry.name)")
      }
    }
  }

  @Test func anyLayoutPassesOverLabels() throws {
    try withTemporaryFolder { root in
      for file in [
        "a.nii", "x/b.nii.gz", "labelsTr/b.nii.gz", "x/label_b.nii", "x/b_seg.nii.gz", "masks/c.nii", "note.txt", ".hidden/d.nii",
      ] {
        let path = root + "/" + file
        try makeFolder(path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/"))
        try AtomicFile.write([1], to: path)
      }
      let listing = try SourceListing([root], layout: .anything, reader: ImageVolumeReader())
      #expect(listing.volumes.map(\.name) == ["a", "x_b"] && listing.passedOver == 4)
      try AtomicFile.write([1], to: root + "/x_b.nii")
      let error = #expect(throws: MedDINOError.self) { try SourceListing([root], layout: .anything, reader: ImageVolumeReader()) }
      #expect(error?.message.contains("a second volume \"x_b\"") == true)
    }
  }
}

struct DigestSetTests {
  @Test func agreesWithASet() throws {
    var random = SeededGenerator(3)
    var set = try DigestSet(in: MemoryBudget())
    var expected: Set<SliceDigest> = []
    for step in 0..<20_000 {
      // Few low bits, so that places collide; zeros among them.
      let digest = SliceDigest(
        high: UInt64(Int.random(in: 0...50, using: &random)), low: UInt64(Int.random(in: 0...200, using: &random)) << (step % 3 * 8))
      #expect(set.contains(digest) == expected.contains(digest))
      try set.insert(digest)
      expected.insert(digest)
    }
    #expect(set.count == expected.count && set.count > 5000)
    for digest in expected { #expect(set.contains(digest)) }
  }

  @Test func growthCanFail() throws {
    let budget = MemoryBudget(limit: 40_000)
    var set = try DigestSet(in: budget)
    var failure: MedDINOError?
    for number in 1...2000 {
      do throws(MedDINOError) { try set.insert(SliceDigest(high: 1, low: UInt64(number))) } catch {
        failure = error
        break
      }
    }
    #expect(failure?.kind == .outOfMemory)
  }
}
