public import Imaging
internal import Networks
public import Platform
internal import Segmentation
public import Tensors

/// What dense features are wanted.
public struct FeatureOptions: Sendable {
  /// Block numbers; empty: the last block.
  public var blocks: [Int] = []
  /// The encoder's final norm on every block's tokens.
  public var appliesNorm = true
  /// Rows and columns each slice is resized to, multiples of the patch; nil: the slice's own, rounded up.
  public var inputSize: (rows: Int, columns: Int)?
  /// Slices along z; nil: all.
  public var slices: Range<Int>?
  public init() {}
}

/// Patch tokens of the slices of a volume.
///
/// Shapes: [slices, blocks, rows, columns, channels] float32. Rows run along y, columns along x of the volume.
public final class Features: Sendable {
  public let tokens: Tensor
  public let geometry: Geometry
  /// Which slices of the volume, and the grid of patches over one slice.
  public let slices: Range<Int>
  public let rows: Int
  public let columns: Int
  public let channels: Int
  let budget: MemoryBudget

  private var blockCount: Int { tokens.shape[1] }
  var tokensPerSlice: Int { rows * columns }

  /// Computes features with the model's encoder (the first member's).
  /// Throws: `.invalid`, `.shape`, `.outOfMemory`, `.cancelled`, and what loading weights throws.
  public init(
    _ model: Model, _ volume: Volume, options: FeatureOptions = FeatureOptions(), precision: Precision = .float32, maxBytes: Int? = nil,
    control: RunControl = RunControl()
  ) throws(MedDINOError) {
    let plan = try FeaturePlan(model, volume, options)
    let budget = MemoryBudget(limit: maxBytes, parent: model.context.budget)
    self.budget = budget
    geometry = volume.geometry
    (slices, rows, columns, channels) = (plan.slices, plan.rows, plan.columns, model.encoder.embedDim)
    tokens = try Tensor([slices.count, plan.blocks.count, rows, columns, channels], in: budget, "features")
    try control.begin("load", from: 0, to: 0.02)
    let network = try model.network(0, precision).encoder
    let device = model.context.device.limited(to: budget)
    let workspace = Workspace(budget)
    var holdsValues = false
    for (index, slice) in slices.enumerated() {
      let share = 0.98 / Double(slices.count)
      try control.begin("features", from: 0.02 + share * Double(index), to: 0.02 + share * Double(index + 1))
      let images = try plan.images(volume, slice, workspace, holdsValues: &holdsValues)
      let found = try network.tokens(
        images, blocks: Set(plan.blocks), device: device, workspace: workspace, control: control)
      for (place, block) in plan.blocks.enumerated() {
        guard let raw = found[block] else { continue }
        if options.appliesNorm { network.normalize(raw, device: device, into: raw) }
        try store(raw, prefix: network.configuration.prefixTokens, slice: index, block: place)
      }
      try control.update(1)
    }
    guard holdsValues else { throw .invalid("the slices hold no finite value") }
  }

  private func store(_ raw: Tensor, prefix: Int, slice: Int, block: Int) throws(MedDINOError) {
    let count = tokensPerSlice * channels
    guard let from = raw.floats.baseAddress, let to = tokens.floats.baseAddress else { return }
    guard (0..<count).allSatisfy({ from[prefix * channels + $0].isFinite }) else {
      throw .invalid("the network gave features that are NaN or infinite: its weights are damaged")
    }
    withExtendedLifetime(raw) { (to + (slice * blockCount + block) * count).update(from: from + prefix * channels, count: count) }
  }

  /// Token `index` (row-major in the slice) of the last block.
  func token(_ slice: Int, _ index: Int) -> UnsafePointer<Float>? {
    tokens.floats.baseAddress.map { UnsafePointer($0 + ((slice * blockCount + blockCount - 1) * tokensPerSlice + index) * channels) }
  }
}

/// Checked choices of one feature computation.
private struct FeaturePlan {
  let slices: Range<Int>
  let blocks: [Int]
  let height: Int
  let width: Int
  let rows: Int
  let columns: Int
  private let channels: Int
  private let resizer: AntialiasedResizer?
  private let normalizer: Normalizer

