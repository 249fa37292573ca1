import Testing
import Training

@Test func linearDecayStartsFullAndEndsAboveZero() {
  let decay = LinearDecay(epochs: 1000)
  #expect(decay.factor(epoch: 0) == 1)
  #expect(abs(decay.factor(epoch: 999) - 0.001) < 1e-15)
}
