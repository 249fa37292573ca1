import Networks
import Platform
import Tensors
import TestSupport
import Testing

private func tensor(_ values: [Float], _ shape: Shape) throws -> Tensor { try Tensor(values, shape, in: MemoryBudget()) }
private func cosine(_ a: ArraySlice<Float>, _ b: ArraySlice<Float>) -> Double {
  func dot(_ a: ArraySlice<Float>, _ b: ArraySlice<Float>) -> Double { zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
  return dot(a, b) / (dot(a, a) * dot(b, b)).squareRoot()
}

@Suite struct FeatureHealthTests {
  /// Rows with known singular values: scaled unit vectors, turned by a rotation, tall and wide.
  @Test(arguments: [(7, 3), (3, 7), (4, 4)]) func effectiveRankIsThatOfTheSingularValues(rows: Int, dim: Int) throws {
    let singular = [5.0, 2, 0.5]
    var values = [Float](repeating: 0, count: rows * dim)
    let (c, s) = (Float(0.6), Float(0.8))
    for (index, value) in singular.enumerated() { values[index * dim + index] = Float(value) }
    for row in 0..<rows {
      let (a, b) = (values[row * dim], values[row * dim + 1])
      (values[row * dim], values[row * dim + 1]) = (c * a - s * b, s * a + c * b)
    }
    let shares = singular.map { $0 / 7.5 }
    let expected = exponential(-shares.reduce(0.0) { $0 + $1 * logarithm($1) })
    #expect(abs(try FeatureHealth.effectiveRank(tensor(values, [rows, dim])) - expected) < 1e-5)
  }

  @Test func collapsedAndEmptyFeatures() throws {
    let same = try tensor([Float](repeating: 0.5, count: 40), [10, 4])
    #expect(abs(try FeatureHealth.effectiveRank(same) - 1) < 1e-5)
    #expect(try FeatureHealth.effectiveRank(tensor([Float](repeating: 0, count: 6), [2, 3])) == 0)
    let error = #expect(throws: MedDINOError.self) { try FeatureHealth.effectiveRank(tensor([1, .nan, 2, 3], [2, 2])) }
    #expect(error?.kind == .invalid)
  }

  @Test func meanCosinesMatchAllPairs() throws {
    var random = SeededGenerator(3)
    let (rows, columns, dim) = (3, 4, 5)
    let values = random.floats(rows * columns * dim)
    let tokens = try tensor(values, [rows * columns, dim])
    func row(_ index: Int) -> ArraySlice<Float> { values[index * dim..<(index + 1) * dim] }
    let count = rows * columns
    var (all, pairs, near, neighbours) = (0.0, 0, 0.0, 0)
    for i in 0..<count {
      for j in 0..<count where j != i {
        all += cosine(row(i), row(j))
        pairs += 1
        if abs(i / columns - j / columns) + abs(i % columns - j % columns) == 1 {
          near += cosine(row(i), row(j))
          neighbours += 1
        }
      }
    }
    #expect(abs(FeatureHealth.meanCosine(tokens) - all / Double(pairs)) < 1e-12)
    #expect(abs(FeatureHealth.neighbourCosine(tokens, rows: rows, columns: columns) - near / Double(neighbours)) < 1e-12)
    let query = random.floats(dim)
    let mean = (0..<count).reduce(0) { $0 + cosine(row($1), query[...]) } / Double(count)
    #expect(abs(FeatureHealth.meanCosine(of: try tensor(query, [dim]), to: tokens) - mean) < 1e-12)
  }
}
