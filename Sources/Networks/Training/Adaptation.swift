public import Platform

/// How much of a network fine-tuning changes. The decoder is always trained.
public enum Adaptation: Equatable, Sendable {
  /// Every parameter.
  case full
  /// The encoder runs forward only, in every step.
  case frozenEncoder
  /// The last blocks of the encoder and its final norms.
  case lastBlocks(Int)
  /// Low-rank factors beside every linear layer of the encoder's blocks: W + alpha / rank · B · A. The encoder's own parameters are
  /// frozen; the factors are merged at export. Source: Hu et al., "LoRA: low-rank adaptation of large language models" (2021).
  case lowRank(rank: Int, alpha: Float)
  /// The decoder on features that the encoder gave once (`TrainablePrimus.features`); the encoder is frozen as with `frozenEncoder`.
  case decoderOnly

  /// Throws: `.invalid` naming the number that does not fit the encoder.
  public func validate(_ configuration: EncoderConfiguration) throws(MedDINOError) {
    switch self {
    case .full, .frozenEncoder, .decoderOnly: return
    case .lastBlocks(let count):
      guard (1...configuration.depth).contains(count) else {
        throw .invalid("last_blocks is \(count), expected 1 to the encoder's \(configuration.depth)")
      }
    case .lowRank(let rank, let alpha):
      let limit = min(configuration.embedDim, configuration.hiddenDim)
      guard (1...limit).contains(rank) else { throw .invalid("lora_rank is \(rank), expected 1 to \(limit)") }
      guard alpha.isFinite, alpha > 0 else { throw .invalid("lora_alpha is \(alpha), expected a positive number") }
    }
  }

  /// Whether blocks of the encoder are trained, themselves or through factors beside them. Stochastic depth and coordinate augmentation
  /// apply to those alone: a frozen block gives the same features in every step.
  public func trainsBlock(_ index: Int, of depth: Int) -> Bool {
    switch self {
    case .full, .lowRank: true
    case .frozenEncoder, .decoderOnly: false
    case .lastBlocks(let count): index >= depth - count
    }
  }

  /// Whether an encoder parameter of the state dict is changed, by its official name.
  func trains(_ name: String, depth: Int) -> Bool {
    switch self {
    case .full: return true
    case .frozenEncoder, .decoderOnly, .lowRank: return false
    case .lastBlocks:
      let parts = name.split(separator: ".")
      if parts.first == "blocks", parts.count > 1, let index = Int(parts[1]) { return trainsBlock(index, of: depth) }
      return parts.first == "norm" || parts.first == "cls_norm" || parts.first == "local_cls_norm"
    }
  }

  var rank: Int? {
    if case .lowRank(let rank, _) = self { return rank }
    return nil
  }
}
