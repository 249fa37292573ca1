import Imaging
import Platform
import Segmentation
import Tensors
import TestSupport
import Testing

struct ProbabilityEnsembleTests {
  let budget = MemoryBudget()
  let pool: ThreadPool
  init() throws { pool = try ThreadPool(threads: 2) }

  private func scheme(_ labels: [(String, [Int])], order: [Int]? = nil) throws -> LabelScheme {
    let all =
      [DatasetDescription.Label(name: "background", values: [0], isList: false)]
      + labels.map { .init(name: $0.0, values: $0.1, isList: $0.1.count > 1) }
    return try LabelScheme(DatasetDescription(channelNames: ["CT"], labels: all, regionsClassOrder: order))
  }

  /// One map: `values[channel][voxel]` along x.
  private func map(_ values: [[Float]]) throws -> Volume {
    let volume = try Volume(allocating: .float32, channels: values.count, geometry: Geometry(dims: [values[0].count, 1, 1]), in: budget)
    volume.mutableBase.copyMemory(from: values.flatMap { $0 }, byteCount: 4 * values.count * values[0].count)
    return volume
  }

  private func decode(_ maps: [Volume], _ scheme: LabelScheme) throws(MedDINOError) -> [Int] {
    let labels = try Volume(allocating: .uint8, geometry: maps[0].geometry, in: budget)
    try ProbabilityEnsemble.decode(maps, scheme: scheme, into: labels, pool: pool, in: budget)
    return (0..<labels.geometry.dims[0]).map { Int(labels.value($0, 0, 0)) }
  }

  @Test func theFirstLargestMeanWins() throws {
    let scheme = try scheme([("a", [1]), ("b", [2])])
    let first = try map([[0.6, 0.4, 0.2, 0.5], [0.3, 0.4, 0.2, 0.25], [0.1, 0.2, 0.6, 0.25]])
    let second = try map([[0.1, 0.4, 0.5, 0.0], [0.8, 0.4, 0.5, 0.5], [0.1, 0.2, 0.0, 0.5]])
    #expect(try decode([first], scheme) == [0, 0, 2, 0])
    #expect(try decode([first, second], scheme) == [1, 0, 0, 1])
  }

  @Test func laterRegionsCoverEarlierOnesAndOneHalfIsOff() throws {
    let scheme = try scheme([("whole", [1, 2]), ("core", [2])], order: [1, 2])
    let first = try map([[0.9, 0.5, 0.2, 0.7], [0.1, 0.1, 0.9, 0.8]])
    let second = try map([[0.3, 0.5, 0.2, 0.7], [0.1, 0.1, 0.3, 0.1]])
    #expect(try decode([first], scheme) == [1, 0, 2, 2])
    #expect(try decode([first, second], scheme) == [1, 0, 2, 1])
  }

  @Test func faultsAreNamed() throws {
    let scheme = try scheme([("a", [1])])
    let good = try map([[0.5, 0.5], [0.5, 0.5]])
    for (bad, word) in [(try map([[1, 0]]), "maps[1]"), (try map([[1], [0]]), "maps[1]"), (try map([[1, .nan], [0, 0]]), "NaN")] {
      do throws(MedDINOError) {
        _ = try decode([good, bad], scheme)
        Issue.record("accepted a map with \(word)")
      } catch { #expect(error.message.contains(word), "\(error.message)") }
    }
  }
}
