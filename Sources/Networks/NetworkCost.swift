internal import Tensors

/// Arithmetic and memory of one forward pass of a segmentation network, from its shape.
public struct NetworkCost: Sendable {
  /// Floating-point operations, a multiply-add counted as two.
  public let flops: Double
  /// The part of it that the blocks up to the last tap take, and that of the decoder.
  public let blockFlops, decoderFlops: Double
  /// Buffers of one pass: residual stream, wide layers, attention panels, taps, decoder groups, logits.
  public let workspaceBytes: Int

  public init(_ configuration: Primus.Configuration, height: Int, width: Int, threads: Int) {
    let e = configuration.encoder
    let patches = (height / e.patchSize) * (width / e.patchSize)
    let tokens = patches + e.prefixTokens
    let (n, d) = (Double(tokens), Double(e.embedDim))
    let gates = e.feedForward == .mlp ? 2.0 : 3.0
    let linear = 2 * n * (4 * d * d + gates * d * Double(e.hiddenDim))
    let attention = 4 * n * n * d
    var decoder = 0.0
    let channels = configuration.decoder.channels
    for stage in 0..<configuration.decoder.stages {
      let rows = Double(patches << (2 * stage))
      decoder += 2 * rows * Double(channels[stage]) * 4 * Double(channels[stage + 1])
    }
    let pixels = patches << (2 * configuration.decoder.stages)
    decoder += 2 * Double(pixels) * Double(channels[configuration.decoder.stages]) * Double(configuration.classes)
    let depth = Double((configuration.taps.max() ?? 0) + 1)
    blockFlops = depth * (linear + attention)
    decoderFlops = decoder
    flops = blockFlops + decoder + 2 * Double(patches) * d * Double(e.inputChannels * e.patchSize * e.patchSize)

    let narrow = tokens * e.embedDim * 4
    let wide = tokens * max(3 * e.embedDim, e.hiddenDim) * 4 * (e.feedForward == .mlp ? 1 : 2)
    let image = height * width * (e.inputChannels + 1) * 4
    let taps = configuration.taps.count * narrow
    let logits = configuration.classes * pixels * 4
    let group = min(patches, 448)
    var groups = 0
    for stage in 0..<configuration.decoder.stages {
      let perToken = channels[stage + 1] << (2 * (stage + 1))
      groups += (stage < 2 ? group : threads * 16) * perToken * 4
    }
    groups += threads * 16 * configuration.classes << (2 * configuration.decoder.stages) * 4
    // Stream, embedded, normed and mixed; q, k and v packed for attention in whole blocks of tokens; the rope tables.
    let packed = 3 * Self.rounded(tokens, 96) * e.embedDim * 4
    let tables = 2 * patches * e.headDim * 4
    workspaceBytes =
      image * 2 + narrow * 4 + packed + tables + wide + taps + logits + groups
      + Self.laneBytes(configuration) * threads
  }

  private static func rounded(_ value: Int, _ multiple: Int) -> Int { (value + multiple - 1) / multiple * multiple }

  /// Scratch of one thread, an upper bound over the instruction sets: attention state, the rows that a linear layer packs, and those of
  /// the decoder's product.
  private static func laneBytes(_ configuration: Primus.Configuration) -> Int {
    let e = configuration.encoder
    let attention = 96 << 10
    func rows(_ inputs: Int) -> Int { 144 * (rounded(inputs, 768) + 32) * 4 }
    let linear = rows(max(e.embedDim, e.hiddenDim, e.inputChannels * e.patchSize * e.patchSize))
    return attention + linear + rows(max(e.embedDim, configuration.decoder.channels[1]))
  }
}
