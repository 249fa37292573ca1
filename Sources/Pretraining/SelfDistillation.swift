public import Networks
public import Platform
public import Tensors

/// Student, moving-average teacher and Gram teacher, and the losses between them.
///
/// Used by one thread at a time. Source: Siméoni et al., DINOv3, arXiv:2508.10104; model specification 6.
public final class SelfDistillation {
  public let networks: DistillationNetworks
  public let options: DistillationOptions
  let device: any TrainingDevice
  /// Those who share a batch; each has as many images as the others.
  public let ranks: any Communicator
  let student: DistillationNetwork
  let teacher: DistillationNetwork
  /// Where anchoring has a network of its own.
  let gramTeacher: DistillationNetwork?

  /// Initial values by name, `backbone.…`, `dino_head.…`, `ibot_head.…`. The teacher is the student's copy unless it is given;
  /// `gramTeacher` (a backbone) is needed where the options have anchoring to a network of its own.
  /// Throws: `.invalid` for options that cannot be or a missing Gram teacher, `.format`, `.outOfMemory`.
  public init(
    _ networks: DistillationNetworks, options: DistillationOptions, student: any ParameterSource, teacher: (any ParameterSource)? = nil,
    gramTeacher: (any ParameterSource)? = nil, device: any TrainingDevice, ranks: any Communicator = SoloCommunicator()
  ) throws(MedDINOError) {
    try networks.validate()
    try options.validate()
    self.networks = networks
    self.options = options
    self.device = device
    self.ranks = ranks
    self.student = try DistillationNetwork(networks, parameters: student, isStudent: true, device: device)
    self.teacher = try DistillationNetwork(networks, parameters: teacher ?? student, isStudent: false, device: device)
    guard let gram = options.gram, !gram.usesAverage else {
      self.gramTeacher = nil
      return
    }
    guard let source = gramTeacher else { throw .invalid("gram.ckpt is missing, expected the teacher of an earlier stage") }
    self.gramTeacher = try DistillationNetwork(networks, parameters: source, isStudent: false, hasHeads: false, device: device)
  }

  /// What the optimiser changes, in official order.
  public var studentParameters: [Parameter] { student.parameters }
  /// Learned tensors and buffers under their official names.
  public var studentState: [(name: String, tensor: Tensor)] { student.state }
  public var teacherState: [(name: String, tensor: Tensor)] { teacher.state }
  /// The moving averages, one per parameter of the student.
  public var teacherAverages: [(name: String, tensor: Tensor)] { teacher.parameters.map { ($0.name, $0.value) } }
  public var gramTeacherState: [(name: String, tensor: Tensor)]? { gramTeacher?.state }

  /// The Gram teacher becomes what the teacher's backbone is now. Without effect where there is none.
  public func refreshGramTeacher() throws(MedDINOError) {
    try gramTeacher?.copyParameters(from: teacher)
  }

  /// How one forward is made.
  public struct Forward {
    public var iteration: Int
    public var teacherTemperature: Double
    /// Stochastic depth and coordinate augmentation of the student; nil: none.
    public var randomness: (seed: UInt64, step: UInt64)?
    /// Blocks of the student run again in the backward instead of keeping their activations.
    public var recompute = false
    public init(iteration: Int, teacherTemperature: Double, randomness: (seed: UInt64, step: UInt64)? = nil, recompute: Bool = false) {
      (self.iteration, self.teacherTemperature, self.randomness) = (iteration, teacherTemperature, randomness)
      self.recompute = recompute
    }
  }

