public import Networks
public import Platform
public import Tensors
public import Training

/// The networks of one run: the student's three parts; teachers have the same sizes. Source: model specification 6.
public struct DistillationNetworks: Equatable, Sendable {
  public var encoder: EncoderConfiguration
  public var dinoHead = HeadConfiguration()
  public var ibotHead = HeadConfiguration()
  public init(encoder: EncoderConfiguration = EncoderConfiguration()) { self.encoder = encoder }

  /// Throws: `.invalid` naming the value.
  public func validate() throws(MedDINOError) {
    try encoder.validate()
    try dinoHead.validate("dino_head")
    try ibotHead.validate("ibot_head")
  }
}

/// Weights and forms of the losses. Source: model specification 6.3, 8.
public struct DistillationOptions: Equatable, Sendable {
  /// Class tokens: weight, and whether crops are compared with themselves.
  public var dinoWeight = 1.0
  public var ignoresDiagonal = true
  /// Weight of the local crops' part, by iteration; nil: 1.
  public var localWeight: Schedule?
  public var koLeoWeight = 0.1
  public var koLeo = KoLeoOptions()
  /// Neighbours are looked for among the images of all ranks instead of this one's.
  public var isKoLeoDistributed = false
  public var ibotWeight = 1.0
  public var gram: GramAnchoring?
  public var studentTemperature = 0.1
  public var sinkhornIterations = 3
  public init() {}

  /// Throws: `.invalid` naming the official key.
  public func validate() throws(MedDINOError) {
    for (key, value) in [
      ("dino.loss_weight", dinoWeight), ("dino.koleo_loss_weight", koLeoWeight), ("ibot.loss_weight", ibotWeight),
      ("gram.loss_weight", gram?.weight ?? 0),
    ] where !(value >= 0 && value.isFinite) {
      throw .invalid("\(key) is \(value), expected a finite number of at least 0")
    }
    guard koLeo.neighbours >= 1, koLeo.groupSize.map({ $0 >= 2 }) ?? true else {
      throw .invalid(
        "dino.koleo_topk is \(koLeo.neighbours) and koleo_distributed_loss_group_size \(koLeo.groupSize ?? 0), expected at least 1 and 2")
    }
    try gram?.validate()
  }
}

/// Anchoring of the student's patch similarities to those of an earlier teacher. Source: Siméoni et al., arXiv:2508.10104, section 4;
/// model specification 6 (items 1 and 7), 8.4.
public struct GramAnchoring: Equatable, Sendable {
  public enum Tokens: String, Sendable { case all, masked, unmasked }
  public var form = GramOptions()
  public var tokens = Tokens.all
  /// The target is the moving average itself instead of a network of its own.
  public var usesAverage = false
  public var weight = 1.0
  /// The weight by iteration, instead of `weight`.
  public var weightSchedule: Schedule?
  /// The iteration that begins by taking over the moving average; negative: none.
  public var loadsAverageAt = -1
  /// The anchor is taken anew from the moving average every `updateFrequency` iterations, from `firstUpdate` on, at most `maximumUpdates`
  /// times.
  public var isRefreshed = true
  public var updateFrequency = 50000
  public var firstUpdate = 0
  public var maximumUpdates: Int?
  /// The loss on masked and on unmasked patches is measured too.
  public var measuresStatistics = false
  public init() {}

  /// Throws: `.invalid` naming the official key.
  func validate() throws(MedDINOError) {
    guard !(form.removeNegative && form.removeTeacherNegative) else {
      throw .invalid("gram.remove_neg and gram.remove_only_teacher_neg are both true, expected at most one")
    }
    guard tokens == .all || !form.imageLevel else {
      throw .invalid("gram.tokens_used is \"\(tokens.rawValue)\" with img_level true, expected img_level false")
    }
    guard updateFrequency >= 1 else { throw .invalid("gram.update_frequency is \(updateFrequency), expected at least 1") }
    if let maximumUpdates, maximumUpdates < 0 { throw .invalid("gram.max_updates is \(maximumUpdates), expected at least 0") }
  }

  /// Whether the anchor is taken anew after iteration `iteration` (counted from 0), `made` times before.
  public func refreshes(after iteration: Int, made: Int) -> Bool {
    guard isRefreshed, !usesAverage, iteration + 1 >= firstUpdate, (iteration + 1) % updateFrequency == 0 else { return false }
    return maximumUpdates.map { made < $0 } ?? true
  }
}

/// What one iteration's losses were, before weighting. `nil`: not computed.
public struct DistillationLosses: Equatable, Sendable {
  public var total = 0.0
  public var dinoLocal = 0.0
  public var dinoLocalWeight = 1.0
  public var dinoGlobal = 0.0
  /// Mean over the global crops.
  public var koLeo = 0.0
  public var ibot = 0.0
  public var gram: Double?
  public var gramWeight: Double?
  /// The Gram loss on masked and unmasked patches; measured, not trained.
  public var maskedGram: Double?
  public var unmaskedGram: Double?
  /// Mean entropy of the teacher's assignments of class tokens and of masked patches, of at most 64 each on every rank. Units: nats.
  public var teacherEntropy: Double?
  public var teacherPatchEntropy: Double?
  public init() {}

  /// What says how the teacher is, under names of our own.
  public var measured: [(name: String, value: Double)] {
    [("teacher_entropy", teacherEntropy), ("teacher_patch_entropy", teacherPatchEntropy)].compactMap { entry in
      entry.1.map { (entry.0, $0) }
    }
  }

  /// Each becomes its mean over the ranks, of those that computed it. Throws: `.state`.
  mutating func average(over ranks: any Communicator) throws(MedDINOError) {
    if ranks.isSolo { return }
    let fields: [WritableKeyPath<DistillationLosses, Double>] = [\.total, \.dinoLocal, \.dinoGlobal, \.koLeo, \.ibot]
    let optional: [WritableKeyPath<DistillationLosses, Double?>] = [
      \.gram, \.maskedGram, \.unmaskedGram, \.teacherEntropy, \.teacherPatchEntropy,
    ]
    var own: [Double] = []
    for field in fields { own += [self[keyPath: field], 1] }
    for field in optional { own += self[keyPath: field].map { [$0, 1] } ?? [0, 0] }
    let sums = try ranks.sums(own)
    func mean(_ index: Int) -> Double? { sums[2 * index + 1] == 0 ? nil : sums[2 * index] / sums[2 * index + 1] }
    for (index, field) in fields.enumerated() { self[keyPath: field] = mean(index) ?? 0 }
    for (index, field) in optional.enumerated() { self[keyPath: field] = mean(fields.count + index) }
  }

  /// Under the official names, in the official order.
  public var named: [(name: String, value: Double)] {
    let list: [(String, Double?)] = [
      ("total_loss", total), ("dino_local_crops_loss", dinoLocal), ("dino_local_loss_weight", dinoLocalWeight),
      ("dino_global_crops_loss", dinoGlobal), ("koleo_loss", koLeo), ("ibot_loss", ibot), ("gram_loss_weight", gramWeight),
      ("gram_loss", gram), ("stats_only_masked_gram_loss", maskedGram), ("stats_only_unmasked_gram_loss", unmaskedGram),
    ]
    return list.compactMap { entry in entry.1.map { (entry.0, $0) } }
  }
}
