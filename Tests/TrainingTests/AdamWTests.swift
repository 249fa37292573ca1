import Platform
import Tensors
import Testing
import Training

struct AdamWTests {
  /// The update in double precision, written from its formula.
  private func reference(_ p: Double, _ gradients: [Double], rate: Double, decay: Double, _ options: AdamW.Options) -> Double {
    var (p, m, v) = (p, 0.0, 0.0)
    var (c1, c2) = (1.0, 1.0)
    for g in gradients {
      p *= 1 - rate * decay
      m = options.beta1 * m + (1 - options.beta1) * g
      v = options.beta2 * v + (1 - options.beta2) * g * g
      c1 *= options.beta1
      c2 *= options.beta2
      p -= rate / (1 - c1) * m / (v.squareRoot() / (1 - c2).squareRoot() + options.epsilon)
    }
    return p
  }

  @Test func updateFollowsItsFormula() throws {
    let options = AdamW.Options(maximumNorm: nil)
    let toy = try ToyTraining(options: options)
    let before = toy.parameters.map { $0.value.floatArray() }
    func gradient(_ place: Int, _ element: Int, _ step: Int) -> Float {
      let mixed = place * 31 + element * 7 + step * 13
      return Float(mixed % 17 - 8) / 8
    }
    for step in 0..<4 {
      try toy.setGradients { gradient($0, $1, step) }
      try toy.optimizer.step(.init(learningRate: 0.5))
    }
    for (place, parameter) in toy.parameters.enumerated() {
      let rate = (parameter.name.contains("dino_encoder") ? 0.01 : 0.02) * 0.5
      for (index, value) in parameter.value.floatArray().enumerated() {
        let gradients = (0..<4).map { Double(gradient(place, index, $0)) }
        let expected = reference(Double(before[place][index]), gradients, rate: rate, decay: 0.05, options)
        #expect(abs(Double(value) - expected) < 1e-6)
      }
    }
    #expect(toy.optimizer.steps == 4 && toy.optimizer.memberSteps == [4, 4, 4, 4])
  }

  /// Gradients of several batches are summed, and their mean clipped: the same as one batch with the mean.
  @Test func accumulationUsesTheMean() throws {
    let (once, summed) = (try ToyTraining(), try ToyTraining())
    try once.setGradients { Float($0 + $1) / 4 }
    try summed.setGradients { Float($0 + $1) }
    let a = try once.optimizer.step(.init(learningRate: 1))
    let b = try summed.optimizer.step(.init(learningRate: 1), accumulated: 4)
    #expect(abs(a.norms[0] - b.norms[0]) < 1e-9 && a.norms[0] > 1.5)
    #expect(once.bits == summed.bits)
  }

  @Test func clippingIsByNormOfEachGroup() throws {
    let toy = try ToyTraining()
    let optimizer = try AdamW(toy.parameters, options: .init(beta1: 0, beta2: 0, maximumNorm: 2), device: toy.device) {
      ParameterRule(clipGroup: $0.hasPrefix("head") ? "head" : "encoder")
    }
    #expect(optimizer.clipGroups == ["encoder", "head"])
    try toy.setGradients { place, _ in place >= 2 ? 1 : 0.001 }
    let report = try optimizer.step(.init(learningRate: 0))
    let (small, large) = (0.001 * Double(37 * 5 + 19).squareRoot(), Double(19).squareRoot())
    #expect(abs(report.norms[0] - small) < 1e-9 && abs(report.norms[1] - large) < 1e-9)
    // With beta1 = 0 the first moment is the clipped gradient.
    let clipped: Double = 2 / (large + 1e-6)
    #expect(abs(optimizer.members[0].firstMoment.value(0) - 0.001) < 1e-9)
    #expect(abs(optimizer.members[2].firstMoment.value(0) - clipped) < 1e-7)
    #expect(clipCoefficient(norm: 1, maximum: 2) == 1 && clipCoefficient(norm: 3, maximum: nil) == 1)
    #expect(clipCoefficient(norm: .nan, maximum: 2).isNaN && clipCoefficient(norm: .infinity, maximum: 2) == 0)
  }

  @Test func nonFiniteGradientsSkipTheStepAndThenFail() throws {
    let toy = try ToyTraining(options: .init(maximumNorm: 1, nonFinite: .skip(limit: 3)))
    try toy.step()
    let bits = toy.bits
    for bad: Float in [.nan, .infinity] {
      try toy.setGradients { place, element in place == 2 && element == 1 ? bad : 1 }
      #expect(try toy.optimizer.step(.init(learningRate: 1)).isUpdated == false)
    }
    #expect(toy.bits == bits && toy.optimizer.skipped == 2 && toy.optimizer.skippedInRow == 2 && toy.optimizer.steps == 1)
    let error = #expect(throws: MedDINOError.self) { try toy.optimizer.step(.init(learningRate: 1)) }
    #expect(error?.kind == .state && error?.message.contains("head.w") == true && error?.message.contains("3 steps") == true)
    try toy.setGradients { _, _ in 1 }
    #expect(try toy.optimizer.step(.init(learningRate: 1)).isUpdated)
    #expect(toy.optimizer.skippedInRow == 0 && toy.optimizer.skipped == 3)
  }

