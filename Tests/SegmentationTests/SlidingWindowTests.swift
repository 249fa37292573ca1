import Platform
import Tensors
import Testing

@testable import Segmentation

@Suite struct SlidingWindowTests {
  @Test func evenlySpread() throws {
    #expect(try SlidingWindow.axis(size: 10, tile: 4, step: 0.5).starts == [0, 2, 4, 6])
    #expect(try SlidingWindow.axis(size: 11, tile: 4, step: 1).starts == [0, 4, 7])
    #expect(try SlidingWindow.axis(size: 4, tile: 4, step: 0.5).starts == [0])
  }

  @Test func smallImagesArePadded() throws {
    let axis = try SlidingWindow.axis(size: 7, tile: 10, step: 0.5)
    #expect(axis.padLow == 1)
    #expect(axis.paddedSize == 10)
    #expect(axis.starts == [0])
    #expect(axis.startsTouching(0..<1) == [0])
  }

  @Test func tilesOfARegion() throws {
    let axis = try SlidingWindow.axis(size: 10, tile: 4, step: 0.5)
    #expect(axis.startsTouching(3..<4) == [0, 2])
    #expect(axis.startsTouching(9..<10) == [6])
    #expect(axis.startsTouching(0..<10) == axis.starts)
    for pixel in 0..<10 {
      #expect(axis.startsTouching(pixel..<pixel + 1) == axis.starts.filter { $0 <= pixel && pixel < $0 + 4 })
    }
  }

  @Test(arguments: [0, -0.5, 1.5, Double.nan, .infinity, 1e-300]) func badSteps(_ step: Double) {
    #expect(throws: MedDINOError.self) { try SlidingWindow.axis(size: 100, tile: 10, step: step) }
  }
  @Test func badExtents() {
    #expect(throws: MedDINOError.self) { try SlidingWindow.axis(size: 0, tile: 10, step: 0.5) }
    #expect(throws: MedDINOError.self) { try SlidingWindow.axis(size: Int.max, tile: 1, step: 1) }
  }

  @Test func importancePeaksAtTheCentre() throws {
    let map = try GaussianImportance.map(rows: 9, columns: 6, in: MemoryBudget()).floatArray()
    #expect(map[4 * 6 + 3] == 10)
    #expect(map.allSatisfy { $0 > 0 && $0 <= 10 })
    #expect(map[0] < map[4 * 6])
    #expect(map[3 * 6 + 2] == map[5 * 6 + 4])
  }

  @Test func mirrorings() throws {
    #expect(try Mirroring.all(axes: []).count == 1)
    #expect(try Mirroring.all(axes: [1]) == [Mirroring(rows: false, columns: false), Mirroring(rows: false, columns: true)])
    let all = try Mirroring.all(axes: [1, 0])
    #expect(all.map { [$0.rows, $0.columns] } == [[false, false], [true, false], [false, true], [true, true]])
    #expect(throws: MedDINOError.self) { try Mirroring.all(axes: [2]) }
  }
}
