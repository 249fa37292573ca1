import Platform
import Testing

@testable import Slices

struct IntensityCountsTests {
  @Test func statisticsAreThoseOfTheValues() throws {
    let values: [Int16] = [-1000, -1000, -3, 0, 0, 5, 7, 7, 7, 1000]
    var counts = IntensityCounts(-1000...1000)
    values.withUnsafeBufferPointer { counts.add($0) }
    let all = counts.statistics()
    let mean = values.reduce(0.0) { $0 + Double($1) } / 10
    let variance = values.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / 10
    #expect(all.pixels == 10 && abs(all.mean - mean) < 1e-12 && abs(all.deviation - variance.squareRoot()) < 1e-9)
    #expect(all.minimum == -1000 && all.maximum == 1000 && all.median == 0 && all.percentile0005 == -1000 && all.percentile9995 == 1000)
    let body = counts.statistics(from: -3)
    #expect(body.pixels == 8 && body.minimum == -3 && body.median == 5)
    #expect(counts.statistics(from: 2000).pixels == 0 && counts.statistics(from: -5000) == all)
  }

  @Test func addsUp() throws {
    var (a, b) = (IntensityCounts(-10...10), IntensityCounts(-20...5))
    ([-10, 3] as [Int16]).withUnsafeBufferPointer { a.add($0) }
    ([-20, -20, 5] as [Int16]).withUnsafeBufferPointer { b.add($0) }
    a.add(b)
    #expect(a.counts[0] == 3 && a.counts[13] == 1 && a.counts[15] == 1 && a.statistics().pixels == 5)
    #expect(try IntensityCounts(a.json, "x") == a)
  }
}

struct SliceRulesTests {
  @Test func readsBackItsJSON() throws {
    var rules = SliceRules()
    #expect(try SliceRules(rules.json, "x") == rules)
    rules.spacing = nil
    rules.size = nil
    rules.fit = .crop
    rules.clip = -500...300
    rules.step = 2.5
    rules.dropsDuplicates = false
    rules.requiresHounsfield = false
    #expect(try SliceRules(rules.json, "x") == rules)
  }

  @Test func refusesImpossibleRules() throws {
    let edits: [(String, (inout SliceRules) -> Void)] = [
      ("spacing", { $0.spacing = 0 }), ("spacing", { $0.spacing = .nan }), ("size", { $0.size = 8 }), ("size", { $0.size = 20000 }),
      ("clip", { $0.clip = -40000...0 }), ("clip", { $0.clip = 5...5 }), ("body", { $0.bodyFraction = 1.5 }),
      ("body", { $0.bodyThreshold = 99999 }), ("step", { $0.step = -1 }), ("tilt", { $0.largestTilt = .infinity }),
    ]
    for (name, edit) in edits {
      var rules = SliceRules()
      edit(&rules)
      let error = #expect(throws: MedDINOError.self) { try rules.validate() }
      #expect(error?.kind == .invalid && error?.message.contains(name) == true)
    }
  }
}
