internal import Networks
internal import Platform

/// Memory and arithmetic of one iteration of pretraining, from its settings, at the largest of its resolutions. Units: bytes.
///
/// An estimate of the peak, to choose batch size and recomputation before anything is allocated. What does not fit in 64 bits is the largest
/// number that does.
public struct PretrainingCost: Equatable, Sendable {
  /// Student, teacher and Gram teacher.
  public let parameters: Int
  /// Gradients, and the two moments of AdamW.
  public let gradients, moments: Int
  /// What the tape keeps for the backward: activations of the blocks, of heads and logits; crops.
  public let activations: Int
  /// Batches that are prepared ahead.
  public let batches: Int
  /// Gradients of activations, packed weights and scratch memory at the worst moment.
  public let working: Int
  /// Floating-point operations of the forwards and the backward; a backward takes twice its forward.
  public let flops: Double
  public var total: Int { .saturatingSum(parameters, gradients, moments, activations, batches, working) }

  public init(_ settings: PretrainingSettings, threads: Int) {
    let costs = settings.crops.resolutions.map { PretrainingSizes(settings, $0, threads: threads) }
    let worst = costs.max { $0.activations + $0.working < $1.activations + $1.working } ?? costs[0]
    let networks = settings.networks
    let learned = networks.encoder.parameterCount + worst.headParameters
    let anchors = settings.losses.gram.map { $0.usesAverage ? 0 : networks.encoder.parameterCount } ?? 0
    parameters = (2 * learned + anchors) * 4
    gradients = learned * 4
    moments = learned * 8
    activations = Int(saturating: worst.activations * 4)
    // One in hand and those ahead of it.
    batches = Int(saturating: worst.batch * 4 * Double(settings.run.workers == 0 ? 1 : 2 * settings.run.workers + 1))
    working = Int(saturating: worst.working * 4 + Double(threads << 20))
    flops = costs.map(\.flops).max() ?? 0
  }
}

/// Numbers of elements for one resolution, in floating point: products of valid settings can exceed 64 bits.
private struct PretrainingSizes {
  let headParameters: Int
  let batch, activations, working: Double
  let flops: Double

  init(_ settings: PretrainingSettings, _ size: CropOptions.Resolution, threads: Int) {
    let (e, networks, images) = (settings.networks.encoder, settings.networks, Double(settings.run.batchSize))
    let (dim, depth) = (Double(e.embedDim), Double(e.depth))
    let heads = [networks.dinoHead, networks.ibotHead]
    headParameters = heads.reduce(0) { $0 + $1.parameters(dim: e.embedDim).reduce(0) { $0 + $1.shape.count } }
    func tokens(_ side: Int) -> Double { Double((side / e.patchSize) * (side / e.patchSize) + e.prefixTokens) }
    func pixels(_ count: Int, _ side: Int) -> Double { Double(count) * images * Double(e.inputChannels * side * side) }
    let (globals, locals) = (Double(globalCropCount) * images, Double(settings.crops.localCount) * images)
    batch =
      pixels(globalCropCount, size.global) + pixels(settings.crops.localCount, size.local)
      + (size.gram.map { pixels(globalCropCount, $0) } ?? 0)
    // One group of crops after the other: the larger one counts.
    let rows = max(globals * tokens(size.global), locals * tokens(size.local))
    let kept = (rows * (1 - e.dropPathRate)).rounded(.down)
    let hidden = Double(e.hiddenDim * (e.feedForward == .mlp ? 1 : 2))
    let block = kept * (8 * dim + hidden + Double(e.heads))
    let blocks = settings.run.recompute ? depth * rows * dim + block : depth * block
    // Half of the global crops are masked, by the mean of the ratio.
    let gramPatches = tokens(size.global) - Double(e.prefixTokens)
    let ratio = (settings.masks.ratio.lowerBound + settings.masks.ratio.upperBound) / 2
    let masked = (globals * settings.masks.sampleProbability * ratio * gramPatches).rounded(.down)
    let headRows = [globals + locals, masked]
    var (logits, hiddens) = (0.0, 0.0)
    for (head, count) in zip(heads, [max(globals, locals), masked]) {
      logits += count * Double(head.prototypes)
      hiddens += count * Double(2 * head.hidden * (head.layers - 1) + 3 * head.bottleneck)
    }
    // The teacher's assignments, of the global crops' class tokens and of the masked patches.
    let targets = globals * Double(networks.dinoHead.prototypes) + masked * Double(networks.ibotHead.prototypes)
    let gram = settings.losses.gram == nil ? 0 : 2 * globals * gramPatches * dim
    activations = blocks + 4 * rows * dim + logits + hiddens + targets + gram
    let teacherRows = globals * tokens(max(size.global, size.gram ?? 0))
    let wide = max(3 * dim, hidden)
    let walk = max(teacherRows, rows) * (3 * dim + 2 * wide)
    let product = min(max(Double(networks.ibotHead.prototypes * networks.ibotHead.bottleneck), dim * wide), Double(1 << 22))
    let gramMatrix = settings.losses.gram == nil ? 0 : 3 * gramPatches * gramPatches
    working = walk + product + gramMatrix
    flops = Self.flops(settings, size, headRows: headRows)
  }

  private static func flops(_ settings: PretrainingSettings, _ size: CropOptions.Resolution, headRows: [Double]) -> Double {
    let (e, images) = (settings.networks.encoder, Double(settings.run.batchSize))
    func tokens(_ side: Int) -> Double { Double(side / e.patchSize * (side / e.patchSize) + e.prefixTokens) }
    /// One forward of one crop, of which so many tokens are wanted; the others end with the last block's attention.
    func forward(_ side: Int, wanted: Double) -> Double {
      let patches = (side / e.patchSize) * (side / e.patchSize)
      let (n, d) = (tokens(side), Double(e.embedDim))
      let gates = e.feedForward == .mlp ? 2.0 : 3.0
      let later = 2 * (d * d + gates * d * Double(e.hiddenDim))
      let linear = n * (6 * d * d + later)
      let embedding = 2 * Double(patches) * d * Double(e.inputChannels * e.patchSize * e.patchSize)
      return Double(e.depth) * (linear + 4 * n * n * d) - (n - wanted) * later + embedding
    }
    let again = settings.run.recompute ? 4.0 : 3.0
    let (globals, locals) = (Double(globalCropCount) * images, Double(settings.crops.localCount) * images)
    let wanted = settings.losses.gram == nil ? 1 + headRows[1] / globals : tokens(size.global)
    var result = (again + 1) * globals * forward(size.global, wanted: wanted) + again * locals * forward(size.local, wanted: 1)
    if let gram = settings.losses.gram, !gram.usesAverage {
      let side = size.gram ?? size.global
      result += globals * forward(side, wanted: tokens(side))
    }
    // The student's rows three times, the teacher's once.
    let passes = [3 * headRows[0] + globals, 4 * headRows[1]]
    for (head, rows) in zip([settings.networks.dinoHead, settings.networks.ibotHead], passes) {
      let weights = head.parameters(dim: e.embedDim).reduce(0) { $0 + ($1.shape.rank == 2 ? $1.shape.count : 0) }
      result += 2 * Double(weights) * rows
    }
    return result
  }
}
