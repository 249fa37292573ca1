internal import Tensors

/// Memory of one training step of a segmentation network, from its shape. Units: bytes.
///
/// An estimate of the peak from the second step on, to choose the batch size and recomputation before anything is allocated.
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
  public var total: Int { parameters + gradients + moments + activations + working }

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
    let blocks =
      recompute ? sizes.trainedBlocks * sizes.stream + (sizes.trainedBlocks > 0 ? sizes.block : 0) : sizes.trainedBlocks * sizes.block
    activations = (blocks + sizes.taps + sizes.images + sizes.maps) * 4
    working = (sizes.walk + sizes.decoder + sizes.products) * 4 + threads * Sizes.laneBytes
    let forward = NetworkCost(configuration, height: height, width: width, threads: threads)
    let walked = forward.blockFlops * Double(sizes.trainedBlocks) / Double(configuration.encoder.depth)
    let again = (adaptation.rank == nil ? 2.0 : 1) + (recompute ? 1 : 0)
    flops = Double(batch) * (forward.flops + 2 * forward.decoderFlops + again * walked)
  }
}

/// Numbers of elements.
private struct Sizes {
  let parameters, trained, trainedBlocks: Int
  /// [batch, tokens, dim], and what one trained block keeps.
  let stream, block: Int
  let taps, images: Int
  /// Of the decoder.
  let maps: Int
  /// Gradients of activations of the widest operations, and the memory of attention.
  let walk: Int
  /// Logits, their gradient, the maps of token groups, the weights packed for both directions.
  let decoder: Int
  /// Packed factors of the largest product.
  let products: Int
  /// Scratch of one thread.
  static let laneBytes = 1 << 20

  init(
    _ configuration: Primus.Configuration, _ adaptation: Adaptation, batch: Int, height: Int, width: Int, isAugmented: Bool, recompute: Bool
  ) {
    let e = configuration.encoder
    let patches = (height / e.patchSize) * (width / e.patchSize)
    let tokens = patches + e.prefixTokens
    stream = batch * tokens * e.embedDim
    let kept = isAugmented && e.dropPathRate > 0 ? max(Int(Double(batch) * (1 - e.dropPathRate)), 1) : batch
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
    let hidden = rows * e.hiddenDim * (e.feedForward == .mlp ? 1 : 2)
    let low = rows * (adaptation.rank ?? 0) * (e.feedForward == .mlp ? 4 : 5)
    block = rows * e.embedDim * (scaled ? 8 : 6) + hidden + low + rows * e.heads
    taps = configuration.taps.count * stream * (trainedBlocks > 0 ? 2 : 1)
    images = batch * height * width * (e.inputChannels + 1)
    let frozenWalk = 3 * stream + rows * max(3 * e.embedDim, e.hiddenDim)
    let trainedWalk = (configuration.taps.count + 3) * stream + rows * (3 * e.embedDim + 2 * e.hiddenDim) + 8 * tokens * e.embedDim
    walk = trainedBlocks > 0 ? trainedWalk : frozenWalk
    let channels = configuration.decoder.channels
    let perToken = (1..<configuration.decoder.stages).reduce(0) { $0 + channels[$1] << (2 * $1) }
    maps = recompute ? 0 : batch * patches * perToken
    decoder = Self.decoder(configuration.decoder, batch: batch, patches: patches, weights: decoderCount)
    products = max(e.embedDim * max(3 * e.embedDim, e.hiddenDim), min(batch * tokens, 3072) * max(e.embedDim, e.hiddenDim))
  }

  private static func decoder(_ decoder: DecoderConfiguration, batch: Int, patches: Int, weights: Int) -> Int {
    let pixels = patches << (2 * decoder.stages)
    var maps = 0
    for stage in 0..<decoder.stages {
      let group = min(patches, stage < 2 ? 448 : 56)
      maps += 3 * (group << (2 * stage)) * 4 * decoder.channels[stage + 1]
    }
    return 2 * batch * decoder.classes * pixels + maps + 2 * weights
  }
}
