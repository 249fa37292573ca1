import MedDINO
import Platform
import TestSupport
import Testing

@Suite struct DatasetPreparationTests {
  @Test func datasetByNumber() throws {
    try withTemporaryFolder { folder in
      try makeFolder(folder + "/Dataset007_Organs")
      #expect(
        try DatasetPreparation.locate("7", in: folder, named: "nnUNet_preprocessed") == folder + "/Dataset007_Organs"
          && DatasetPreparation.locate(folder, in: nil, named: "nnUNet_raw") == folder)
      let unset = failure { _ = try DatasetPreparation.locate("7", in: nil, named: "nnUNet_preprocessed") }
      #expect(unset.contains("dataset \"7\": no such folder") && unset.contains("nnUNet_preprocessed is not set"))
    }
  }
}
