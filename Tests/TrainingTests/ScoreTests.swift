import Testing
import Training

struct ScoreTests {
  @Test func movingScore() {
    var score = MovingScore()
    #expect(score.add(0.5) == 0.5)
    #expect(abs(score.add(1) - 0.55) < 1e-15)
    let undefined = [Double.nan, 1].map { score.add($0) }
    #expect(undefined.allSatisfy { $0.isNaN })
    var tolerant = MovingScore(skipsUndefined: true)
    #expect(tolerant.add(.nan).isNaN)
    let three = [0.5, .nan, 1].map { tolerant.add($0) }
    #expect(three[0] == 0.5 && three[1] == 0.5)
    #expect(abs(three[2] - 0.55) < 1e-15)
  }

  @Test func earlyStop() {
    var stop = EarlyStop(patience: 2)
    var seen: [(best: Bool, stops: Bool)] = []
    for score in [Double.nan, 0.2, 0.2, .nan, 0.3] { seen.append((stop.isBest(score), stop.shouldStop)) }
    #expect(seen.map(\.best) == [false, true, false, false, true])
    #expect(seen.map(\.stops) == [false, false, false, true, false])
    #expect(stop.best == 0.3)
    var never = EarlyStop()
    for _ in 0..<1000 { _ = never.isBest(0) }
    #expect(!never.shouldStop)
  }

  @Test func timeBudget() {
    #expect(TimeBudget(seconds: 0).isSpent)
    #expect(!TimeBudget(seconds: nil).isSpent && !TimeBudget(seconds: 1e6).isSpent)
    let budget = TimeBudget(seconds: 0.002)
    while !budget.isSpent {}
    #expect(budget.elapsed >= 0.002)
  }
}
