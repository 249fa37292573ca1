import Testing
import Training

struct ScoreTests {
  @Test func movingScore() {
    var score = MovingScore()
    #expect(score.add(0.5) == 0.5)
    #expect(abs(score.add(1) - 0.55) < 1e-15)
    #expect(score.add(.nan).isNaN && score.add(1).isNaN)
    var tolerant = MovingScore(skipsUndefined: true)
    #expect(tolerant.add(.nan).isNaN)
    #expect(tolerant.add(0.5) == 0.5 && tolerant.add(.nan) == 0.5 && abs(tolerant.add(1) - 0.55) < 1e-15)
  }

  @Test func earlyStop() {
    var stop = EarlyStop(patience: 2)
    #expect(!stop.isBest(.nan) && stop.best == nil)
    #expect(stop.isBest(0.2) && !stop.shouldStop)
    #expect(!stop.isBest(0.2) && !stop.shouldStop)
    #expect(!stop.isBest(.nan) && stop.shouldStop)
    #expect(stop.isBest(0.3) && !stop.shouldStop && stop.best == 0.3)
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