  private enum Normalizer {
    case plan(ChannelNormalizer)
    case meddino
  }

  init(_ model: Model, _ volume: Volume, _ options: FeatureOptions) throws(MedDINOError) {
    let (dims, patch) = (volume.geometry.dims, model.encoder.patchSize)
    guard volume.channels == 1 else { throw .shape("the volume has \(volume.channels) channels, features take one") }
    if let planned = model.task?.configuration.normalization.count, planned != 1 {
      throw .unsupported("the model takes \(planned) channels, features are made of models of one channel")
    }
    let slices = options.slices ?? 0..<dims[2]
    guard !slices.isEmpty, slices.lowerBound >= 0, slices.upperBound <= dims[2] else {
      throw .invalid("slices are \(slices.lowerBound) to \(slices.upperBound), expected a range that is not empty within 0 to \(dims[2])")
    }
    let blocks = options.blocks.isEmpty ? [model.encoder.depth - 1] : options.blocks
    guard blocks.allSatisfy({ (0..<model.encoder.depth).contains($0) }), zip(blocks, blocks.dropFirst()).allSatisfy({ $0 < $1 }) else {
      throw .invalid("blocks are \(blocks), expected ascending numbers below \(model.encoder.depth)")
    }
    func rounded(_ extent: Int) -> Int { (extent + patch - 1) / patch * patch }
    let size = options.inputSize ?? (rounded(dims[1]), rounded(dims[0]))
    guard size.rows > 0, size.columns > 0, size.rows % patch == 0, size.columns % patch == 0, max(size.rows, size.columns) <= 65536 else {
      throw .invalid("input_size is \(size.rows) × \(size.columns), expected multiples of the patch size \(patch) up to 65536")
    }
    guard max(dims[0], dims[1]) <= 65536 else { throw .shape("slices of \(dims[1]) × \(dims[0]), at most 65536 expected") }
    self.slices = slices
    self.blocks = blocks
    (height, width) = size
    (rows, columns) = (size.rows / patch, size.columns / patch)
    channels = model.encoder.inputChannels
    resizer =
      size == (dims[1], dims[0])
      ? nil : AntialiasedResizer(rows: dims[1], columns: dims[0], toRows: size.rows, toColumns: size.columns)
    normalizer = try Self.normalizer(model)
  }

  /// A CT plan's own clip, mean and deviation; MedDINOv3's constants for a backbone and for other schemes.
  private static func normalizer(_ model: Model) throws(MedDINOError) -> Normalizer {
    guard let task = model.task, task.configuration.normalization.first == .ct else { return .meddino }
    return .plan(try ChannelNormalizer(.ct, channel: 0, properties: task.plan.intensityProperties.first ?? nil, statistics: nil))
  }

  /// The slice normalised, resized and repeated to the encoder's channels: [1, channels, height, width]. Voxels without a finite value
  /// are air; `holdsValues` becomes true where there is one.
  func images(_ volume: Volume, _ slice: Int, _ workspace: Workspace, holdsValues: inout Bool) throws(MedDINOError) -> Tensor {
    let dims = volume.geometry.dims
    let plane = try workspace.tensor("slice", [dims[1], dims[0]])
    let images = try workspace.tensor("images", [1, channels, height, width])
    guard let source = plane.floats.baseAddress, let target = images.floats.baseAddress else { return images }
    volume.readPlane(axis: 2, index: slice, rowAxis: 1, rows: 0..<dims[1], columnAxis: 0, columns: 0..<dims[0], channel: 0, into: source)
    for index in 0..<plane.count {
      if source[index].isFinite { holdsValues = true } else { source[index] = -1000 }
    }
    switch normalizer {
    case .plan(let scheme): scheme.apply(source, count: plane.count)
    case .meddino: HounsfieldNormalization.apply(plane.floats)
    }
    if let resizer {
      let scratch = try workspace.tensor("resize", [resizer.scratchCount])
      if let work = scratch.floats.baseAddress { resizer.resize(source, into: target, scratch: work) }
    } else {
      target.update(from: source, count: plane.count)
    }
    for channel in 1..<max(channels, 1) { (target + channel * height * width).update(from: target, count: height * width) }
    return images
  }
}
