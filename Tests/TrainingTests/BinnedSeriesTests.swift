import Testing
import Training

@Suite struct BinnedSeriesTests {
  @Test func fewValuesStayAsTheyAre() {
    var series = BinnedSeries(limit: 4)
    for (step, value) in [(1, 2.0), (3, .nan), (5, 4.0), (5, 6.0)] { series.append(step, value) }
    #expect(series.points.map(\.x) == [1, 5] && series.points.map(\.y) == [2, 5])
  }

  @Test func manyValuesBecomeMeans() {
    var series = BinnedSeries(limit: 10)
    for step in 0..<1000 { series.append(step, Double(step)) }
    let points = series.points
    #expect(points.count > 5 && points.count <= 10)
    for point in points { #expect(abs(point.x - point.y) < 1e-9) }
    #expect(zip(points, points.dropFirst()).allSatisfy { $0.x < $1.x })
  }
}
