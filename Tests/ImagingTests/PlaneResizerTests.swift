import Platform
import Tensors
import TestSupport
import Testing

@testable import Imaging

@Suite struct PlaneResizerTests {
  private func resize(
    _ plane: [Float], _ rows: Int, _ columns: Int, _ toRows: Int, _ toColumns: Int, order: Int, clip: ClosedRange<Float>? = nil
  ) throws -> [Float] {
    let resizer = try PlaneResizer(rows: rows, columns: columns, toRows: toRows, toColumns: toColumns, order: order)
    var out = [Float](repeating: .nan, count: toRows * toColumns)
    var scratch = [Double](repeating: .nan, count: resizer.scratchDoubles)
    resizer.resize(plane, clip: clip, into: &out, scratch: &scratch)
    return out
  }

  @Test func sameSizeCopies() throws {
    var random = SeededGenerator(1)
    let plane = random.floats(6 * 5)
    for order in [0, 1, 3] { #expect(try resize(plane, 6, 5, 6, 5, order: order, clip: -0.1...0.1) == plane) }
  }

  @Test(arguments: [0, 1, 3]) func constantStaysConstant(order: Int) throws {
    for (rows, columns, toRows, toColumns) in [(1, 1, 5, 7), (3, 9, 14, 2), (40, 31, 31, 40), (2, 2, 2, 9)] {
      let out = try resize([Float](repeating: 7.25, count: rows * columns), rows, columns, toRows, toColumns, order: order)
      #expect(out.allSatisfy { ($0 - 7.25).magnitude < 1e-5 })
    }
  }

  @Test(arguments: [0, 1, 3]) func transposingCommutes(order: Int) throws {
    var random = SeededGenerator(2)
    let plane = random.floats(13 * 8)
    let transposed: [Float] = (0..<104).map { (index: Int) -> Float in
      let (row, column) = (index % 13, index / 13)
      return plane[row * 8 + column]
    }
    let out = try resize(plane, 13, 8, 20, 5, order: order)
    let other = try resize(transposed, 8, 13, 5, 20, order: order)
    for row in 0..<20 {
      for column in 0..<5 { #expect((out[row * 5 + column] - other[column * 20 + row]).magnitude < 1e-6) }
    }
  }

  @Test(arguments: [0, 1, 3]) func mirroringCommutes(order: Int) throws {
    var random = SeededGenerator(3)
    let plane = random.floats(9 * 12)
    let mirrored: [Float] = (0..<108).map { (index: Int) -> Float in
      let (row, column) = (index / 12, index % 12)
      return plane[row * 12 + 11 - column]
    }
    // 12 to 36 samples never meets a rounding tie of order 0
    let out = try resize(plane, 9, 12, 9, 36, order: order)
    let other = try resize(mirrored, 9, 12, 9, 36, order: order)
    for row in 0..<9 {
      for column in 0..<36 { #expect((out[row * 36 + column] - other[row * 36 + 35 - column]).magnitude < 1e-6) }
    }
  }

  @Test func rampIsReproducedInside() throws {
    let plane = (0..<40).flatMap { row in (0..<30).map { Float(row) + 2 * Float($0) } }
    for order in [1, 3] {
      let out = try resize(plane, 40, 30, 80, 45, order: order)
      for row in 20..<60 {
        for column in 15..<30 {
          let y: Float = (Float(row) + 0.5) * 0.5 - 0.5
          let x: Float = (Float(column) + 0.5) * 30 / 45 - 0.5
          let error: Float = out[row * 45 + column] - (y + 2 * x)
          #expect(error.magnitude < (order == 1 ? 1e-4 : 2e-3))
        }
      }
    }
  }

  @Test func cubicInterpolatesSamples() throws {
    // Growing an odd factor keeps the input samples in place.
    var random = SeededGenerator(4)
    let plane = random.floats(10 * 11)
    let out = try resize(plane, 10, 11, 30, 33, order: 3)
    for row in 0..<10 {
      for column in 0..<11 {
        let got: Float = out[(3 * row + 1) * 33 + 3 * column + 1]
        #expect((got - plane[row * 11 + column]).magnitude < 1e-5)
      }
    }
  }

  @Test func clipBoundsOvershoot() throws {
    let plane = (0..<16 * 16).map { Float($0 % 16 < 8 ? 0 : 100) }
    let free = try resize(plane, 16, 16, 40, 40, order: 3)
    #expect((free.max() ?? 0) > 101)
    let clipped = try resize(plane, 16, 16, 40, 40, order: 3, clip: 0...100)
    #expect(clipped.min() == 0 && clipped.max() == 100)
  }

  @Test(arguments: [0, 1, 3]) func labelsAgreeWithIndicators(order: Int) throws {
    var random = SeededGenerator(5)
    for (rows, columns, toRows, toColumns) in [(12, 9, 31, 20), (30, 31, 13, 11), (8, 8, 16, 16), (7, 5, 7, 9)] {
      let labels = (0..<rows * columns).map { _ in Int16.random(in: -1...3, using: &random) }
      let resizer = try PlaneResizer(rows: rows, columns: columns, toRows: toRows, toColumns: toColumns, order: order)
      var scratch = [Double](repeating: .nan, count: resizer.scratchDoubles)
      var out = [Int16](repeating: 99, count: toRows * toColumns)
      resizer.resizeLabels(labels, into: &out, scratch: &scratch)
      var expected = [Int16](repeating: 0, count: out.count)
      for label in Int16(-1)...3 {
        var votes = [Double](repeating: 0, count: out.count)
        resizer.produceRows(scratch: &scratch) { row, line in
          for x in 0..<columns { line[x] = labels[row * columns + x] == label ? 1 : 0 }
        } emit: { row, line in
          for x in 0..<toColumns { votes[row * toColumns + x] = line[x] }
        }
        for index in votes.indices where votes[index] >= 0.5 { expected[index] = label }
      }
      #expect(out == expected)
    }
  }

  @Test func tiesGoToTheLargerLabelAndNoMajorityToZero() throws {
    let resizer = try PlaneResizer(rows: 1, columns: 2, toRows: 1, toColumns: 1, order: 1)
    var scratch = [Double](repeating: 0, count: resizer.scratchDoubles)
    var out: [Int16] = [9]
    resizer.resizeLabels([2, 5], into: &out, scratch: &scratch)
    #expect(out == [5])
    let square = try PlaneResizer(rows: 2, columns: 2, toRows: 1, toColumns: 1, order: 1)
    scratch = [Double](repeating: 0, count: square.scratchDoubles)
    square.resizeLabels([1, 2, 3, 4], into: &out, scratch: &scratch)
    #expect(out == [0])
    square.resizeLabels([-1, -1, 0, 0], into: &out, scratch: &scratch)
    #expect(out == [0])
    square.resizeLabels([-1, -1, -1, 0], into: &out, scratch: &scratch)
    #expect(out == [-1])
  }

  @Test func impossibleSizesAreRefused() {
    for (rows, toRows, order) in [(0, 4, 1), (4, 0, 1), (4, 1 << 21, 1), (Int.max, 4, 3), (4, 4, 2), (-1, 4, 0)] {
      #expect(throws: MedDINOError.self) {
        try PlaneResizer(rows: rows, columns: 4, toRows: toRows, toColumns: 4, order: order)
      }
    }
  }
}
