public import Platform
public import Tensors

/// The vision transformer in training: the same network as `VisionTransformer`, on plain master weights, recorded on a tape.
///
/// Used by one thread at a time. Source: model specification 1.
public final class TrainableEncoder {
  public let configuration: EncoderConfiguration
  public let adaptation: Adaptation
  public let parameters = TrainableParameters()
  let device: any TrainingDevice
  let layers: TrainableEncoderLayers
  /// By patch rows and columns.
  private var ropeTables: [[Int]: RopeTable] = [:]

  /// One entry of the input list: images of one size.
  public struct Group {
    /// [batch, channels, H, W]; a leaf where the gradient of the images is wanted.
    public var images: Variable
    /// [batch, patches] uint8; nil: no patch is masked.
    public var mask: Tensor?
    /// nil: an evaluation forward, without stochastic depth and coordinate augmentation.
    public var draws: VisionTransformer.TrainingDraws?
    /// Distinct places among the tokens of all images: the last block gives those alone, [places, dim], and what follows its attention
    /// works on nothing else; nil: all tokens.
    public var places: [Int]?
    public init(
      _ images: Variable, mask: Tensor? = nil, draws: VisionTransformer.TrainingDraws? = nil, places: [Int]? = nil
    ) {
      self.images = images
      self.mask = mask
      self.draws = draws
      self.places = places
    }
  }

  /// Reads every parameter; the names get `prefix`, and are looked up with it. `seed`: of the low-rank factors.
  /// Throws: `.invalid` for a configuration or an adaptation that cannot be, `.format` for missing or misshapen parameters, `.outOfMemory`.
  public init(
    _ configuration: EncoderConfiguration, parameters source: any ParameterSource, device: any TrainingDevice,
    adaptation: Adaptation = .full, seed: UInt64 = 0, prefix: String = ""
  ) throws(MedDINOError) {
    try configuration.validate()
    try adaptation.validate(configuration)
    self.configuration = configuration
    self.adaptation = adaptation
    self.device = device
    var loader = TrainableEncoderLoader(
      configuration: configuration, adaptation: adaptation, seed: seed, device: device, prefix: prefix,
      reader: ParameterReader(source: source, prefix: prefix, budget: device.budget), parameters: parameters)
    layers = try loader.load()
  }

  /// Token variables [batch, prefix + patches, dim] of every group after each block of `blocks`, before the final norm. The last of the
  /// blocks gives a group's chosen `places` alone.
  ///
  /// `recompute`: only the input of each trained block is kept, and the block runs again in the backward.
  /// Progress is reported before every block, up to `progressEnd` of the control's current part.
  /// Throws: `.shape`, `.invalid`, `.outOfMemory`, `.cancelled`.
  public func tokens(
    _ groups: [Group], blocks: Set<Int>, on tape: Tape, recompute: Bool = false, progressEnd: Double = 1
  ) throws(MedDINOError) -> [[Int: Variable]] {
    let last = blocks.max() ?? -1
    guard last < configuration.depth, blocks.allSatisfy({ $0 >= 0 }) else {
      throw .invalid("blocks \(blocks.sorted()) asked for, the network has \(configuration.depth)")
    }
    var runs: [TrainableEncoderRun] = []
    for group in groups { runs.append(try TrainableEncoderRun(self, group, tape)) }
    var results = [[Int: Variable]](repeating: [:], count: groups.count)
    guard last >= 0 else { return results }
    for index in 0...last {
      try tape.control.update(progressEnd * Double(index) / Double(last + 1))
      for position in runs.indices {
        try runs[position].block(index, places: index == last ? groups[position].places : nil, recompute: recompute)
        if blocks.contains(index) { results[position][index] = runs[position].stream }
      }
    }
    return results
  }

  /// The final norm on every token [images, tokens, dim]; with untied norms the prefix has its own, and that of local crops another.
  /// `prefixTokens`: how many of an image's tokens are its prefix; nil: as many as the network has.
  /// Throws: `.outOfMemory`. Source: model specification 1.8.
  public func normalize(
    _ tokens: Variable, isLocalCrop: Bool = false, prefixTokens: Int? = nil, on tape: Tape
  ) throws(MedDINOError) -> Variable {
    let patches = layers.norm.variables(configuration, tape)
    let prefix = isLocalCrop ? layers.localClassNorm ?? layers.classNorm : layers.classNorm
    guard let prefix else { return try tape.norm(tokens, patches) }
    return try tape.norm(
      tokens, patches: patches, prefix: prefix.variables(configuration, tape), prefixTokens: prefixTokens ?? configuration.prefixTokens)
  }

  /// Patch rows and columns of an input; surplus pixels at the bottom and right are dropped.
  public func grid(height: Int, width: Int) -> (rows: Int, columns: Int) {
    (height / configuration.patchSize, width / configuration.patchSize)
  }

  /// The rotation of a patch grid without augmentation; made once.
  func ropeTable(rows: Int, columns: Int) throws(MedDINOError) -> RopeTable {
    if let table = ropeTables[[rows, columns]] { return table }
    let table = try RopeTables.make(
      rows: rows, columns: columns, periods: layers.periods, configuration: configuration, in: device.budget)
    ropeTables[[rows, columns]] = table
    return table
  }

  /// The state dict as it is now, low-rank factors merged: what `VisionTransformer` and the model file read. Tensors that need no merging
  /// are the parameters' own, so use or copy them before the next step. Throws: `.outOfMemory`.
  public func exported() throws(MedDINOError) -> ParameterTable {
    var table = ParameterTable()
    for entry in parameters.state { table.add(entry.name, entry.tensor) }
    for layer in layers.linears where layer.factors != nil { table.add(layer.weight.name, try layer.merged(device)) }
    return table
  }
}
