import Imaging
import TestSupport
import Testing

@Suite struct AntialiasedResizerTests {
  private func resized(_ plane: [Float], _ rows: Int, _ columns: Int, _ toRows: Int, _ toColumns: Int) -> [Float] {
    let resizer = AntialiasedResizer(rows: rows, columns: columns, toRows: toRows, toColumns: toColumns, filter: .cubic)
    var (out, scratch) = ([Float](repeating: .nan, count: toRows * toColumns), [Float](repeating: .nan, count: resizer.scratchCount))
    resizer.resize(plane, into: &out, scratch: &scratch)
    return out
  }

  /// The definition along one axis: cubic convolution with a = −0.5, stretched when shrinking, weights summing to 1.
  private func line(_ values: [Double], to count: Int) -> [Double] {
    let scale = Double(values.count) / Double(count)
    return (0..<count).map { i in
      let centre = (Double(i) + 0.5) * scale
      var (sum, total) = (0.0, 0.0)
      for (j, value) in values.enumerated() {
        let t = abs((Double(j) + 0.5 - centre) / max(scale, 1))
        let weight = t < 1 ? 1.5 * t * t * t - 2.5 * t * t + 1 : t < 2 ? -0.5 * t * t * t + 2.5 * t * t - 4 * t + 2 : 0
        (sum, total) = (sum + weight * value, total + weight)
      }
      return sum / total
    }
  }

  @Test func cubicMatchesItsDefinition() {
    var random = SeededGenerator(4)
    for (rows, columns, toRows, toColumns) in [(9, 7, 9, 7), (12, 20, 5, 6), (6, 5, 17, 11), (31, 3, 8, 8), (1, 1, 4, 3)] {
      let plane = random.floats(rows * columns)
      let across = (0..<rows).map { row in line(plane[row * columns..<(row + 1) * columns].map(Double.init), to: toColumns) }
      let got = resized(plane, rows, columns, toRows, toColumns)
      for column in 0..<toColumns {
        let down = line(across.map { $0[column] }, to: toRows)
        for row in 0..<toRows { #expect(abs(Double(got[row * toColumns + column]) - down[row]) < 1e-5) }
      }
    }
  }

  @Test func sameSizeIsACopy() {
    var random = SeededGenerator(5)
    let plane = random.floats(30)
    #expect(resized(plane, 5, 6, 5, 6) == plane)
  }
}