  /// Forward and backward of one batch: gradients are added to the student's parameters.
  ///
  /// One group of crops after the other goes forth and all the way back, so that the activations of both never exist at once.
  /// Progress goes from 0 to 1 within the tape's control, a backward taking as long as the three forwards together.
  /// Throws: `.shape`, `.invalid` for a batch of one image with KoLeo, `.outOfMemory`, `.cancelled`. Source: model specification 6.2, 6.3.
  public func accumulate(_ batch: PretrainingBatch, _ forward: Forward, on tape: Tape) throws(MedDINOError) -> DistillationLosses {
    let encoder = networks.encoder
    try batch.check(channels: encoder.inputChannels, patchSize: encoder.patchSize)
    guard batch.images * (options.isKoLeoDistributed ? ranks.size : 1) >= 2 || options.koLeoWeight == 0 else {
      throw .invalid("batch of 1 image, expected at least 2: KoLeo needs a neighbour (dino.koleo_loss_weight 0 turns it off)")
    }
    tape.reset()
    let whole = tape.control
    defer { tape.control = whole }
    tape.control = whole.part(0, 0.12)
    let targets = try targets(batch, forward, on: tape)
    var losses = DistillationLosses()
    losses.dinoLocalWeight = options.localWeight?.value(at: forward.iteration) ?? 1
    // The larger group first: the other one then fits into the memory that it leaves.
    let groups: [CropGroup] = rows(batch.globalCrops) >= rows(batch.localCrops) ? [.global, .local] : [.local, .global]
    var done = 0.12
    for group in groups {
      let end = group == groups[0] ? 0.56 : 1
      let forth = done + 0.4 * (end - done)
      tape.control = whole.part(done, forth)
      let features = try features(group, batch, forward, on: tape)
      switch group {
      case .local: try addLocalLoss(batch, features, targets, forward, to: &losses, on: tape)
      case .global: try addGlobalLosses(batch, features, targets, forward, to: &losses, on: tape)
      }
      tape.control = whole.part(forth, end)
      try tape.backward()
      done = end
    }
    let scales = classScales(batch, losses.dinoLocalWeight)
    losses.total = scales.local * losses.dinoLocal + scales.global * losses.dinoGlobal
    losses.total += options.koLeoWeight * Double(globalCropCount) * losses.koLeo + options.ibotWeight * losses.ibot
    losses.total += (losses.gramWeight ?? 0) * (losses.gram ?? 0)
    return losses
  }

  /// Crops that go through the student together; the raw value tells their random draws apart.
  private enum CropGroup: UInt64 { case global, local }

  /// Tokens of all crops.
  private func rows(_ crops: Tensor) -> Int {
    let encoder = networks.encoder
    return crops.shape[0] * (crops.shape[2] / encoder.patchSize * (crops.shape[3] / encoder.patchSize) + encoder.prefixTokens)
  }

  /// The patch tokens of global crops that the losses read; nil: all.
  private func patches(_ batch: PretrainingBatch) -> [Int]? { options.gram == nil ? batch.masks.indices : nil }

  private func features(
    _ group: CropGroup, _ batch: PretrainingBatch, _ forward: Forward, on tape: Tape
  ) throws(MedDINOError) -> NormedTokens {
    let isLocal = group == .local
    let crops = isLocal ? batch.localCrops : batch.globalCrops
    let draws = forward.randomness.map {
      TrainingRandomness(seed: $0.seed, step: $0.step, group: group.rawValue, rank: ranks.rank).draws(
        networks.encoder, batch: crops.shape[0], isLocalCrop: isLocal)
    }
    return try student.features(
      .init(Variable(crops), mask: isLocal ? nil : batch.masks.masks, draws: draws), patches: isLocal ? [] : patches(batch),
      isLocalCrop: isLocal, recompute: forward.recompute, on: tape)
  }

  // MARK: the teacher's side

  private struct Targets {
    /// [2 · images, prototypes] and [masked patches, prototypes].
    let classes: Tensor
    let patches: Tensor?
    let features: NormedTokens
  }

