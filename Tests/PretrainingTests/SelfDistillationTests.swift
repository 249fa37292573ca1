import Networks
import Platform
import Pretraining
import Tensors
import TestSupport
import Testing
import Training

/// Values of an ordinary size for any parameter, by name and seed.
private struct RandomSource: ParameterSource {
  let seed: UInt64
  func contains(_ name: String) -> Bool { !name.hasSuffix("periods") }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    var random = CounterRandom(seed: seed, purpose: .init(name))
    let centre: Float = name.hasSuffix("norm.weight") || name.contains("norm1.weight") || name.contains("norm2.weight") ? 1 : 0
    return try Tensor((0..<shape.count).map { _ in centre + 0.8 * (random.uniformFloat() - 0.5) }, shape, in: budget)
  }
}

@Suite struct SelfDistillationTests {
  private static var networks: DistillationNetworks {
    var encoder = EncoderConfiguration()
    (encoder.patchSize, encoder.inputChannels, encoder.embedDim, encoder.depth, encoder.heads) = (4, 1, 16, 2, 2)
    (encoder.hiddenDim, encoder.storageTokens, encoder.ropePrecision, encoder.layerScale) = (24, 1, .float32, 0.5)
    encoder.untieGlobalAndLocalClassNorm = true
    var networks = DistillationNetworks(encoder: encoder)
    (networks.dinoHead.prototypes, networks.dinoHead.bottleneck, networks.dinoHead.hidden) = (12, 6, 10)
    (networks.ibotHead.prototypes, networks.ibotHead.bottleneck, networks.ibotHead.hidden) = (9, 5, 8)
    return networks
  }

  private func batch(gram: Int? = nil) throws -> PretrainingBatch {
    let budget = MemoryBudget()
    var generator = SeededGenerator(12)
    func crops(_ count: Int, _ side: Int) throws -> Tensor {
      try Tensor(generator.floats(count * side * side, in: -2...2), [count, 1, side, side], in: budget)
    }
    let masks = try Tensor([4, 9], .uint8, in: budget)
    for index in 0..<36 { masks.elements(UInt8.self)[index] = index < 18 && index % 3 == 0 ? 1 : 0 }
    return PretrainingBatch(
      globalCrops: try crops(4, 12), localCrops: try crops(6, 8), gramCrops: try gram.map { try crops(4, $0) }, masks: BatchMasks(masks))
  }

  struct Form: Sendable, CustomStringConvertible {
    let description: String
    var options = DistillationOptions()
    var gramSide: Int?
    init(_ description: String, gram: Int? = nil, _ change: (inout DistillationOptions) -> Void) {
      self.description = description
      gramSide = gram
      change(&options)
    }
  }
  private static func anchoring(_ change: (inout GramAnchoring) -> Void) -> GramAnchoring {
    var gram = GramAnchoring()
    gram.weight = 30
    change(&gram)
    return gram
  }
  static let forms = [
    Form("plain") { _ in },
    Form("diagonal, weights") { ($0.ignoresDiagonal, $0.dinoWeight, $0.ibotWeight, $0.koLeoWeight) = (false, 2, 0.5, 0.3) },
    Form("anchor, per image, larger views", gram: 20) { $0.gram = anchoring { $0.measuresStatistics = true } },
    Form("anchor, masked patches") {
      $0.gram = anchoring { ($0.tokens, $0.form.imageLevel) = (.masked, false) }
    },
    Form("anchor, unmasked patches of the average") {
      $0.gram = anchoring { ($0.tokens, $0.form.imageLevel, $0.usesAverage) = (.unmasked, false, true) }
    },
  ]

  /// The gradient of the total loss along random directions against its differences; the teachers stay.
  @Test(arguments: forms) func gradientsAreSlopesOfTheTotalLoss(form: Form) throws {
    let device = try CPUDevice(pool: ThreadPool(threads: 2), budget: MemoryBudget())
    let model = try SelfDistillation(
      Self.networks, options: form.options, student: RandomSource(seed: 1), teacher: RandomSource(seed: 2),
      gramTeacher: RandomSource(seed: 3),
      device: device)
    let (batch, tape) = (try batch(gram: form.gramSide), Tape(device))
    func loss() throws -> Double {
      try model.accumulate(batch, .init(iteration: 0, teacherTemperature: 0.07), on: tape).total
    }
    _ = try loss()
    let gradients = model.studentParameters.map { $0.gradient?.floatArray() ?? [Float](repeating: 0, count: $0.shape.count) }
    #expect(model.studentParameters.allSatisfy { $0.gradient != nil })
    var generator = SeededGenerator(5)
    let step: Float = 2e-3
    for (parameter, gradient) in zip(model.studentParameters, gradients) {
      let (direction, start) = (generator.floats(gradient.count), parameter.value.floatArray())
      func at(_ distance: Float) throws -> Double {
        for index in start.indices { parameter.value.floats[index] = start[index] + distance * direction[index] }
        return try loss()
      }
      let (narrow, wide) = (try (at(step) - at(-step)) / Double(2 * step), try (at(2 * step) - at(-2 * step)) / Double(4 * step))
      for index in start.indices { parameter.value.floats[index] = start[index] }
      let expected = (4 * narrow - wide) / 3
      let parts = zip(gradient, direction).map { Double($0) * Double($1) }
      let size = parts.reduce(0) { $0 + abs($1) }
      #expect(abs(parts.reduce(0, +) - expected) <= 4e-3 * size + 1e-2, "\(form) \(parameter.name): \(parts.reduce(0, +)), \(expected)")
    }
  }

