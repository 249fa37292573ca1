import FineTuning
import Testing

@Test func defaultsAreThoseOfTheRecipe() {
  #expect(FineTuningDefaults.epochs * FineTuningDefaults.trainingIterations == 250_000)
}