  private func targets(_ batch: PretrainingBatch, _ forward: Forward, on tape: Tape) throws(MedDINOError) -> Targets {
    let features = try teacher.features(.init(Variable(batch.globalCrops)), patches: patches(batch), on: tape)
    let temperature = Float(forward.teacherTemperature)
    func assigned(_ head: ProjectionHead?, _ tokens: Variable?) throws(MedDINOError) -> Tensor {
      guard let head else { throw MedDINOError(.internal, "the teacher has no heads") }
      let logits =
        if let tokens { try head.logits(tokens, on: tape).value } else {
          try tape.tensor([0, head.configuration.prototypes], "no masked patches")
        }
      try device.sinkhorn(logits, temperature: temperature, iterations: options.sinkhornIterations, into: logits, ranks: ranks)
      return logits
    }
    let classes = try assigned(teacher.dinoHead, try features.classTokens(on: tape))
    var patches: Tensor?
    let masked = batch.masks.indices
    // A rank without masked patches takes part in the sums of the others.
    if !masked.isEmpty || !ranks.isSolo {
      let assigned = try assigned(teacher.ibotHead, masked.isEmpty ? nil : try features.patchTokens(masked, on: tape))
      if !masked.isEmpty { patches = assigned }
    }
    return Targets(classes: classes, patches: patches, features: features)
  }

  // MARK: losses

  /// Assignments whose entropy is taken: logarithms of all of them would cost more than they tell.
  private static let entropyRows = 64

  /// Factors of the two class losses in the total: each counts by its pairs of crops.
  private func classScales(_ batch: PretrainingBatch, _ localWeight: Double) -> (local: Double, global: Double) {
    let local = globalCropCount * batch.localCount
    let global = globalCropCount * (options.ignoresDiagonal ? globalCropCount - 1 : globalCropCount)
    let terms = Double(local + global)
    return (options.dinoWeight * Double(local) / terms * localWeight, options.dinoWeight * Double(global) / terms)
  }

  /// The class loss of a group of crops.
  private func classLoss(
    _ features: NormedTokens, _ targets: Targets, _ pairs: TargetPairs, scale: Double, on tape: Tape
  ) throws(MedDINOError) -> Double {
    guard let head = student.dinoHead else { return 0 }
    return try tape.softCrossEntropy(
      try head.logits(try features.classTokens(on: tape), on: tape), targets: targets.classes, pairs: pairs,
      temperature: Float(options.studentTemperature), scale: Float(scale), overwrites: true)
  }

  private func addLocalLoss(
    _ batch: PretrainingBatch, _ features: NormedTokens, _ targets: Targets, _ forward: Forward, to losses: inout DistillationLosses,
    on tape: Tape
  ) throws(MedDINOError) {
    let pairs = try TargetPairs.crops(students: batch.localCount, teachers: globalCropCount, batch: batch.images, ignoreDiagonal: false)
    losses.dinoLocal = try classLoss(
      features, targets, pairs, scale: classScales(batch, losses.dinoLocalWeight).local, on: tape)
  }

  private func addGlobalLosses(
    _ batch: PretrainingBatch, _ features: NormedTokens, _ targets: Targets, _ forward: Forward, to losses: inout DistillationLosses,
    on tape: Tape
  ) throws(MedDINOError) {
    let globals = globalCropCount
    losses.teacherEntropy = device.meanEntropy(targets.classes, limit: Self.entropyRows)
    let pairs = try TargetPairs.crops(
      students: globals, teachers: globals, batch: batch.images, ignoreDiagonal: options.ignoresDiagonal)
    losses.dinoGlobal = try classLoss(features, targets, pairs, scale: classScales(batch, 1).global, on: tape)
    if options.koLeoWeight > 0 {
      let others: any Communicator = options.isKoLeoDistributed ? ranks : SoloCommunicator()
      for crop in 0..<globals {
        let tokens = try features.classTokens(crop * batch.images..<(crop + 1) * batch.images, on: tape)
        // The weight times the number of crops times the mean over the crops.
        // Of a loss that ranks share each has a part of the gradient, of which the trainer takes the mean.
        let scale = options.koLeoWeight * Double(others.size)
        losses.koLeo += try tape.koLeo(tokens, options.koLeo, scale: Float(scale), ranks: others) / Double(globals)
      }
    }
    try addPatchLoss(batch, features, targets, to: &losses, on: tape)
    if let gram = options.gram { try addGramLoss(gram, batch, features, targets, forward, to: &losses, on: tape) }
  }

