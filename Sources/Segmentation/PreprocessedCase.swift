public import Imaging
public import Platform
public import Tensors

/// A whole case made ready for training: normalised, resampled images and labels, and where the foreground is.
///
/// Shapes: data float32 [channels, slices, rows, columns]; labels int16 [1, slices, rows, columns] with -1 outside the nonzero mask.
/// Source: pipeline specification 4.
public struct PreprocessedCase: Sendable {
  public let data: Tensor
  public let labels: Tensor?
  public let locations: [ForegroundLocations]
  public let properties: Properties
  /// One line each.
  public let warnings: [String]

  /// What is needed to bring a result back to the grid of the file. Everything in case axes.
  public struct Properties: Equatable, Sendable {
    public let spacing: [Double]
    public let shapeBeforeCropping: [Int]
    public let boundingBox: CaseBox
    public let shapeAfterCropping: [Int]
  }
}

extension PreprocessedCase {
  /// Runs the official preprocessing on one case. Without labels there are no locations.
  ///
  /// Throws: `.shape` and `.invalid` for volumes that do not fit the plan or each other, `.outOfMemory`, `.cancelled`.
  public init(
    _ volumes: [Volume], labels: Volume?, plan: Plan, configuration: Plan.Configuration, scheme: LabelScheme?, pool: ThreadPool,
    in budget: MemoryBudget, control: RunControl = RunControl()
  ) throws(MedDINOError) {
    guard let first = volumes.first else { throw .shape("image has no channels, expected \(configuration.normalization.count)") }
    let orientation = try VoxelOrientation(plan: plan, volume: first)
    let source = try CaseChannels(
      volumes.map(orientation.apply), count: configuration.normalization.count, transposeForward: plan.transposeForward)
    let grid = source.grid
    let planes = try LanePlanes(planeFloats: grid.shape[1] * grid.shape[2], slices: grid.shape[0], pool: pool, in: budget)
    let scan = try CaseScan(source, findBody: false, planes: planes, control: control)
    let reader = CroppedReader(source: source, scan: scan, box: scan.nonzeroBox)
    let dense = try DenseCase(reader, labels: labels.map(orientation.apply), plan, configuration, planes, in: budget, control)

    let target = [grid.spacing[0]] + configuration.spacing
    let shape = try CasePreparation.targetShape(scan.nonzeroBox.shape, grid.spacing, target)
    let rule = configuration.dataResampling
    try control.begin("resampling", from: 0.3, to: 0.6)
    data = try Resampling.resampleImage(
      dense.data, to: shape, current: grid.spacing, new: target, order: rule.order, orderZ: rule.orderZ,
      forceSeparateZ: rule.forceSeparateZ, in: budget, control: control)
    try control.begin("resampling", from: 0.6, to: 0.9)
    let labelRule = configuration.labelResampling
    let resampled: Tensor?
    if let cropped = dense.labels {
      resampled = try Resampling.resampleLabels(
        cropped, to: shape, current: grid.spacing, new: target, order: labelRule.order, orderZ: labelRule.orderZ,
        forceSeparateZ: labelRule.forceSeparateZ, in: budget, control: control)
    } else {
      resampled = nil
    }
    self.labels = resampled
    if let resampled, let scheme {
      locations = try ForegroundLocations.sample(resampled, keys: scheme.locationKeys, in: budget)
    } else {
      locations = []
    }
    properties = Properties(
      spacing: grid.spacing, shapeBeforeCropping: grid.shape, boundingBox: scan.nonzeroBox,
      shapeAfterCropping: scan.nonzeroBox.shape)
    warnings = InputWarnings.all(scan, source, configuration)
  }
}

/// The cropped case in memory, images normalised, labels with -1 outside the mask.
private struct DenseCase {
  let data: Tensor
  let labels: Tensor?

  init(
    _ reader: CroppedReader, labels: Volume?, _ plan: Plan, _ configuration: Plan.Configuration, _ planes: LanePlanes,
    in budget: MemoryBudget, _ control: RunControl
  ) throws(MedDINOError) {
    let shape = reader.box.shape
    let masked = zip(configuration.useMaskForNorm, configuration.normalization).map { $0 && $1 == .zScore }
    let mask = labels != nil || masked.contains(true) ? try reader.filledMask(planes, in: budget, control) : nil
    var cropped: Tensor?
    if let labels, let mask {
      let read = try Self.read(labels, reader, in: budget)
      let values = read.elements(Int16.self)
      for slice in 0..<shape[0] {
        for row in 0..<shape[1] {
          for column in 0..<shape[2] {
            let at = (slice * shape[1] + row) * shape[2] + column
            if values[at] == 0, !mask[column, row, slice] { values[at] = -1 }
            // Masked normalisation takes every voxel that is labelled or inside.
            mask[column, row, slice] = values[at] >= 0
          }
        }
      }
      cropped = read
    }
    let normalizers = try reader.normalizers(plan, configuration, mask: mask, masked: masked, planes, in: budget, control)
    data = try Tensor(Shape([masked.count] + shape), in: budget, "cropped image")
    let count = shape[1] * shape[2]
    let start = data.pointer.assumingMemoryBound(to: Float.self)
    nonisolated(unsafe) let out = start
    for channel in masked.indices {
      let normalizer = normalizers[channel]
      let inside = masked[channel]
      try planes.forEachSlice(0..<shape[0], control) { _, slice, _ in
        let plane = out + (channel * shape[0] + slice) * count
        reader.read(channel, slice, into: plane)
        if inside, let mask {
          normalizer.apply(plane, mask: mask, slice: slice)
        } else {
          normalizer.apply(plane, count: count)
        }
      }
    }
    self.labels = cropped
  }

  /// Throws: `.shape` for another grid, `.invalid` for a value that is no whole number from -32768 to 32767.
  private static func read(_ labels: Volume, _ reader: CroppedReader, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let grid = reader.source.grid, shape = reader.box.shape, box = reader.box
    guard labels.geometry.dims == reader.source.geometry.dims, labels.channels == 1 else {
      throw .shape(
        "labels have dims \(labels.geometry.dims) × \(labels.channels), expected those of the image: \(reader.source.geometry.dims) × 1")
    }
    let result = try Tensor(Shape([1] + shape), .int16, in: budget, "cropped labels")
    let line = try Tensor([shape[1], shape[2]], in: budget, "label slice")
    defer { withExtendedLifetime(line) {} }
    let plane = line.pointer.assumingMemoryBound(to: Float.self)
    let out = result.elements(Int16.self)
    let count = shape[1] * shape[2]
    for slice in 0..<shape[0] {
      labels.readPlane(
        axis: grid.axes[0], index: box.ranges[0].lowerBound + slice, rowAxis: grid.axes[1], rows: box.ranges[1],
        columnAxis: grid.axes[2], columns: box.ranges[2], channel: 0, into: plane)
      for i in 0..<count {
        guard let value = Int16(exactly: plane[i]) else {
          throw .invalid("labels hold the value \(plane[i]), expected whole numbers from -32768 to 32767")
        }
        out[slice * count + i] = value
      }
    }
    return result
  }
}
