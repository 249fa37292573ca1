public import Platform
public import Tensors

/// AdamW over a list of parameters, each with its own rule, with clipping by global norm before the update.
///
/// Holds two moments per trainable parameter, from the device's budget. Frozen parameters are left out; a parameter that no backward
/// reached since `zeroGradients` is left alone by a step, and the exponent of its bias correction does not advance.
/// Source: model specification 4.2 (the update), 6 item 4 and pipeline specification 9 (clipping).
public final class AdamW {
  public struct Options: Equatable, Sendable {
    public var beta1: Double
    public var beta2: Double
    public var epsilon: Double
    /// Largest norm of the gradient of one clip group; nil does not clip.
    public var maximumNorm: Double?
    public var nonFinite: NonFinitePolicy
    public init(
      beta1: Double = 0.9, beta2: Double = 0.98, epsilon: Double = 1e-8, maximumNorm: Double? = 12,
      nonFinite: NonFinitePolicy = .skip(limit: 10)
    ) {
      self.beta1 = beta1
      self.beta2 = beta2
      self.epsilon = epsilon
      self.maximumNorm = maximumNorm
      self.nonFinite = nonFinite
    }
  }

  /// What a step does when a gradient holds NaN or an infinity.
  public enum NonFinitePolicy: Equatable, Sendable {
    /// Parameters and moments stay as they are; `limit` such steps in a row are an error.
    case skip(limit: Int)
    /// The update is made all the same, as official pretraining does.
    case update
  }

  /// One parameter with its rule and moments.
  public struct Member {
    public let parameter: Parameter
    public let rule: ParameterRule
    public let firstMoment: Tensor
    public let secondMoment: Tensor
    let clipIndex: Int
  }

  public let options: Options
  public let members: [Member]
  /// In the order of their first parameter; `Report.norms` has this order.
  public let clipGroups: [String]
  /// Updates made so far, of the optimiser and of each member.
  public internal(set) var steps = 0
  public internal(set) var memberSteps: [Int]
  /// Steps that the non-finite policy skipped, altogether and since the last update.
  public internal(set) var skipped = 0
  public internal(set) var skippedInRow = 0
  private let device: any TrainingDevice

  /// `rule`: of a parameter by its name.
  /// Throws: `.invalid` for options out of range or a name that appears twice, `.outOfMemory`.
  public init(
    _ parameters: [Parameter], options: Options = Options(), device: any TrainingDevice, rule: (String) -> ParameterRule
  ) throws(MedDINOError) {
    try Self.check(options)
    var names: Set<String> = []
    var groups: [String] = []
    var members: [Member] = []
    for parameter in parameters where parameter.isTrainable {
      let name = parameter.name
      guard names.insert(name).inserted else { throw .invalid("parameter \"\(name)\" is given twice to the optimiser") }
      let rule = rule(name)
      let clipIndex = groups.firstIndex(of: rule.clipGroup) ?? groups.count
      if clipIndex == groups.count { groups.append(rule.clipGroup) }
      let first = try Tensor(parameter.value.shape, in: device.budget, "moments of \(name)")
      let second = try Tensor(parameter.value.shape, in: device.budget, "moments of \(name)")
      device.fill(first, 0)
      device.fill(second, 0)
      members.append(
        Member(parameter: parameter, rule: rule, firstMoment: first, secondMoment: second, clipIndex: clipIndex))
    }
    self.options = options
    self.members = members
    self.device = device
    clipGroups = groups
    memberSteps = [Int](repeating: 0, count: members.count)
  }

  private static func check(_ options: Options) throws(MedDINOError) {
    guard (0..<1).contains(options.beta1), (0..<1).contains(options.beta2), options.epsilon >= 0, options.epsilon.isFinite else {
      throw .invalid("betas are \(options.beta1), \(options.beta2) and epsilon \(options.epsilon), expected 0 to below 1 and at least 0")
    }
    if let norm = options.maximumNorm, !(norm > 0) { throw .invalid("largest gradient norm is \(norm), expected more than 0") }
    if case .skip(let limit) = options.nonFinite, limit < 1 {
      throw .invalid("limit of skipped steps is \(limit), expected at least 1")
    }
  }

  public func zeroGradients() {
    for member in members { member.parameter.zeroGradient() }
  }

  /// The step's common values; rules multiply them.
  public struct Rates: Equatable, Sendable {
    public var learningRate: Double
    public var lastLayerLearningRate: Double
    public var weightDecay: Double
    /// `lastLayerLearningRate` nil: the common rate.
    public init(learningRate: Double, lastLayerLearningRate: Double? = nil, weightDecay: Double = 1) {
      self.learningRate = learningRate
      self.lastLayerLearningRate = lastLayerLearningRate ?? learningRate
      self.weightDecay = weightDecay
    }
  }

  /// What one step did.
  public struct Report: Equatable, Sendable {
    /// Norm of the (mean) gradient before clipping, per clip group.
    public var norms: [Double]
    /// False when the non-finite policy skipped the update.
    public var isUpdated: Bool
  }

  /// One update from the gradients that the parameters hold; they stay as they are.
  ///
  /// `accumulated`: batches whose gradients were summed; their mean is used.
  /// Throws: `.state` when the limit of skipped steps is reached, `.invalid`.
  @discardableResult
  public func step(_ rates: Rates, accumulated: Int = 1) throws(MedDINOError) -> Report {
    guard accumulated >= 1 else { throw .invalid("accumulated batches are \(accumulated), expected at least 1") }
    let mean = 1 / Double(accumulated)
    var sums = [Double](repeating: 0, count: clipGroups.count)
    var culprit: String?
    for member in members {
      guard let gradient = member.parameter.gradient else { continue }
      let sum = device.sumOfSquares(gradient)
      if !sum.isFinite, culprit == nil { culprit = member.parameter.name }
      sums[member.clipIndex] += sum
    }
    let norms = sums.map { $0.squareRoot() * mean }
    if let culprit, case .skip(let limit) = options.nonFinite {
      skipped += 1
      skippedInRow += 1
      guard skippedInRow < limit else {
        throw .state("gradient of \"\(culprit)\" is not finite for \(skippedInRow) steps in a row, expected finite gradients")
      }
      return Report(norms: norms, isUpdated: false)
    }
    steps += 1
    skippedInRow = 0
    for (index, member) in members.enumerated() {
      guard let gradient = member.parameter.gradient else { continue }
      memberSteps[index] += 1
      let rate = member.rule.isLastLayer ? rates.lastLayerLearningRate : rates.learningRate
      let update = AdamWUpdate(
        learningRate: rate * member.rule.learningRate, beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon,
        weightDecay: rates.weightDecay * member.rule.weightDecay, step: memberSteps[index],
        gradientScale: mean * clipCoefficient(norm: norms[member.clipIndex], maximum: options.maximumNorm))
      device.adamW(
        member.parameter.value, gradient: gradient, firstMoment: member.firstMoment, secondMoment: member.secondMoment, update)
    }
    return Report(norms: norms, isUpdated: true)
  }
}

/// min(1, maximum / (norm + 1e-6)); NaN when the norm is. Source: model specification 4.2.
public func clipCoefficient(norm: Double, maximum: Double?) -> Double {
  guard let maximum else { return 1 }
  let coefficient = maximum / (norm + 1e-6)
  return coefficient.isNaN || coefficient < 1 ? coefficient : 1
}