  private func addPatchLoss(
    _ batch: PretrainingBatch, _ features: NormedTokens, _ targets: Targets, to losses: inout DistillationLosses, on tape: Tape
  ) throws(MedDINOError) {
    guard let head = student.ibotHead, let patches = targets.patches else { return }
    losses.teacherPatchEntropy = device.meanEntropy(patches, limit: Self.entropyRows)
    let logits = try head.logits(try features.patchTokens(batch.masks.indices, on: tape), on: tape)
    losses.ibot = try tape.softCrossEntropy(
      logits, targets: patches, pairs: .patches(weights: batch.masks.weights, images: features.images),
      temperature: Float(options.studentTemperature), scale: Float(options.ibotWeight), overwrites: true)
  }

  private func addGramLoss(
    _ gram: GramAnchoring, _ batch: PretrainingBatch, _ features: NormedTokens, _ targets: Targets, _ forward: Forward,
    to losses: inout DistillationLosses, on tape: Tape
  ) throws(MedDINOError) {
    let anchor = try anchorTokens(batch, features, targets, on: tape)
    let all = Array(0..<features.images * features.patches)
    let masked = batch.masks.indices
    let unmasked = { Array(Set(all).subtracting(masked)).sorted() }
    let weight = gram.weightSchedule?.value(at: forward.iteration) ?? gram.weight
    let chosen = gram.tokens == .all ? all : gram.tokens == .masked ? masked : unmasked()
    losses.gramWeight = weight
    losses.gram = 0
    if gram.tokens == .all {
      losses.gram = try tape.gramLoss(try features.patchTokens(on: tape), teacher: anchor, gram.form, scale: Float(weight))
    } else if !chosen.isEmpty {
      let (own, other) = try pair(chosen, features, anchor, on: tape)
      losses.gram = try tape.gramLoss(own, teacher: other, gram.form, scale: Float(weight))
    }
    guard gram.measuresStatistics else { return }
    var form = gram.form
    form.imageLevel = false
    func measured(_ places: [Int]) throws(MedDINOError) -> Double? {
      if places.isEmpty { return nil }
      return try tape.withoutRecording { () throws(MedDINOError) in
        let (own, other) = try pair(places, features, anchor, on: tape)
        return try device.gramLoss(own.value, teacher: other, form, scale: 1, gradient: nil)
      }
    }
    losses.maskedGram = try measured(masked)
    losses.unmaskedGram = try measured(unmasked())
  }

  /// Student and anchor tokens at some places, each [1, places, dim].
  private func pair(
    _ places: [Int], _ features: NormedTokens, _ anchor: Tensor, on tape: Tape
  ) throws(MedDINOError) -> (Variable, Tensor) {
    let dim = anchor.shape[2]
    let own = try features.patchTokens(places, on: tape).reshaped([1, places.count, dim])
    let other = try tape.gather(Variable(anchor.reshaped([anchor.shape[0] * anchor.shape[1], dim])), places).value
    return (own, other.reshaped([1, places.count, dim]))
  }

  /// The anchor's patch tokens on the student's grid [2 · images, patches, dim]; resized before anything is normalised.
  private func anchorTokens(
    _ batch: PretrainingBatch, _ features: NormedTokens, _ targets: Targets, on tape: Tape
  ) throws(MedDINOError) -> Tensor {
    var source = targets.features
    if let gramTeacher {
      source = try gramTeacher.features(.init(Variable(batch.gramCrops ?? batch.globalCrops)), on: tape)
    }
    let tokens = try source.patchTokens(on: tape).value
    if source.rows == features.rows, source.columns == features.columns { return tokens }
    let resized = try tape.tensor([features.images, features.patches, tokens.shape[2]], "resized Gram tokens")
    device.resizeTokens(
      tokens, rows: source.rows, columns: source.columns, toRows: features.rows, toColumns: features.columns, into: resized)
    return resized
  }
}
