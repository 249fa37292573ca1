import Platform
import Tensors
import TestSupport
import Testing
@testable import Networks

/// Whole networks against central differences of their own forward.
@Suite struct GradientTests {
  /// Moves one parameter along a random direction and compares the slope of `loss` with that of the gradient.
  private func checkSlopes(
    _ parameters: [Parameter], loss: () throws -> Double, step: Float = 4e-3, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    var generator = SeededGenerator(99)
    for parameter in parameters {
      let direction = generator.floats(parameter.shape.count)
      let start = parameter.value.floatArray()
      func at(_ distance: Float) throws -> Double {
        for index in start.indices { parameter.value.floats[index] = start[index] + distance * direction[index] }
        return try loss()
      }
      // Two step widths cancel the cubic term.
      let narrow = (try at(step) - at(-step)) / Double(2 * step)
      let wide = (try at(2 * step) - at(-2 * step)) / Double(4 * step)
      for index in start.indices { parameter.value.floats[index] = start[index] }
      let expected = (4 * narrow - wide) / 3
      let gradient = parameter.gradient?.floatArray() ?? [Float](repeating: 0, count: start.count)
      let got = zip(gradient, direction).reduce(0) { $0 + Double($1.0) * Double($1.1) }
      let size = zip(gradient, direction).reduce(0) { $0 + abs(Double($1.0) * Double($1.1)) }
      #expect(
        abs(got - expected) <= 4e-3 * size + 4e-3, "\(parameter.name): slope \(got), differences say \(expected)",
        sourceLocation: sourceLocation)
    }
  }

  private func checkEncoder(_ configuration: EncoderConfiguration, _ adaptation: Adaptation = .full) throws {
    let device = try Toy.device()
    let network = try TrainableEncoder(
      configuration, parameters: Toy.parameters(configuration.parameters), device: device, adaptation: adaptation, seed: 5)
    // Zero factors have zero slopes beside them.
    for parameter in network.parameters.list where parameter.name.hasSuffix("lora_B") {
      parameter.value.copy(from: try Toy.tensor(parameter.shape, seed: 3))
    }
    let channels = configuration.inputChannels
    let mask = try Tensor([4, 6], .uint8, in: device.budget)
    for index in 0..<24 { mask.elements(UInt8.self)[index] = index % 3 == 0 ? 1 : 0 }
    let images = [try Toy.tensor([4, channels, 8, 12], seed: 6), try Toy.tensor([3, channels, 8, 4], seed: 7)]
    let pixels = Parameter("images", images[0])
    let tape = Tape(device)
    func forward() throws -> [Variable] {
      let groups = images.enumerated().map { index, images in
        TrainableEncoder.Group(
          index == 0 ? tape.variable(pixels) : tape.leaf(images), mask: index == 0 ? mask : nil,
          draws: TrainingRandomness(seed: 8, step: 2, group: UInt64(index))
            .draws(configuration, batch: images.shape[0], isLocalCrop: index == 1))
      }
      let tokens = try network.tokens(groups, blocks: [1, 2], on: tape)
      var results: [Variable] = []
      for (index, group) in tokens.enumerated() {
        for block in [1, 2] {
          let raw = try #require(group[block])
          results.append(try network.normalize(raw, isLocalCrop: index == 1, on: tape))
        }
      }
      return results
    }
    let outputs = try forward()
    let weights = try outputs.enumerated().map { try Toy.tensor($1.shape, seed: UInt64(20 + $0)) }
    for (output, weight) in zip(outputs, weights) {
      let copy = try Tensor(weight.shape, in: device.budget)
      copy.copy(from: weight)
      try tape.seed(output, copy)
    }
    try tape.backward()
    let reached = network.parameters.trainable.filter { $0.gradient != nil }
    #expect(reached.count == network.parameters.trainable.count)
    try checkSlopes(reached + [pixels]) {
      try tape.withoutRecording { () throws(MedDINOError) in
        do { return zip(try forward(), weights).reduce(0) { $0 + dot($1.0.value, $1.1) } } catch let error as MedDINOError {
          throw error
        } catch { throw .state("\(error)") }
      }
    }
  }

  @Test func encoderWithLayerNormAndMLP() throws { try checkEncoder(Toy.encoder()) }
  @Test func encoderWithRMSNormAndSwiGLU() throws { try checkEncoder(Toy.gated()) }
  @Test func encoderWithUntiedNormsAndCoordinateAugmentation() throws { try checkEncoder(Toy.untied()) }
  @Test func encoderWithLowRankFactors() throws { try checkEncoder(Toy.encoder(), .lowRank(rank: 3, alpha: 6)) }
  @Test func encoderWithGatedLowRankFactors() throws { try checkEncoder(Toy.gated(), .lowRank(rank: 2, alpha: 1)) }

  /// Tokens that are asked for alone are those of the whole, and so are the gradients; stochastic depth leaves out some of their images.
  @Test(arguments: [false, true]) func chosenTokens(recompute: Bool) throws {
    for configuration in [Toy.encoder(), Toy.gated(), Toy.untied()] {
      let device = try Toy.device()
      let network = try TrainableEncoder(configuration, parameters: Toy.parameters(configuration.parameters), device: device)
      let count = configuration.prefixTokens + 6
      let places = [3 * count, 0, count - 1, 2 * count + 1, count + 3, 3 * count + 5]
      let images = Parameter("images", try Toy.tensor([4, configuration.inputChannels, 8, 12], seed: 6))
      let tape = Tape(device)
      let weights = try Toy.tensor([places.count, configuration.embedDim], seed: 9)
      func run(_ places: [Int]?, _ pick: (Variable) throws -> Variable) throws -> (values: [Float], gradients: [[Float]?]) {
        for parameter in network.parameters.list + [images] { parameter.zeroGradient() }
        let draws = TrainingRandomness(seed: 8, step: 2).draws(configuration, batch: 4)
        let group = TrainableEncoder.Group(tape.variable(images), draws: draws, places: places)
        let tokens = try #require(try network.tokens([group], blocks: [2], on: tape, recompute: recompute)[0][2])
        let chosen = try pick(tokens)
        let above = try Tensor(weights.shape, in: device.budget)
        above.copy(from: weights)
        try tape.backward(from: chosen, gradient: above)
        return (chosen.value.floatArray(), (network.parameters.trainable + [images]).map { $0.gradient?.floatArray() })
      }
      let whole = try run(nil) { try tape.gather($0.reshaped([4 * count, configuration.embedDim]), places) }
      let some = try run(places) { $0 }
      #expect(some.values == whole.values)
      #expect(some.gradients.map { $0 == nil } == whole.gradients.map { $0 == nil })
      for (index, (a, b)) in zip(some.gradients, whole.gradients).enumerated() {
        guard let a, let b else { continue }
        let size = b.reduce(1e-6) { max($0, abs($1)) }
        #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-5 * size }, "parameter \(index)")
      }
    }
  }

  @Test func segmentationNetwork() throws {
    let device = try Toy.device()
    let configuration = Toy.primus()
    let network = try TrainablePrimus(configuration, parameters: Toy.parameters(configuration), device: device)
    let pixels = Parameter("images", try Toy.tensor([2, 1, 8, 12], seed: 4))
    let targets = try Tensor([2, 1, 8, 12], .int16, in: device.budget)
    for index in 0..<targets.count { targets.elements(Int16.self)[index] = Int16(index * 7 % 11 % 3) }
    let draws = TrainingRandomness(seed: 1, step: 0).draws(configuration.encoder, batch: 2)
    let tape = Tape(device)
    func loss() throws -> Double {
      let logits = try network.logits(tape.variable(pixels), draws: draws, on: tape)
      return try tape.segmentationLoss(logits, targets: targets, SegmentationLossOptions(), scale: 40).total * 40
    }
    _ = try loss()
    try tape.backward()
    try checkSlopes(network.parameters.list + [pixels]) {
      try tape.withoutRecording { () throws(MedDINOError) in
        do { return try loss() } catch let error as MedDINOError { throw error } catch { throw .state("\(error)") }
      }
    }
  }
}