  /// The total is the weighted sum of the parts. Source: model specification 6.3.
  @Test func totalsAreWeightedSums() throws {
    let device = try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget())
    var options = Self.forms[2].options
    options.localWeight = try .constant(0.5, steps: 10)
    let model = try SelfDistillation(
      Self.networks, options: options, student: RandomSource(seed: 1), gramTeacher: RandomSource(seed: 3), device: device)
    let losses = try model.accumulate(batch(gram: 20), .init(iteration: 3, teacherTemperature: 0.05), on: Tape(device))
    // Two global and three local crops: 2 and 6 pairs of 8.
    let gram = try #require(losses.gram)
    let total = 0.5 * 6 / 8 * losses.dinoLocal + 2 / 8 * losses.dinoGlobal + 0.2 * losses.koLeo + losses.ibot + 30 * gram
    #expect(abs(losses.total - total) < 1e-9 * abs(total))
    #expect(losses.dinoLocalWeight == 0.5 && losses.gramWeight == 30)
    #expect(losses.maskedGram != nil && losses.unmaskedGram != nil)
  }

  @Test func anchorsAreTakenAnewByTheRule() {
    var gram = GramAnchoring()
    (gram.updateFrequency, gram.firstUpdate, gram.maximumUpdates) = (10, 30, 2)
    var made = 0
    var when: [Int] = []
    for iteration in 0..<100 where gram.refreshes(after: iteration, made: made) {
      made += 1
      when.append(iteration)
    }
    #expect(when == [29, 39])
    gram.maximumUpdates = nil
    #expect((0..<60).filter { gram.refreshes(after: $0, made: 7) } == [29, 39, 49, 59])
    gram.isRefreshed = false
    #expect((0..<60).allSatisfy { !gram.refreshes(after: $0, made: 0) })
  }

  /// `it_load_ema_teacher`: the anchor becomes the moving average before that iteration.
  @Test func anchorsMayLoadTheAverage() throws {
    let device = try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget())
    var options = DistillationOptions()
    options.gram = Self.anchoring { ($0.loadsAverageAt, $0.isRefreshed) = (1, false) }
    let settings = try PretrainingSettings(preset: "tiny")
    let model = try SelfDistillation(
      Self.networks, options: options, student: RandomSource(seed: 1), teacher: RandomSource(seed: 2), gramTeacher: RandomSource(seed: 3),
      device: device)
    let trainer = try DistillationTrainer(model, schedules: settings.schedules)
    let tape = Tape(device)
    func anchor() -> [Float] { model.gramTeacherState?.first { $0.name == "backbone.norm.bias" }?.tensor.floatArray() ?? [] }
    func teacher() -> [Float] { model.teacherState.first { $0.name == "backbone.norm.bias" }?.tensor.floatArray() ?? [] }
    let first = anchor()
    try trainer.step(batch(), seed: nil, on: tape)
    #expect(anchor() == first)
    let average = teacher()
    try trainer.step(batch(), seed: nil, on: tape)
    #expect(anchor() == average && average != first)
  }

  @Test func batchesThatDoNotFitAreNamed() throws {
    let device = try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget())
    let model = try SelfDistillation(Self.networks, options: DistillationOptions(), student: RandomSource(seed: 1), device: device)
    let good = try batch()
    let small = BatchMasks(try Tensor([4, 4], .uint8, in: MemoryBudget()))
    let wrong = [
      (PretrainingBatch(globalCrops: good.localCrops, localCrops: good.localCrops, masks: good.masks), "masks"),
      (PretrainingBatch(globalCrops: good.globalCrops, localCrops: good.localCrops, masks: small), "masks"),
      (PretrainingBatch(globalCrops: good.globalCrops, localCrops: good.globalCrops.rows(0..<3), masks: good.masks), "local crops"),
      (
        PretrainingBatch(globalCrops: good.globalCrops, localCrops: good.localCrops, gramCrops: good.localCrops, masks: good.masks),
        "Gram teacher crops"
      ),
    ]
    for (batch, word) in wrong {
      let error = #expect(throws: MedDINOError.self) {
        try model.accumulate(batch, .init(iteration: 0, teacherTemperature: 0.07), on: Tape(device))
      }
      #expect(error?.kind == .shape && error?.message.contains(word) == true)
    }
  }
}
