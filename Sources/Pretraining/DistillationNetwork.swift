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

  /// The tokens of one group of images after the final norm. Throws: `.shape`, `.outOfMemory`, `.cancelled`.
  func features(
    _ groups: [TrainableEncoder.Group], isStudent: Bool, recompute: Bool = false, on tape: Tape
  ) throws(MedDINOError) -> [NormedTokens] {
    let last = backbone.configuration.depth - 1
    let tokens = try backbone.tokens(groups, blocks: [last], on: tape, recompute: recompute)
    var results: [NormedTokens] = []
    for (index, group) in groups.enumerated() {
      guard let raw = tokens[index][last] else { throw MedDINOError(.internal, "the last block gave no tokens") }
      let shape = group.images.shape
      let grid = backbone.grid(height: shape[2], width: shape[3])
      // The second entry of the student's list is that of the local crops.
      let normed = try backbone.normalize(raw, isLocalCrop: isStudent && index == 1, on: tape)
      results.append(
        NormedTokens(all: normed, prefix: backbone.configuration.prefixTokens, rows: grid.rows, columns: grid.columns))
    }
    return results
  }
}

/// Normed tokens [images, prefix + rows · columns, dim] and ways to take some of them.
struct NormedTokens {
  let all: Variable
  let prefix: Int
  let rows: Int
  let columns: Int

  var images: Int { all.shape[0] }
  var patches: Int { rows * columns }
  private var matrix: Variable { all.reshaped([all.shape[0] * all.shape[1], all.shape[2]]) }

  /// Class tokens [images, dim] of a range of images.
  func classTokens(_ range: Range<Int>? = nil, on tape: Tape) throws(MedDINOError) -> Variable {
    let count = all.shape[1]
    return try tape.gather(matrix, (range ?? 0..<images).map { $0 * count })
  }
  /// Patch tokens [places, dim]; places count the patches of all images.
  func patchTokens(_ places: [Int], on tape: Tape) throws(MedDINOError) -> Variable {
    let count = all.shape[1]
    return try tape.gather(matrix, places.map { $0 / patches * count + prefix + $0 % patches })
  }
  /// All of them, [images, patches, dim].
  func patchTokens(on tape: Tape) throws(MedDINOError) -> Variable {
    try patchTokens(Array(0..<images * patches), on: tape).reshaped([images, patches, all.shape[2]])
  }
}
