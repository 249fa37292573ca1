import Platform
import Testing
import Training
import WeightFiles

struct ScheduleTests {
  @Test func linearDecayStartsFullAndEndsAboveZero() {
    let decay = PolynomialDecay(epochs: 1000)
    #expect(decay.factor(epoch: 0) == 1)
    #expect(abs(decay.factor(epoch: 999) - 0.001) < 1e-15)
    #expect(decay.factor(epoch: 1000) == 0 && decay.factor(epoch: 2000) == 0)
  }

  @Test func polynomialDecayAndWarmup() {
    let poly = PolynomialDecay(epochs: 1000, power: 0.9)
    #expect(abs(poly.factor(epoch: 500) - 0.535886731268146) < 1e-12)
    let warm = PolynomialDecay(epochs: 110, warmupEpochs: 10, baseLearningRate: 3e-4)
    #expect(abs(warm.factor(epoch: 0) - 1.0 / 300) < 1e-15)
    let half = 150.5 / 300
    #expect(abs(warm.factor(epoch: 5) - half) < 1e-15)
    #expect(warm.factor(epoch: 10) == 1)
    #expect(abs(warm.factor(epoch: 60) - 0.5) < 1e-15)
  }

  /// The warm-up of version 1 reaches its end point, that of version 2 does not.
  @Test func warmupEndPoints() throws {
    let one = try Schedule.version1(base: 1, final: 0, steps: 10, warmup: 5)
    let firstSix: [Double] = [0, 0.25, 0.5, 0.75, 1, 1]
    #expect(Array(one.values.prefix(6)) == firstSix)
    #expect(one.value(at: 10) == 0 && one.value(at: 99) == 0)
    #expect(one.value(at: 9) > 0)
    let two = try Schedule.version2(start: 0, peak: 1, end: 0.5, steps: 10, warmup: 4, cosine: 3)
    let ten: [Double] = [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.5, 0.5, 0.5]
    #expect(two.values == ten)
    #expect(try Schedule.version1(base: 1, final: 0, steps: 3, warmup: 1).value(at: 0) == 0)
  }

  @Test func shortPhases() throws {
    #expect(try Schedule.version2(start: 3, peak: 1, end: 2, steps: 2, warmup: 0, cosine: 1).values == [1, 2])
    #expect(try Schedule.version2(start: 3, peak: 1, end: 2, steps: 2, warmup: 0, cosine: 0).values == [2, 2])
    #expect(try Schedule.version1(base: 1, final: 2, steps: 1, truncation: 0.25).values.allSatisfy { $0.isFinite })
    #expect(try Schedule.constant(7, steps: 3).values == [7, 7, 7])
    #expect(try Schedule.constant(7, steps: 4).frozen(first: 2).values == [0, 0, 7, 7])
  }

  @Test func truncatedCosineEndsAtItsFinalValue() throws {
    let schedule = try Schedule.version1(base: 1, final: 0.1, steps: 40, truncation: 0.25)
    #expect(schedule.value(at: 0) == 1)
    #expect(abs(schedule.value(at: 39) - 0.1) < 1e-15)
    let values = schedule.values
    #expect(values == values.sorted(by: >) && Set(values).count == 40)
  }

  @Test func phasesLongerThanTheRunAreRefused() {
    #expect(throws: MedDINOError.self) { try Schedule.version1(base: 1, final: 0, steps: 4, warmup: 5) }
    #expect(throws: MedDINOError.self) { try Schedule.version2(start: 0, peak: 1, end: 0, steps: 4, warmup: 3, cosine: 2) }
    #expect(throws: MedDINOError.self) { try Schedule.version2(start: 0, peak: .nan, end: 0, steps: 4, warmup: 3) }
    #expect(throws: MedDINOError.self) { try Schedule.version1(base: 1, final: 0, steps: .max, truncation: 900) }
    #expect(throws: MedDINOError.self) { try Schedule.version2(start: 0, peak: 1, end: 0, steps: 4, warmup: .max, cosine: .max) }
  }

  @Test func configurationFaultsAreNamed() throws {
    func message(_ text: String) throws -> String {
      let json = try JSON.parse(text, source: "test")
      do { _ = try SelfSupervisedSchedules(json) } catch { return error.message }
      return ""
    }
    #expect(try message(#"{"optim": {"epochs": -1}}"#) == "optim.epochs is -1, expected a whole number of at least 0")
    #expect(try message(#"{"optim": {"lr": "fast"}}"#) == #"optim.lr is "fast", expected a finite number"#)
    #expect(try message(#"{"schedules": {}}"#).hasPrefix("schedules.lr is missing"))
    #expect(try message(#"{"optim": {"epochs": 4611686018427387904}}"#).hasPrefix("optim.epochs"))
    #expect(try message("{}") == "")
  }
}
