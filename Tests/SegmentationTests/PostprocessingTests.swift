import Imaging
import Platform
import Segmentation
import Tensors
import TestSupport
import Testing
import WeightFiles

struct PostprocessingTests {
  private let name = Postprocessing.functionName

  private func parse(_ kwargs: String, names: Int = 1) throws(MedDINOError) -> Postprocessing {
    let list = Array(repeating: "\"\(name)\"", count: names).joined(separator: ", ")
    return try Postprocessing.parse(Array("{\"postprocessing_fns\": [\(list)], \"postprocessing_kwargs\": \(kwargs), \"x\": 1}".utf8))
  }

  @Test func formsOfLabelsAndRegions() throws {
    let cases: [(String, [Int], Bool)] = [
      ("2", [2], false), ("[1, 2, 3]", [1, 2, 3], true), ("[2]", [2], true), ("[[1, 2], 4]", [1, 2, 4], true), ("3.0", [3], false),
    ]
    for (text, values, isList) in cases {
      let found = try parse("[{\"labels_or_regions\": \(text), \"background_label\": 0}]")
      #expect(found.steps == [.init(values: values, isList: isList)])
      #expect(try Postprocessing(.object(JSONObject(found.entries))) == found)
    }
    #expect(Postprocessing().entries.map { $0.1 } == [.array([]), .array([])])
    #expect(try parse("[]", names: 0).steps.isEmpty)
  }

  @Test func faultsAreNamed() {
    for (kwargs, word) in [
      ("[{}]", "labels_or_regions"), ("[{\"labels_or_regions\": []}]", "empty"), ("[{\"labels_or_regions\": \"liver\"}]", "liver"),
      ("[{\"labels_or_regions\": -1}]", "-1"), ("[{\"labels_or_regions\": 1, \"background_label\": 3}]", "background_label"),
      ("[{\"labels_or_regions\": 1, \"connectivity\": 6}]", "connectivity"), ("[]", "entries"), ("7", "postprocessing_kwargs"),
      ("[{\"labels_or_regions\": [[[1]]]}]", "lists"),
    ] {
      do throws(MedDINOError) {
        _ = try parse(kwargs)
        Issue.record("accepted \(kwargs)")
      } catch { #expect(error.message.contains(word), "\(error.message)") }
    }
    #expect(throws: MedDINOError.self) {
      try Postprocessing.parse(Array("{\"postprocessing_fns\": [\"fill_holes\"], \"postprocessing_kwargs\": [{}]}".utf8))
    }
  }

  @Test func stepsRunInOrder() throws {
    // Two lumps of 1 and 2; the larger lump of both together is not the larger one of label 2 alone.
    let row: [UInt8] = [1, 1, 1, 2, 0, 2, 2, 0]
    let budget = MemoryBudget()
    let pool = try ThreadPool(threads: 1)
    func after(_ steps: [[Int]]) throws -> [UInt8] {
      let volume = try Volume(allocating: .uint8, geometry: Geometry(dims: [8, 1, 1]), in: budget)
      volume.mutableBase.copyMemory(from: row, byteCount: 8)
      try Postprocessing(steps: steps.map { .init(values: $0, isList: true) }).apply(to: volume, pool: pool, in: budget)
      return (0..<8).map { UInt8(volume.value($0, 0, 0)) }
    }
    #expect(try after([[1, 2], [2]]) == [1, 1, 1, 2, 0, 0, 0, 0])
    #expect(try after([[2], [1, 2]]) == [1, 1, 1, 0, 0, 0, 0, 0])
    #expect(try after([]) == row)
  }
}
