import Platform
import Tensors
import TestSupport
import Testing
@testable import Networks

/// One training step of a segmentation network, and what it leaves.
private struct Step {
  var logits: [Float] = []
  var gradients: [String: [Float]] = [:]
  var peak = 0

  init(
    _ device: CPUDevice, _ configuration: Primus.Configuration, adaptation: Adaptation = .full, recompute: Bool = false, batch: Int = 4,
    size: (Int, Int) = (8, 12), precision: Precision = .float32
  ) throws {
    let network = try TrainablePrimus(configuration, parameters: Toy.parameters(configuration), device: device, adaptation: adaptation)
    let tape = Tape(device, precision: precision)
    let images = try Toy.tensor([batch, 1, size.0, size.1], seed: 4)
    let draws = TrainingRandomness(seed: 1, step: 0).draws(configuration.encoder, batch: batch)
    let logits = try network.logits(Variable(images), draws: draws, on: tape, recompute: recompute)
    self.logits = logits.value.floatArray()
    let gradient = try tape.tensor(logits.shape, "gradient")
    gradient.copy(from: try Toy.tensor(logits.shape, seed: 5))
    try tape.backward(from: logits, gradient: gradient)
    for parameter in network.parameters.list { gradients[parameter.name] = parameter.gradient?.floatArray() }
    #expect(tape.recordedCount == 0)
    peak = device.budget.peakBytes
  }
}

@Suite struct TrainableNetworkTests {
  @Test(arguments: [Precision.float32, .bfloat16]) func recomputationGivesTheSameBits(precision: Precision) throws {
    for encoder in [Toy.encoder(), Toy.gated(), Toy.untied()] {
      let plain = try Step(Toy.device(), Toy.primus(encoder), precision: precision)
      let again = try Step(Toy.device(), Toy.primus(encoder), recompute: true, precision: precision)
      #expect(plain.logits == again.logits && plain.gradients == again.gradients)
    }
    let adapted = Adaptation.lastBlocks(2)
    let plain = try Step(Toy.device(), Toy.primus(), adaptation: adapted, precision: precision)
    let again = try Step(Toy.device(), Toy.primus(), adaptation: adapted, recompute: true, precision: precision)
    #expect(plain.gradients == again.gradients && plain.gradients.count > 10)
  }

  @Test func threadsGiveTheSameBits() throws {
    let one = try Step(Toy.device(threads: 1), Toy.primus(), size: (32, 36))
    let two = try Step(Toy.device(threads: 2), Toy.primus(), size: (32, 36))
    #expect(one.logits == two.logits && one.gradients == two.gradients)
  }

  @Test func bfloat16ProductsStayClose() throws {
    let exact = try Step(Toy.device(), Toy.primus(), size: (16, 24))
    let rounded = try Step(Toy.device(), Toy.primus(), size: (16, 24), precision: .bfloat16)
    for (name, gradient) in exact.gradients {
      let other = try #require(rounded.gradients[name])
      let size = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let error = zip(gradient, other).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
      #expect(error <= 0.04 * size, "\(name): \(error) of \(size)")
    }
    #expect(exact.logits != rounded.logits)
  }

  /// A network whose activations, not whose scratch memory, are what counts.
  private func larger(depth: Int = 6) -> Primus.Configuration {
    var encoder = Toy.encoder()
    (encoder.embedDim, encoder.depth, encoder.hiddenDim) = (32, depth, 128)
    return Toy.primus(encoder, taps: [depth / 2, depth - 1])
  }

  @Test func recomputationNeedsLessMemory() throws {
    let configuration = larger(depth: 16)
    let plain = try Step(Toy.device(), configuration, size: (64, 64))
    let again = try Step(Toy.device(), configuration, recompute: true, size: (64, 64))
    #expect(plain.gradients == again.gradients)
    #expect(Double(again.peak) < 0.6 * Double(plain.peak), "\(again.peak) of \(plain.peak) bytes")
  }

  @Test func theEstimateOfMemoryHolds() throws {
    for adaptation in [Adaptation.full, .lastBlocks(3), .lowRank(rank: 4, alpha: 4), .frozenEncoder] {
      for recompute in [false, true] {
        let step = try Step(Toy.device(), larger(), adaptation: adaptation, recompute: recompute, size: (64, 64))
        let cost = TrainingCost(
          larger(), adaptation: adaptation, batch: 4, height: 64, width: 64, recompute: recompute, threads: 2)
        let ratio = Double(cost.total - cost.moments) / Double(step.peak)
        #expect((0.8...1.4).contains(ratio), "\(adaptation), recompute \(recompute): \(step.peak) bytes, estimate \(cost)")
      }
    }
  }

