public import Imaging
internal import Networks
public import Platform
public import Segmentation
public import Tensors

/// What a run would take.
public struct RunEstimate: Sendable {
  /// Buffers of the run beside input, labels, probabilities and weights.
  public let peakBytes: Int
  /// Forward passes: slices × tiles × mirrored copies × members.
  public let forwards: Int
  public let flops: Double
}

extension Model {
  /// Labels an image, slice by slice; labels and probabilities lie on the grid of the image.
  ///
  /// channels: one volume per input channel, or volumes that bring several. labels: an integer volume to fill. probabilities: a
  /// float32 volume with one channel per head, or nil.
  /// Throws: `.unsupported` for a backbone, `.shape`, `.invalid`, `.outOfMemory`, `.cancelled`, and what loading weights throws.
  public func segment(
    _ channels: [Volume], labels: Volume, probabilities: Volume? = nil, options: RunOptions = RunOptions(),
    control: RunControl = RunControl()
  ) throws(MedDINOError) -> SegmentationReport {
    let budget = MemoryBudget(limit: options.maxBytes, parent: context.budget)
    let device = context.device.limited(to: budget)
    try control.begin("load", from: 0, to: 0.01)
    let postprocessing = try chosenPostprocessing(options)
    let pipeline = try pipeline(options, device: device)
    context.log(
      .info, "segmenting \(channels.first?.geometry.dims ?? []) voxels with \(device.name) kernels, \(options.precision.rawValue)")
    let segmented = postprocessing == nil ? 1 : 0.97
    var report = try pipeline.run(
      channels, labels: labels, probabilities: probabilities, options: resolved(options), pool: context.pool, in: budget,
      control: control, progress: 0.01...segmented)
    if let postprocessing {
      try control.begin("postprocess", from: segmented, to: 1)
      try postprocess(labels, postprocessing, &report, in: budget, control: control.still(at: 0))
    }
    for warning in report.warnings { context.log(.warning, warning) }
    return report
  }

  /// From image to image: labels on the input's grid, uint8, or uint16 when a label value needs it.
  /// Throws: as `segment(_:labels:)`.
  public func segment(
    _ image: Image, options: RunOptions = RunOptions(), control: RunControl = RunControl()
  ) throws(MedDINOError) -> (labels: Image, report: SegmentationReport) {
    guard let task else { throw noDecoder }
    let labels = try Image(like: image, task.scheme.largestOutput > 255 ? .uint16 : .uint8)
    let report = try segment([image.volume], labels: labels.volume, options: options, control: control)
    return (labels, report)
  }

  /// What `segment` would take for an image of this geometry; nothing is loaded or read.
  public func estimate(_ geometry: Geometry, options: RunOptions = RunOptions(), probabilities: Bool = false) throws(MedDINOError)
    -> RunEstimate
  {
    guard let task, let configuration = primusConfiguration else { throw noDecoder }
    let pipeline = try shapeOnlyPipeline()
    let plain = try pipeline.estimate(geometry, options: resolved(options), probabilities: probabilities, pool: context.pool)
    let patch = task.configuration.patchSize
    let cost = NetworkCost(configuration, height: patch[0], width: patch[1], threads: context.pool.width)
    return RunEstimate(
      peakBytes: plain.peakBytes + cost.workspaceBytes, forwards: plain.networkCalls, flops: cost.flops * Double(plain.networkCalls))
  }

  /// Checks the arguments of `segment` as far as that goes without reading a voxel or a weight. Throws: as `segment`.
  public func check(
    _ channels: [Volume], labels: Volume, probabilities: Volume? = nil, options: RunOptions = RunOptions()
  ) throws(MedDINOError) {
    _ = try chosenPostprocessing(options)
    try shapeOnlyPipeline().check(channels, labels: labels, probabilities: probabilities, options: resolved(options))
  }

  /// The pipeline without its networks.
  private func shapeOnlyPipeline() throws(MedDINOError) -> VolumeSegmentation {
    guard let task, let configuration = primusConfiguration else { throw noDecoder }
    let network = ShapeOnlyNetwork(classes: configuration.classes, inputChannels: task.configuration.normalization.count)
    return try VolumeSegmentation(
      plan: task.plan, configuration: task.configuration, scheme: task.scheme, networks: members.map { _ in network })
  }

  /// Raw network outputs of prepared images [batch, channels, rows, columns], first member; for comparisons and tests.
  /// Throws: `.unsupported` for a backbone, `.shape`, `.outOfMemory`, `.cancelled`.
  public func logits(_ images: Tensor, precision: Precision = .float32, control: RunControl = RunControl()) throws(MedDINOError) -> Tensor {
    guard case .primus(let network) = try network(0, precision) else { throw noDecoder }
    return try network.logits(images, device: context.device, workspace: Workspace(context.budget), control: control)
  }

  /// Why a backbone cannot segment.
  public var noDecoderError: MedDINOError { noDecoder }

  var noDecoder: MedDINOError { .unsupported("the model is a backbone without a decoder: it gives features, not labels") }

  private func resolved(_ options: RunOptions) -> SegmentationOptions {
    var result = options.segmentation
    result.mirrorAxes = options.mirrorAxes ?? task?.mirrorAxes ?? []
    return result
  }

  private func pipeline(_ options: RunOptions, device: CPUDevice) throws(MedDINOError) -> VolumeSegmentation {
    guard let task else { throw noDecoder }
    let workspace = Workspace(device.budget)
    var networks: [any TileNetwork] = []
    for index in 0..<memberCount {
      guard case .primus(let network) = try self.network(index, options.precision) else { throw noDecoder }
      networks.append(
        NetworkTile(network, channels: task.configuration.normalization.count, device: device, workspace: workspace))
    }
    return try VolumeSegmentation(
      plan: task.plan, configuration: task.configuration, scheme: task.scheme, networks: networks)
  }
}

/// Stands for a network where only its extents are asked for.
private final class ShapeOnlyNetwork: TileNetwork {
  let classes: Int
  let inputChannels: Int
  init(classes: Int, inputChannels: Int) {
    self.classes = classes
    self.inputChannels = inputChannels
  }
  func logits(
    tile: UnsafePointer<Float>, height: Int, width: Int, into logits: UnsafeMutablePointer<Float>, control: RunControl
  ) throws(MedDINOError) {
    throw MedDINOError(.internal, "an estimate ran a network")
  }
}
