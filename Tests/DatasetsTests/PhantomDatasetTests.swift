import Datasets
import Imaging
import Platform
import TestSupport
import Testing

struct PhantomDatasetTests {
  private func options() -> PhantomOptions {
    var options = PhantomOptions()
    options.cases = 2
    options.testCases = 1
    options.datasetID = 7
    options.name = "Torso"
    options.matrix = 20...24
    options.slices = 10...12
    options.spacing = 6...7
    options.sliceSpacing = 8...10
    return options
  }

  @Test(arguments: VolumeFile.singleFileEndings)
  func writesAnNNUNetRawDataset(_ ending: String) throws {
    try withTemporaryFolder { folder in
      var options = options()
      options.fileEnding = ending
      let root = try Phantom.writeDataset(to: folder + "/raw", options: options, in: MemoryBudget())
      #expect(root == folder + "/raw/Dataset007_Torso")
      #expect(try folderEntries(root) == ["dataset.json", "imagesTr", "imagesTs", "labelsTr", "labelsTs"])
      #expect(try folderEntries(root + "/imagesTr") == ["phantom_000_0000\(ending)", "phantom_001_0000\(ending)"])
      #expect(try folderEntries(root + "/labelsTr") == ["phantom_000\(ending)", "phantom_001\(ending)"])
      #expect(try folderEntries(root + "/imagesTs") == ["phantom_002_0000\(ending)"])
      #expect(try folderEntries(root + "/labelsTs") == ["phantom_002\(ending)"])
      let text = String(decoding: try InputFile.contents(root + "/dataset.json"), as: UTF8.self)
      #expect(text.contains("\"numTraining\": 2"))
      #expect(text.contains("\"file_ending\": \"\(ending)\""))
      #expect(text.contains("\"0\": \"CT\""))
      #expect(text.contains("\"background\": 0") && text.contains("\"urinary_bladder\": 8"))
    }
  }

  @Test func filesHoldTheCases() throws {
    try withTemporaryFolder { folder in
      let options = options()
      let budget = MemoryBudget()
      let root = try Phantom.writeDataset(to: folder, options: options, in: budget)
      for index in 0..<2 {
        let made = try Phantom.makeCase(index: index, options: options, in: budget)
        let image = try NIfTI.read("\(root)/imagesTr/phantom_00\(index)_0000.nii.gz", in: budget)
        let labels = try NIfTI.read("\(root)/labelsTr/phantom_00\(index).nii.gz", in: budget)
        #expect(image.dtype == .int16 && labels.dtype == .uint8)
        #expect(image.geometry.dims == made.image.geometry.dims)
        for (got, expected) in [
          (image.geometry.spacing, made.image.geometry.spacing), (image.geometry.origin, made.image.geometry.origin),
          (image.geometry.direction, made.image.geometry.direction),
          (labels.geometry.direction, made.image.geometry.direction),
        ] {
          #expect(zip(got, expected).allSatisfy { abs($0 - $1) < 1e-4 })
        }
        let dims = image.geometry.dims
        var same = true
        for z in 0..<dims[2] {
          for y in 0..<dims[1] {
            for x in 0..<dims[0] {
              same =
                same && image.value(x, y, z) == made.image.value(x, y, z)
                && labels.value(x, y, z) == made.labels.value(x, y, z)
            }
          }
        }
        #expect(same)
      }
    }
  }

  @Test func doesNotMixWithAnEarlierDataset() throws {
    try withTemporaryFolder { folder in
      try Phantom.writeDataset(to: folder, options: options(), in: MemoryBudget())
      #expect(throws: MedDINOError.self) {
        try Phantom.writeDataset(to: folder, options: options(), in: MemoryBudget())
      }
    }
  }

  @Test func cancelsAndLeavesNoDataset() throws {
    try withTemporaryFolder { folder in
      var seen: [Double] = []
      let control = RunControl { fraction, _ in
        seen.append(fraction)
        return fraction < 0.4
      }
      let error = #expect(throws: MedDINOError.self) {
        try Phantom.writeDataset(to: folder, options: options(), in: MemoryBudget(), control: control)
      }
      #expect(error?.kind == .cancelled)
      #expect(seen == seen.sorted())
      #expect(FileKind.of(folder + "/Dataset007_Torso/dataset.json") == .missing)
    }
  }

  @Test func progressReachesTheEnd() throws {
    try withTemporaryFolder { folder in
      var last = 0.0
      let control = RunControl { fraction, _ in
        last = fraction
        return true
      }
      var options = options()
      options.testLabels = false
      let root = try Phantom.writeDataset(to: folder, options: options, in: MemoryBudget(), control: control)
      #expect(last > 0.85)
      #expect(FileKind.of(root + "/labelsTs") == .missing)
    }
  }
}