  /// A plan may say any batch: its estimate is the largest number then.
  @Test func theEstimateOfAnAbsurdBatchIsTheLargestNumber() {
    for recompute in [false, true] {
      let cost = TrainingCost(larger(), batch: Int.max, height: 65536, width: 65536, recompute: recompute, threads: 2)
      #expect(cost.total == Int.max && cost.flops.isFinite)
    }
  }

  @Test func frozenParametersCostNothing() throws {
    let device = try Toy.device()
    let configuration = Toy.primus()
    for adaptation in [Adaptation.frozenEncoder, .decoderOnly] {
      let network = try TrainablePrimus(configuration, parameters: Toy.parameters(configuration), device: device, adaptation: adaptation)
      let tape = Tape(device)
      let draws = TrainingRandomness(seed: 1, step: 0).draws(configuration.encoder, batch: 4)
      _ = try network.logits(Variable(Toy.tensor([4, 1, 8, 12], seed: 4)), draws: draws, on: tape)
      // The decoder is one operation; nothing of the encoder is recorded.
      #expect(tape.recordedCount == 1)
      #expect(network.parameters.trainable.allSatisfy { $0.name.hasPrefix("up_projection.") })
    }
    let last = try Step(device, configuration, adaptation: .lastBlocks(1))
    let names = last.gradients.keys.filter { $0.hasPrefix("dino_encoder.") }
    #expect(names.allSatisfy { $0.hasPrefix("dino_encoder.blocks.2.") || $0.hasPrefix("dino_encoder.norm.") })
    let expected = configuration.encoder.parameters.filter { $0.name.hasPrefix("blocks.2.") || $0.name.hasPrefix("norm.") }
    #expect(names.count == expected.count)
    let full = try Step(device, configuration)
    #expect(full.gradients.count == configuration.decoder.parameters.count + configuration.encoder.parameters.count { !$0.isBuffer })
  }

  @Test func keptFeaturesGiveTheFrozenRun() throws {
    let device = try Toy.device()
    let configuration = Toy.primus()
    let network = try TrainablePrimus(configuration, parameters: Toy.parameters(configuration), device: device, adaptation: .decoderOnly)
    let (tape, images) = (Tape(device), try Toy.tensor([2, 1, 8, 12], seed: 4))
    func gradients(_ logits: Variable) throws -> [[Float]?] {
      network.parameters.zeroGradients()
      try tape.backward(from: logits, gradient: Toy.tensor(logits.shape, seed: 5))
      return network.parameters.list.map { $0.gradient?.floatArray() }
    }
    let whole = try network.logits(Variable(images), on: tape)
    let expected = try gradients(whole)
    let features = try network.features(images, on: tape)
    let kept = try network.logits(taps: features.map { Variable($0) }, rows: 2, columns: 3, on: tape)
    #expect(kept.value.floatArray() == whole.value.floatArray())
    #expect(try gradients(kept) == expected)
  }

  @Test func lowRankFactorsMergeAtExport() throws {
    let device = try Toy.device()
    for encoder in [Toy.encoder(), Toy.gated()] {
      let configuration = Toy.primus(encoder)
      let base = try Toy.parameters(configuration)
      let network = try TrainablePrimus(
        configuration, parameters: base, device: device, adaptation: .lowRank(rank: 3, alpha: 6), seed: 2)
      let (tape, images) = (Tape(device), try Toy.tensor([2, 1, 8, 12], seed: 4))
      func logits() throws -> [Float] { try network.logits(Variable(images), on: tape).value.floatArray() }
      func inference(_ source: any ParameterSource) throws -> [Float] {
        try Primus(configuration, parameters: source, device: device)
          .logits(images, device: device, workspace: Workspace(device.budget)).floatArray()
      }
      // B starts at zero: the network is what it was.
      let plain = try TrainablePrimus(configuration, parameters: base, device: device)
      #expect(try logits() == plain.logits(Variable(images), on: tape).value.floatArray())
      tape.reset()
      for parameter in network.parameters.list where parameter.name.hasSuffix("lora_B") {
        parameter.value.copy(from: try Toy.tensor(parameter.shape, seed: 3))
      }
      let (adapted, merged) = (try logits(), try inference(network.exported()))
      let before = try inference(base)
      #expect(zip(adapted, merged).allSatisfy { abs($0 - $1) < 1e-4 })
      #expect(zip(adapted, before).contains { abs($0 - $1) > 1e-2 })
    }
  }

