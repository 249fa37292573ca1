internal import Networks
internal import Platform
internal import Tensors

/// One network of self-distillation: a backbone and its two heads. Student and teacher are two of them, the Gram teacher is a backbone
/// alone.
final class DistillationNetwork {
  let backbone: TrainableEncoder
  /// nil: a Gram teacher.
  let dinoHead: ProjectionHead?
  let ibotHead: ProjectionHead?

  /// Parameters are looked up as `backbone.…`, `dino_head.…`, `ibot_head.…`. Throws: `.invalid`, `.format`, `.outOfMemory`.
  init(
    _ networks: DistillationNetworks, parameters: any ParameterSource, isStudent: Bool, hasHeads: Bool = true, device: any TrainingDevice
  ) throws(MedDINOError) {
    var encoder = networks.encoder
    if !isStudent {
      encoder.dropPathRate = 0
      (encoder.ropeShift, encoder.ropeJitter, encoder.ropeRescale) = (nil, nil, nil)
    }
    backbone = try TrainableEncoder(encoder, parameters: parameters, device: device, prefix: "backbone.")
    func head(_ configuration: HeadConfiguration, _ prefix: String) throws(MedDINOError) -> ProjectionHead? {
      guard hasHeads else { return nil }
      return try ProjectionHead(
        configuration, dim: encoder.embedDim, parameters: parameters, prefix: prefix, isTrainable: isStudent, in: device.budget)
    }
    dinoHead = try head(networks.dinoHead, "dino_head.")
    ibotHead = try head(networks.ibotHead, "ibot_head.")
    if !isStudent { for parameter in backbone.parameters.list { parameter.isTrainable = false } }
  }

  /// In official order.
  var parameters: [Parameter] { backbone.parameters.list + (dinoHead?.parameters ?? []) + (ibotHead?.parameters ?? []) }
  /// Learned tensors and buffers.
  var state: [(name: String, tensor: Tensor)] { parameters.map { ($0.name, $0.value) } + backbone.parameters.buffers }

  /// Takes over the values of another network's parameters of the same names; buffers stay. Throws: `.internal` for other sizes.
  func copyParameters(from other: DistillationNetwork) throws(MedDINOError) {
    let values = Dictionary(other.parameters.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    for parameter in parameters {
      guard let value = values[parameter.name], value.shape == parameter.shape else {
        throw MedDINOError(.internal, "\(parameter.name): the networks do not have the same sizes")
      }
      parameter.value.copy(from: value)
    }
  }

  /// The tokens of a group of images after the final norm; a student's local crops may have one of their own.
  ///
  /// `patches`: which patch tokens are wanted beside the class tokens, by their places among those of all images; nil: every token.
  /// Throws: `.shape`, `.outOfMemory`, `.cancelled`.
  func features(
    _ group: TrainableEncoder.Group, patches: [Int]? = nil, isLocalCrop: Bool = false, recompute: Bool = false, on tape: Tape
  ) throws(MedDINOError) -> NormedTokens {
    let (last, shape) = (backbone.configuration.depth - 1, group.images.shape)
    guard shape.rank == 4 else { throw .shape("images have shape \(shape), expected [batch, channels, height, width]") }
    let grid = backbone.grid(height: shape[2], width: shape[3])
    let layout = TokenLayout(
      images: shape[0], prefix: backbone.configuration.prefixTokens, rows: grid.rows, columns: grid.columns, chosen: patches)
    var group = group
    group.places = patches.map { (0..<layout.images).map(layout.classToken) + $0.map(layout.patchToken) }
    guard let raw = try backbone.tokens([group], blocks: [last], on: tape, recompute: recompute)[0][last] else {
      throw MedDINOError(.internal, "the last block gave no tokens")
    }
    if patches == nil {
      return NormedTokens(all: try backbone.normalize(raw, isLocalCrop: isLocalCrop, on: tape), layout: layout)
    }
    let normed = try backbone.normalize(
      raw.reshaped([1, raw.shape[0], raw.shape[1]]), isLocalCrop: isLocalCrop, prefixTokens: layout.images, on: tape)
    return NormedTokens(all: normed.reshaped(raw.shape), layout: layout)
  }
}

/// Where the tokens of a batch are: of every image the class token, the rest of its prefix, its patches row by row.
struct TokenLayout {
  let images: Int
  let prefix: Int
  let rows: Int
  let columns: Int
  /// Only these patches are there, after the class tokens of all images; nil: every token.
  let chosen: [Int]?

  var patches: Int { rows * columns }
  /// Of an image, and of a patch counted over all images: the place among all tokens.
  func classToken(_ image: Int) -> Int { image * (prefix + patches) }
  func patchToken(_ place: Int) -> Int { place / patches * (prefix + patches) + prefix + place % patches }
}

/// Normed tokens and ways to take some of them.
struct NormedTokens {
  /// [images, prefix + patches, dim], or the chosen ones, [images + chosen, dim].
  let all: Variable
  let layout: TokenLayout

  var images: Int { layout.images }
  var patches: Int { layout.patches }
  var rows: Int { layout.rows }
  var columns: Int { layout.columns }
  private var dim: Int { all.shape[all.shape.rank - 1] }
  private var matrix: Variable { all.reshaped([all.value.count / dim, dim]) }

  /// Class tokens [images, dim] of a range of images. Throws: `.outOfMemory`.
  func classTokens(_ range: Range<Int>? = nil, on tape: Tape) throws(MedDINOError) -> Variable {
    let range = range ?? 0..<images
    return try tape.gather(matrix, layout.chosen == nil ? range.map(layout.classToken) : Array(range))
  }
  /// Patch tokens [places, dim]; places count the patches of all images. Throws: `.outOfMemory`, `.internal` for others than the chosen.
  func patchTokens(_ places: [Int], on tape: Tape) throws(MedDINOError) -> Variable {
    guard let chosen = layout.chosen else { return try tape.gather(matrix, places.map(layout.patchToken)) }
    guard chosen == places else { throw MedDINOError(.internal, "\(places.count) patch tokens, of which \(chosen.count) were made") }
    return try tape.gather(matrix, Array(images..<images + places.count))
  }
  /// All of them, [images, patches, dim]. Throws: `.outOfMemory`, `.internal` where some were chosen.
  func patchTokens(on tape: Tape) throws(MedDINOError) -> Variable {
    try patchTokens(Array(0..<images * patches), on: tape).reshaped([images, patches, dim])
  }
}
