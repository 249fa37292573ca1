import FineTuning
import Glibc
import Platform
import TestSupport
import Testing
import WeightFiles

@Suite struct RawDatasetTests {
  @Test func byScan() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder, cases: 3)
      // Files of another ending are none of the dataset's.
      try AtomicFile.write([1], to: small.folder + "/imagesTr/notes.txt")
      let raw = try RawDataset(small.folder + "/")
      #expect(raw.name == "Dataset900_Phantom")
      #expect(raw.cases.map(\.identifier) == ["phantom_000", "phantom_001", "phantom_002"])
      #expect(raw.cases[1].images == [small.image(1)] && raw.cases[1].label == small.label(1))
    }
  }

  @Test func byList() throws {
    try withTemporaryFolder { folder in
      let small = try SmallDataset(in: folder, cases: 3)
      try small.describe { root in
        root["numTraining"] = .integer(2)
        root["dataset"] = .object(
          ("zeta", .object(("images", .array([.string("imagesTr/phantom_002_0000.nii")])), ("label", .string(small.label(2))))),
          ("alpha", .object(("images", .array([.string(small.image(0))])), ("label", .string("labelsTr/phantom_000.nii")))))
      }
      let raw = try RawDataset(small.folder)
      #expect(raw.cases.map(\.identifier) == ["alpha", "zeta"])
      #expect(raw.cases[0].images == [small.image(0)] && raw.cases[1].label == small.label(2))
      let survey = try DatasetSurvey(raw, options: small.quick, pool: pool(), in: MemoryBudget())
      #expect(survey.problems.isEmpty, "\(survey.problems)")
      let folders: [JSON] = [.object(("../x", .object(("images", .array([.string("a")])), ("label", .string("b"))))), .array([])]
      for bad in folders {
        try small.describe { $0["dataset"] = bad }
        #expect(throws: MedDINOError.self) { try RawDataset(small.folder) }
      }
    }
  }

  @Test func byNumberAndName() throws {
    try withTemporaryFolder { folder in
      for name in ["raw/Dataset007_Organs", "raw/Dataset070_Other", "done/Dataset007_Organs"] { try makeFolder(folder + "/" + name) }
      let raw = folder + "/raw"
      #expect(try RawDataset.locate("7", raw: raw, others: [folder + "/done"]) == raw + "/Dataset007_Organs")
      #expect(try RawDataset.locate("Dataset070_Other", raw: raw) == raw + "/Dataset070_Other")
      #expect(throws: MedDINOError.self) { try RawDataset.locate("8", raw: raw) }
      try makeFolder(folder + "/done/Dataset007_Bones")
      let error = #expect(throws: MedDINOError.self) { try RawDataset.locate("7", raw: raw, others: [folder + "/done"]) }
      #expect(error?.message.contains("Dataset007_Bones, Dataset007_Organs") == true)
    }
  }
}