  @Test func exportGivesTheInferenceNetwork() throws {
    let device = try Toy.device()
    for encoder in [Toy.encoder(), Toy.gated(), Toy.untied()] {
      let configuration = Toy.primus(encoder)
      let network = try TrainablePrimus(configuration, parameters: Toy.parameters(configuration), device: device)
      let images = try Toy.tensor([2, 1, 8, 12], seed: 4)
      let trained = try network.logits(Variable(images), on: Tape(device)).value.floatArray()
      let exported = try network.exported()
      let expected = configuration.decoder.parameters.map(\.name) + encoder.parameters.map { "dino_encoder." + $0.name }
      #expect(exported.names == expected)
      let inference = try Primus(configuration, parameters: exported, device: device)
        .logits(images, device: device, workspace: Workspace(device.budget)).floatArray()
      #expect(zip(trained, inference).allSatisfy { abs($0 - $1) < 2e-5 })
    }
  }

  @Test func theMaskTokenHasAZeroGradientAndTheUnusedNormNone() throws {
    let step = try Step(Toy.device(), Toy.primus(Toy.untied()))
    #expect(step.gradients["dino_encoder.mask_token"] == [Float](repeating: 0, count: 16))
    #expect(step.gradients["dino_encoder.local_cls_norm.weight"] == nil)
    // The class token's norm does not reach the decoder: its gradient is zero, but it has one.
    #expect(step.gradients["dino_encoder.cls_norm.weight"] == [Float](repeating: 0, count: 16))
    let masked = try Step(Toy.device(), Toy.primus(Toy.gated()))
    let bias = try #require(masked.gradients["dino_encoder.blocks.1.attn.qkv.bias"])
    #expect(bias[16..<32].allSatisfy { $0 == 0 } && !bias[0..<16].contains(0) && !bias[32..<48].contains(0))
  }

  @Test func wrongInputsAreNamed() throws {
    let device = try Toy.device()
    let (configuration, tape) = (Toy.primus(), Tape(device))
    func message(_ body: () throws -> Void) -> String {
      do { try body() } catch { return "\(error)" }
      return ""
    }
    let source = try Toy.parameters(configuration)
    for (adaptation, word) in [
      (Adaptation.lastBlocks(4), "last_blocks is 4"), (.lastBlocks(0), "last_blocks is 0"),
      (.lowRank(rank: 17, alpha: 1), "lora_rank is 17"), (.lowRank(rank: 0, alpha: 1), "lora_rank is 0"),
      (.lowRank(rank: 2, alpha: .nan), "lora_alpha is nan"),
    ] {
      #expect(
        message { _ = try TrainablePrimus(configuration, parameters: source, device: device, adaptation: adaptation) }.contains(word))
    }
    let network = try TrainablePrimus(configuration, parameters: source, device: device)
    for (shape, word): (Shape, String) in [([1, 2, 8, 8], "[1, 2, 8, 8]"), ([1, 1, 3, 8], "one 4 × 4 patch"), ([8, 8], "[8, 8]")] {
      #expect(message { _ = try network.logits(Variable(Toy.tensor(shape, seed: 1)), on: tape) }.contains(word))
    }
    let images = Variable(try Toy.tensor([2, 3, 8, 8], seed: 1))
    let mask = try Tensor([2, 5], .uint8, in: device.budget)
    #expect(message { _ = try network.encoder.tokens([.init(images, mask: mask)], blocks: [0], on: tape) }.contains("[2, 5]"))
    let draws = VisionTransformer.TrainingDraws(kept: { _, _ in ([0, 0], 1) })
    #expect(message { _ = try network.encoder.tokens([.init(images, draws: draws)], blocks: [0], on: tape) }.contains("distinct"))
    #expect(message { _ = try network.encoder.tokens([.init(images)], blocks: [3], on: tape) }.contains("blocks [3]"))
    for places in [[], [1, 1], [-1], [1000]] {
      #expect(message { _ = try network.encoder.tokens([.init(images, places: places)], blocks: [0], on: tape) }.contains("places"))
    }
    #expect(message { _ = try network.logits(taps: [], rows: 2, columns: 2, on: tape) }.contains("taps"))
  }

  @Test func everyAllocationMayFail() throws {
    let configuration = Toy.primus(taps: [1])
    let (source, images) = (try Toy.parameters(configuration), try Toy.tensor([2, 1, 8, 8], seed: 4))
    func step(_ device: CPUDevice) throws {
      let network = try TrainablePrimus(configuration, parameters: source, device: device)
      let tape = Tape(device)
      let logits = try network.logits(Variable(images), on: tape, recompute: true)
      try tape.backward(from: logits, gradient: Toy.tensor(logits.shape, seed: 5))
    }
    let pool = try ThreadPool(threads: 2)
    var (count, failures) = (1, 0)
    var index = -1  // first a step that nothing fails, which counts
    while index < count {
      let budget = MemoryBudget()
      do {
        let device = try CPUDevice(pool: pool, budget: budget)
        budget.restartCount()
        if index >= 0 { budget.failAllocation(index) }
        // A tape that frees what it keeps and asks again may get by.
        do { try step(device) } catch let error as MedDINOError {
          #expect(error.kind == .outOfMemory && index >= 0)
          failures += 1
        }
        if index < 0 { count = budget.allocationCount }
        // On the same device it works after that, in scratch of whatever sizes the failure has left.
        budget.failAllocation(-1)
        try step(device)
      }
      #expect(budget.bytesInUse == 0, "allocation \(index)")
      index += index < 0 ? 1 : 3
    }
    #expect(failures > count / 6)
  }

  @Test func cancelStopsForwardAndBackward() throws {
    let device = try Toy.device()
    let network = try TrainablePrimus(Toy.primus(), parameters: Toy.parameters(Toy.primus()), device: device)
    let cancellation = Cancellation()
    let tape = Tape(device, control: RunControl(cancellation: cancellation))
    let images = Variable(try Toy.tensor([2, 1, 8, 8], seed: 4))
    let logits = try network.logits(images, on: tape)
    cancellation.request()
    #expect(throws: MedDINOError.cancelled) { try tape.backward(from: logits, gradient: Toy.tensor(logits.shape, seed: 5)) }
    #expect(throws: MedDINOError.cancelled) { _ = try network.logits(images, on: tape) }
  }
}

