public import Imaging
public import Platform
public import Tensors

/// The straight line from an image to labels on its grid, a slice at a time.
///
/// Source: pipeline specification 10; architecture §2.
public struct VolumeSegmentation: Sendable {
  public let plan: Plan
  public let configuration: Plan.Configuration
  public let scheme: LabelScheme
  public let networks: [any TileNetwork]

  /// `networks`: the members whose logits are averaged.
  /// Throws: `.shape` when plan, labels and networks do not fit together.
  public init(
    plan: Plan, configuration: Plan.Configuration, scheme: LabelScheme, networks: [any TileNetwork]
  ) throws(MedDINOError) {
    guard !networks.isEmpty else { throw .invalid("no network given, expected at least one member") }
    for (index, network) in networks.enumerated() {
      guard network.classes == scheme.heads.count else {
        throw .shape("member \(index) has \(network.classes) outputs, the labels need \(scheme.heads.count)")
      }
      guard network.inputChannels == configuration.normalization.count else {
        throw .shape("member \(index) has \(network.inputChannels) input channels, the plan has \(configuration.normalization.count)")
      }
    }
    self.plan = plan
    self.configuration = configuration
    self.scheme = scheme
    self.networks = networks
  }

  /// Segments a case into `labels`, and into `probabilities` (one channel per head) when given; both lie on the grid of the image.
  ///
  /// `progress`: the part of the whole run that this call fills.
  /// Throws: `.shape`, `.invalid`, `.unsupported` before anything is written; `.outOfMemory`, `.cancelled`, `.internal`.
  public func run(
    _ channels: [Volume], labels: Volume, probabilities: Volume? = nil, options: SegmentationOptions = SegmentationOptions(),
    pool: ThreadPool, in budget: MemoryBudget, control: RunControl = RunControl(), progress: ClosedRange<Double> = 0...1
  ) throws(MedDINOError) -> SegmentationReport {
    try check(channels, labels: labels, probabilities: probabilities, options: options)
    guard let first = channels.first else { throw .shape("image has no channels, expected \(configuration.normalization.count)") }
    let orientation = try VoxelOrientation(plan: plan, volume: first)
    let span = progress.upperBound - progress.lowerBound
    let prepared = progress.lowerBound + span * 0.02
    try control.begin("prepare", from: progress.lowerBound, to: prepared)
    let preparation = try CasePreparation(
      channels.map(orientation.apply), plan: plan, configuration: configuration, bodyCrop: options.bodyCrop, pool: pool,
      in: budget, control: control)
    let region = options.regionOfInterest.map { preparation.source.grid.box(orientation.apply($0)) }
    let work = try SegmentationWork(self, preparation, region: region, options, probabilities: probabilities != nil, pool: pool, in: budget)
    let axes = preparation.source.grid.axes
    return try work.run(
      labels: VolumeSink(orientation.apply(labels), axes: axes, pool: pool),
      probabilities: probabilities.map { VolumeSink(orientation.apply($0), axes: axes, pool: pool) },
      control: control, progress: prepared...max(prepared, progress.upperBound))
  }

  /// Everything about a run that can be checked without reading a voxel. Throws: `.shape`, `.invalid`, `.unsupported`.
  public func check(
    _ channels: [Volume], labels: Volume, probabilities: Volume? = nil, options: SegmentationOptions = SegmentationOptions()
  ) throws(MedDINOError) {
    let inputs = try CaseChannels(channels, count: configuration.normalization.count, transposeForward: plan.transposeForward)
    let dims = inputs.geometry.dims
    let largest = scheme.heads.map(\.value).filter { options.labelSubset?.contains($0) ?? true }.max() ?? 0
    try VolumeSink.checkLabels(labels, dims: dims, largest: largest)
    if let probabilities { try VolumeSink.checkScores(probabilities, dims: dims, channels: scheme.heads.count) }
    try checkMemory(channels, labels: labels, probabilities: probabilities)
    try check(options, dims: dims)
  }

  /// Results have memory of their own: slices are written while later ones are still to be read. Throws: `.invalid`.
  private func checkMemory(_ channels: [Volume], labels: Volume, probabilities: Volume?) throws(MedDINOError) {
    for (name, result) in [("labels", labels), ("probabilities", probabilities)] {
      guard let result else { continue }
      do throws(MedDINOError) { try VolumeCheck.separateVoxels(result) } catch {
        throw MedDINOError(error.kind, "\(name).\(error.message)")
      }
      for (index, channel) in channels.enumerated() {
        try VolumeCheck.separateMemory(result, name, channel, "channels[\(index)]")
      }
    }
    if let probabilities { try VolumeCheck.separateMemory(labels, "labels", probabilities, "probabilities") }
  }

  func check(_ options: SegmentationOptions, dims: [Int]) throws(MedDINOError) {
    if let roi = options.regionOfInterest {
      let inside = (0..<3).allSatisfy { roi.lower[$0] >= 0 && roi.lower[$0] < roi.upper[$0] && roi.upper[$0] <= dims[$0] }
      guard inside else { throw .invalid("roi is \(roi.lower) to \(roi.upper), expected a box that is not empty inside dims \(dims)") }
    }
    for value in options.labelSubset ?? [] where !scheme.heads.contains(where: { $0.value == value }) {
      throw .invalid("label_subset holds \(value), expected values of the model: \(scheme.outputs.map(\.value))")
    }
  }
}
