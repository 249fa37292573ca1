internal import Glibc
internal import Platform
internal import Tensors

/// The random choices of one training forward of the encoder, drawn by key: the same numbers come again after a resume and in the
/// second forward of a recomputed block.
///
/// Source: model specification 1.3 (coordinate augmentation), 1.5 (stochastic depth).
public struct TrainingRandomness: Sendable {
  public let seed: UInt64
  public let step: UInt64
  /// Tells apart the forwards of one step: crop groups, accumulated batches.
  public let group: UInt64
  /// Of the process: ranks keep different images, but rotate alike.
  public let rank: UInt64
  public init(seed: UInt64, step: UInt64, group: UInt64 = 0, rank: Int = 0) {
    self.seed = seed
    self.step = step
    self.group = group
    self.rank = UInt64(max(rank, 0))
  }

  /// The images of a batch that a branch keeps, and the factor of their residual; nil when it keeps all.
  public func kept(batch: Int, rate: Double, block: Int, branch: Int) -> (indices: [Int], scale: Float)? {
    let count = max(Int(Double(batch) * (1 - rate)), 1)
    guard rate > 0, count < batch else { return nil }
    var random = CounterRandom(seed: seed, purpose: "stochastic depth", step: step, item: item(block, branch) | rank << 44)
    return (Array(random.permutation(batch).prefix(count)), Float(Double(batch) / Double(count)))
  }

  /// The coordinate augmentation of one block, nil when the configuration has none.
  public func rope(_ configuration: EncoderConfiguration, block: Int) -> RopeAugmentation? {
    let c = configuration
    guard c.ropeShift != nil || c.ropeJitter != nil || c.ropeRescale != nil else { return nil }
    var random = CounterRandom(seed: seed, purpose: "rope augmentation", step: step, item: item(block, 0))
    var result = RopeAugmentation()
    if let shift = c.ropeShift { result.shift = (Self.draw(shift, &random), Self.draw(shift, &random)) }
    if let jitter = c.ropeJitter {
      let bound = log(jitter)
      result.jitter = (expf(Self.draw(bound, &random)), expf(Self.draw(bound, &random)))
    }
    if let rescale = c.ropeRescale { result.rescale = expf(Self.draw(log(rescale), &random)) }
    return result
  }

  /// The draws of a training forward of `batch` images.
  public func draws(
    _ configuration: EncoderConfiguration, batch: Int, isLocalCrop: Bool = false
  ) -> VisionTransformer.TrainingDraws {
    VisionTransformer.TrainingDraws(
      kept: { block, branch in kept(batch: batch, rate: configuration.dropPathRate, block: block, branch: branch) },
      rope: { block in rope(configuration, block: block) }, isLocalCrop: isLocalCrop)
  }

  private func item(_ block: Int, _ branch: Int) -> UInt64 { group << 32 | UInt64(block) << 1 | UInt64(branch) }
  private static func draw(_ bound: Double, _ random: inout CounterRandom) -> Float {
    Float((2 * random.uniform() - 1) * abs(bound))
  }
}