@Suite struct TrainingRandomnessTests {
  @Test func keptImages() throws {
    let random = TrainingRandomness(seed: 3, step: 7)
    for (batch, rate, count) in [(6, 0.4, 3), (9, 0.4, 5), (10, 0.7, 3), (2, 0.2, 1), (3, 0.95, 1)] {
      let kept = try #require(random.kept(batch: batch, rate: rate, block: 0, branch: 0))
      #expect(kept.indices.count == count && Set(kept.indices).count == count)
      #expect(kept.indices.allSatisfy { (0..<batch).contains($0) })
      #expect(kept.scale == Float(Double(batch) / Double(count)))
    }
    #expect(random.kept(batch: 1, rate: 0.9, block: 0, branch: 0) == nil)
    #expect(random.kept(batch: 8, rate: 0, block: 0, branch: 0) == nil)
  }

  @Test func drawsDependOnTheirKeyAlone() throws {
    let configuration = Toy.untied()
    func indices(_ step: UInt64, _ group: UInt64, _ block: Int, _ branch: Int) -> [Int]? {
      TrainingRandomness(seed: 1, step: step, group: group).kept(batch: 64, rate: 0.5, block: block, branch: branch)?.indices
    }
    let all = [indices(0, 0, 0, 0), indices(1, 0, 0, 0), indices(0, 1, 0, 0), indices(0, 0, 1, 0), indices(0, 0, 0, 1)]
    #expect(Set(all).count == 5)
    #expect(all == [indices(0, 0, 0, 0), indices(1, 0, 0, 0), indices(0, 1, 0, 0), indices(0, 0, 1, 0), indices(0, 0, 0, 1)])
    for block in 0..<200 {
      let rope = try #require(TrainingRandomness(seed: 1, step: 0).rope(configuration, block: block))
      let (shift, jitter, rescale) = (try #require(rope.shift), try #require(rope.jitter), try #require(rope.rescale))
      #expect(abs(shift.y) <= 0.2 && abs(shift.x) <= 0.2 && shift.y != shift.x)
      #expect((1 / 1.31...1.31).contains(jitter.y) && (1 / 1.31...1.31).contains(jitter.x) && jitter.y != jitter.x)
      #expect((1 / 1.51...1.51).contains(rescale))
    }
  }
}
