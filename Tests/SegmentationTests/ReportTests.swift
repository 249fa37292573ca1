import Imaging
import Platform
import Tensors
import Testing

@testable import Segmentation

@Suite struct ReportTests {
  private func channel(_ low: Float, _ high: Float, distinct: Int = 3) -> CaseScan.Channel {
    var result = CaseScan.Channel()
    result.lowest = low
    result.highest = high
    result.distinctValues = distinct
    return result
  }

  @Test func intensitiesThatAreNoHounsfieldUnits() {
    #expect(InputWarnings.intensities(0, channel(-1024, 1500)).isEmpty)
    #expect(InputWarnings.intensities(0, channel(0, 255))[0].contains("8-bit"))
    #expect(InputWarnings.intensities(0, channel(0, 4095))[0].contains("nothing below 0"))
    #expect(InputWarnings.intensities(0, channel(-1, 1))[0].contains("normalised"))
    #expect(InputWarnings.intensities(0, channel(-1e6, 1500))[0].contains("far outside"))
    #expect(InputWarnings.intensities(0, channel(-1000, 40, distinct: 2))[0].contains("only 2 different values"))
  }

  @Test func oddGeometry() throws {
    let configuration = try testPlan().configuration("2d")
    #expect(InputWarnings.spacing([2, 0.8, 0.8], configuration).isEmpty)
    #expect(InputWarnings.spacing([9, 0.8, 0.8], configuration)[0].contains("anisotropic"))
    #expect(InputWarnings.spacing([0.08, 0.3, 0.3], configuration)[0].contains("unusual"))
    #expect(InputWarnings.spacing([5, 2.5, 2.5], configuration)[0].contains("differs more than 3 times"))
    #expect(InputWarnings.geometry(Geometry(dims: [1, 1, 1])).isEmpty)
    #expect(!InputWarnings.geometry(Geometry(dims: [1, 1, 1], direction: [1, 0.2, 0, 0, 1, 0, 0, 0, 1])).isEmpty)
    #expect(!InputWarnings.geometry(Geometry(dims: [1, 1, 1], direction: [1, .nan, 0, 0, 1, 0, 0, 0, 1])).isEmpty)
  }

  @Test func warningsAreOneLine() throws {
    let budget = MemoryBudget()
    let volume = try testVolume([12, 12, 2], spacing: [9, 9, 0.05], in: budget)
    let plan = try testPlan()
    let job = try VolumeSegmentation(
      plan: plan, configuration: plan.configuration("2d"), scheme: testScheme(), networks: [ConstantNetwork([1, 0, 0])])
    let report = try job.run([volume], labels: labelVolume(like: volume, in: budget), pool: testPool, in: budget)
    #expect(report.warnings.contains("no foreground was found"))
    #expect(report.warnings.count >= 3)
    #expect(report.warnings.allSatisfy { !$0.contains("\n") && !$0.isEmpty })
  }

  @Test func countsAndBorders() {
    let outputs = [LabelScheme.Output(name: "a", value: 1), LabelScheme.Output(name: "b", value: 2)]
    var counter = LabelCounter(largest: 2, shape: [3, 4, 5])
    counter.add([0, 1, 1, 0, 0], count: 5, slice: 1, row: 1, column: 0)
    counter.add([0, 2], count: 2, slice: 1, row: 2, column: 3)
    let found = counter.labels(outputs, voxelMillilitres: 0.006)
    #expect(found.map(\.voxels) == [2, 1])
    #expect(found.map(\.touchesBorder) == [false, true])
    #expect(abs(found[0].millilitres - 0.012) < 1e-12)
    var flat = LabelCounter(largest: 2, shape: [1, 4, 5])
    flat.add([1], count: 1, slice: 0, row: 1, column: 1)
    flat.add([2], count: 1, slice: 0, row: 3, column: 1)
    #expect(flat.labels(outputs, voxelMillilitres: 1).map(\.touchesBorder) == [false, true])
  }
}