  @Test func officialPolicyUpdatesAllTheSame() throws {
    let toy = try ToyTraining(options: .init(maximumNorm: 1, nonFinite: .update))
    try toy.setGradients { place, _ in place == 0 ? .nan : 1 }
    #expect(try toy.optimizer.step(.init(learningRate: 1)).isUpdated)
    #expect(toy.parameters[0].value.floatArray().allSatisfy { $0.isNaN })
  }

  /// No gradient at all: left alone. A gradient of zero: decays.
  @Test func parametersWithoutGradientStay() throws {
    let toy = try ToyTraining()
    let before = toy.parameters.map { $0.value.floatArray() }
    try toy.setGradients { _, _ in 0 }
    toy.parameters[1].zeroGradient()
    try toy.optimizer.step(.init(learningRate: 1))
    #expect(toy.parameters[1].value.floatArray() == before[1])
    let decayed = toy.parameters[0].value.floatArray()
    let factor: Float = 1 - 0.01 * 0.05
    let errors = zip(decayed, before[0]).map { pair in abs(pair.0 - pair.1 * factor) }
    #expect(errors.allSatisfy { $0 < 1e-6 } && decayed != before[0])
    #expect(toy.optimizer.memberSteps == [1, 0, 1, 1])
    toy.optimizer.zeroGradients()
    #expect(toy.parameters.allSatisfy { $0.gradient == nil })
  }

  @Test func frozenParametersHaveNoMoments() throws {
    let toy = try ToyTraining()
    toy.parameters[0].isTrainable = false
    let optimizer = try AdamW(toy.parameters, device: toy.device) { _ in ParameterRule() }
    #expect(optimizer.members.map(\.parameter.name) == toy.parameters.dropFirst().map(\.name))
  }

  @Test func faultsAreRefused() throws {
    let toy = try ToyTraining()
    #expect(throws: MedDINOError.self) { try AdamW(toy.parameters + [toy.parameters[0]], device: toy.device) { _ in ParameterRule() } }
    for options in [
      AdamW.Options(beta1: 1), .init(beta2: -0.1), .init(epsilon: .nan), .init(maximumNorm: 0), .init(maximumNorm: .nan),
      .init(nonFinite: .skip(limit: 0)),
    ] {
      #expect(throws: MedDINOError.self) { try AdamW(toy.parameters, options: options, device: toy.device) { _ in ParameterRule() } }
    }
    #expect(throws: MedDINOError.self) { try toy.optimizer.step(.init(learningRate: 1), accumulated: 0) }
    // Too small for the parameters, for the moments, for the average.
    for limit in [500, 2000, 3000] {
      let error = #expect(throws: MedDINOError.self) { _ = try ToyTraining(in: MemoryBudget(limit: limit)) }
      #expect(error?.kind == .outOfMemory)
    }
  }

  /// Same bits whatever the number of threads.
  @Test func threadsMakeNoDifference() throws {
    let (one, two) = (try ToyTraining(threads: 1), try ToyTraining(threads: 3))
    for _ in 0..<5 {
      try one.step()
      try two.step()
    }
    #expect(one.bits == two.bits)
  }

  @Test func rulesOfSelfSupervision() {
    let rules = SelfSupervisedRules(depth: 12)
    #expect(rules.rule("backbone.norm.weight") == ParameterRule(learningRate: 1, weightDecay: 0, clipGroup: "backbone"))
    #expect(rules.rule("backbone.blocks.11.attn.qkv.weight") == ParameterRule(learningRate: 0.9, clipGroup: "backbone"))
    #expect(rules.rule("backbone.blocks.3.ls1.gamma").weightDecay == 0)
    let patch = rules.rule("backbone.patch_embed.proj.weight")
    let patchRate = 0.2 * 0.2541865828329
    #expect(abs(patch.learningRate - patchRate) < 1e-10 && patch.weightDecay == 1)
    #expect(rules.rule("backbone.cls_token").weightDecay == 1)
    #expect(rules.rule("ibot_head.last_layer.weight") == ParameterRule(isLastLayer: true, clipGroup: "ibot_head"))
    #expect(rules.rule("dino_head.mlp.0.bias") == ParameterRule(weightDecay: 0, clipGroup: "dino_head"))
  }

  @Test func rulesOfFineTuning() {
    var rules = FineTuningRules()
    #expect(rules.rule("dino_encoder.norm.bias") == ParameterRule(learningRate: 3e-5, weightDecay: 0.05))
    #expect(rules.rule("up_projection.decode.0.1.bias") == ParameterRule(learningRate: 3e-4, weightDecay: 0.05))
    rules.layerDecay = LayerDecay(depth: 2, factor: 0.5)
    #expect(rules.rule("dino_encoder.blocks.0.norm1.weight").learningRate == 3e-5 * 0.25)
    #expect(rules.rule("dino_encoder.cls_token").learningRate == 3e-5 * 0.125)
  }
}
