internal import Platform
internal import Tensors

/// Memory of one training step of a segmentation network, from its shape. Units: bytes.
///
/// An estimate of the peak from the second step on, to choose the batch size and recomputation before anything is allocated. What does not
/// fit in 64 bits is the largest number that does.
public struct TrainingCost: Equatable, Sendable {
  /// Master weights, those of low-rank factors included.
  public let parameters: Int
  /// Gradients, and the two moments of AdamW.
  public let gradients, moments: Int
  /// What the tape keeps for the backward: activations of the blocks, taps, images.
  public let activations: Int
  /// Gradients of activations, logits, packed weights and scratch memory at the worst moment.
  public let working: Int
  /// Floating-point operations of forward and backward: a backward takes twice its forward where weights learn, once where only the
  /// gradient passes through.
  public let flops: Double
  public var total: Int { .saturatingSum(parameters, gradients, moments, activations, working) }

  /// `isAugmented`: stochastic depth is on. `recompute`: as in `TrainablePrimus.logits`.
  public init(
    _ configuration: Primus.Configuration, adaptation: Adaptation = .full, batch: Int, height: Int, width: Int, recompute: Bool = false,
    isAugmented: Bool = true, threads: Int
  ) {
    let sizes = Sizes(
      configuration, adaptation, batch: batch, height: height, width: width, isAugmented: isAugmented, recompute: recompute)
    parameters = sizes.parameters * 4
    gradients = sizes.trained * 4
    moments = sizes.trained * 8
    let trainedBlocks = Double(sizes.trainedBlocks)
    let blocks = recompute ? trainedBlocks * sizes.stream + (trainedBlocks > 0 ? sizes.block : 0) : trainedBlocks * sizes.block
    activations = Int(saturating: (blocks + sizes.taps + sizes.images + sizes.maps) * 4)
    working = Int(saturating: (sizes.walk + sizes.decoder + sizes.products) * 4 + Double(threads * Sizes.laneBytes))
    let forward = NetworkCost(configuration, height: height, width: width, threads: threads)
    let walked = forward.blockFlops * Double(sizes.trainedBlocks) / Double(configuration.encoder.depth)
    let again = (adaptation.rank == nil ? 2.0 : 1) + (recompute ? 1 : 0)
    flops = Double(batch) * (forward.flops + 2 * forward.decoderFlops + again * walked)
  }
}

/// Numbers of elements; those that grow with batch and image in floating point, because a plan's numbers can exceed 64 bits.
private struct Sizes {
  let parameters, trained, trainedBlocks: Int
  /// [batch, tokens, dim], and what one trained block keeps.
  let stream, block: Double
  let taps, images: Double
  /// Of the decoder.
  let maps: Double
  /// Gradients of activations of the widest operations, and the memory of attention.
  let walk: Double
  /// Logits, their gradient, the maps of token groups, the weights packed for both directions.
  let decoder: Double
  /// Packed factors of the largest product.
  let products: Double
  /// Scratch of one thread.
  static let laneBytes = 1 << 20

  init(
    _ configuration: Primus.Configuration, _ adaptation: Adaptation, batch: Int, height: Int, width: Int, isAugmented: Bool, recompute: Bool
  ) {
    let e = configuration.encoder
    let patches = (height / e.patchSize) * (width / e.patchSize)
    let tokens = Double(patches + e.prefixTokens)
    let (count, dim) = (Double(batch), Double(e.embedDim))
    stream = count * tokens * dim
    let kept = isAugmented && e.dropPathRate > 0 ? max((count * (1 - e.dropPathRate)).rounded(.down), 1) : count
    let rows = kept * tokens
    trainedBlocks = (0..<e.depth).count { adaptation.trainsBlock($0, of: e.depth) }
    let decoderCount = configuration.decoder.parameters.reduce(0) { $0 + $1.shape.count }
    let learned = e.parameters.filter { !$0.isBuffer }
    var factors = 0
    if let rank = adaptation.rank {
      for spec in learned where spec.name.hasPrefix("blocks.") && spec.shape.rank == 2 { factors += rank * (spec.shape[0] + spec.shape[1]) }
    }
    parameters = e.parameterCount + decoderCount + factors
    trained = decoderCount + factors + learned.reduce(0) { $0 + (adaptation.trains($1.name, depth: e.depth) ? $1.shape.count : 0) }

    // Norm inputs, qkv, the mixed values; branch outputs where the gradient of gamma reads them.
    let scaled = (e.layerScale ?? 0) != 0 && adaptation.rank == nil
    let hidden = rows * Double(e.hiddenDim * (e.feedForward == .mlp ? 1 : 2))
    let low = rows * Double((adaptation.rank ?? 0) * (e.feedForward == .mlp ? 4 : 5))
    block = rows * dim * (scaled ? 8 : 6) + hidden + low + rows * Double(e.heads)
    let tapCount = Double(configuration.taps.count)
    taps = tapCount * stream * (trainedBlocks > 0 ? 2 : 1)
    images = count * Double(height * width * (e.inputChannels + 1))
    let frozenWalk = 3 * stream + rows * Double(max(3 * e.embedDim, e.hiddenDim))
    let trainedWalk = (tapCount + 3) * stream + rows * Double(3 * e.embedDim + 2 * e.hiddenDim) + 8 * tokens * dim
    walk = trainedBlocks > 0 ? trainedWalk : frozenWalk
    let channels = configuration.decoder.channels
    let perToken = (1..<configuration.decoder.stages).reduce(0) { $0 + channels[$1] << (2 * $1) }
    maps = recompute ? 0 : count * Double(patches) * Double(perToken)
    decoder = Self.decoder(configuration.decoder, batch: count, patches: patches, weights: decoderCount)
    products = max(dim * Double(max(3 * e.embedDim, e.hiddenDim)), min(count * tokens, 3072) * Double(max(e.embedDim, e.hiddenDim)))
  }

  private static func decoder(_ decoder: DecoderConfiguration, batch: Double, patches: Int, weights: Int) -> Double {
    let pixels = patches << (2 * decoder.stages)
    var maps = 0
    for stage in 0..<decoder.stages {
      let group = min(patches, stage < 2 ? 448 : 56)
      maps += 3 * (group << (2 * stage)) * 4 * decoder.channels[stage + 1]
    }
    return 2 * batch * Double(decoder.classes) * Double(pixels) + Double(maps) + Double(2 * weights)
  }
}
