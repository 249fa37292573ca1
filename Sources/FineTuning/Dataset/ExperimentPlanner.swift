public import Platform
public import Segmentation

/// nnU-Net's planning of the 2D configuration: from a fingerprint to axis order, spacing, patch and batch size.
///
/// Source: pipeline specification 3.1 to 3.4.
public struct ExperimentPlanner: Equatable, Sendable {
  /// In file order z, y, x. Units: mm.
  public let targetSpacing: [Double]
  public let transposeForward: [Int]
  public let transposeBackward: [Int]
  /// Of the resampled cases, transposed; may end in .5.
  public let medianShape: [Double]
  /// Of the cropped cases as they are, transposed.
  public let originalMedianSpacing: [Double]
  public let originalMedianShape: [Int]
  /// [rows, columns]. Units: mm.
  public let spacing: [Double]
  public let topology: UNetTopology
  public var patchSize: [Int] { topology.patchSize }
  public let batchSize: Int
  /// nnU-Net's estimate for its own network at this patch size, in its own units.
  public let memoryEstimate: Double
  public let normalization: [NormalizationScheme]
  public let useMaskForNorm: [Bool]

  private static let anisotropy = 3.0
  private static let referenceEstimate = 85_000_000.0
  private static let referenceGigabytes = 8.0
  private static let referenceBatch = 12.0
  private static let largestPart = 0.05
  private static let smallestBatch = 2.0
  private static let croppedEnough = 0.75

  /// `labelEntries`: entries of `labels` in dataset.json, background and ignore included.
  /// Throws: `.invalid` for a fingerprint without cases or a memory target that no patch fits.
  public init(
    _ fingerprint: DatasetFingerprint, channelNames: [String], labelEntries: Int, trainingCases: Int, gpuGigabytes: Double = 8
  ) throws(MedDINOError) {
    guard !fingerprint.spacings.isEmpty, fingerprint.spacings.count == fingerprint.shapesAfterCrop.count else {
      throw .invalid("fingerprint has no cases")
    }
    guard gpuGigabytes > 0, gpuGigabytes <= 1024 else {
      throw .invalid("gpu memory target is \(gpuGigabytes) GB, expected above 0 and at most 1024")
    }
    targetSpacing = Self.targetSpacing(fingerprint)
    let target = targetSpacing
    let coarsest = Self.firstMaximum(target)
    let forward = [coarsest] + [0, 1, 2].filter { $0 != coarsest }
    transposeForward = forward
    transposeBackward = (0..<3).map { axis in forward.firstIndex(of: axis) ?? axis }
    let median = (0..<3).map { axis in
      Order.median(
        zip(fingerprint.spacings, fingerprint.shapesAfterCrop).map {
          ($0[axis] / target[axis] * Double($1[axis])).rounded(.toNearestOrEven)
        })
    }
    medianShape = forward.map { median[$0] }
    originalMedianSpacing = forward.map { axis in Order.median(fingerprint.spacings.map { $0[axis] }) }
    originalMedianShape = forward.map { axis in
      Int(Order.median(fingerprint.shapesAfterCrop.map { Double($0[axis]) }).rounded(.toNearestOrEven))
    }
    spacing = forward.dropFirst().map { target[$0] }
    let reference = Self.referenceEstimate * gpuGigabytes / Self.referenceGigabytes
    topology = try Self.fittingTopology(
      spacing: spacing, medianShape: Array(medianShape.dropFirst()), labelEntries: labelEntries, reference: reference)
    let estimate = topology.memoryEstimate(outputs: labelEntries)
    memoryEstimate = estimate
    let voxels = medianShape.reduce(1, *) * Double(trainingCases)
    let patch = topology.patchSize.reduce(1.0) { $0 * Double($1) }
    let wanted = (reference / estimate * Self.referenceBatch).rounded(.toNearestOrEven)
    let cap = (voxels * Self.largestPart / patch).rounded(.toNearestOrEven)
    batchSize = Int(max(min(wanted, cap, 1e6), Self.smallestBatch))
    let schemes = channelNames.map { NormalizationScheme(channelName: $0) }
    normalization = schemes
    let masks = fingerprint.medianRelativeSizeAfterCropping < Self.croppedEnough
    useMaskForNorm = schemes.map { masks && $0 == .zScore }
  }

  /// Plans for a dataset. Throws: as above.
  public init(_ fingerprint: DatasetFingerprint, _ dataset: RawDataset, gpuGigabytes: Double = 8) throws(MedDINOError) {
    let description = dataset.description
    try self.init(
      fingerprint, channelNames: description.channelNames,
      labelEntries: description.labels.count + (description.ignoreLabel == nil ? 0 : 1),
      trainingCases: description.trainingCases ?? dataset.cases.count, gpuGigabytes: gpuGigabytes)
  }

  /// The median spacing, finer along a coarse axis when the dataset has finer cases.
  private static func targetSpacing(_ fingerprint: DatasetFingerprint) -> [Double] {
    func column(_ axis: Int) -> [Double] { fingerprint.spacings.map { $0[axis] } }
    var target = (0..<3).map { Order.percentile(column($0), 0.5) }
    let size = (0..<3).map { axis in Order.percentile(fingerprint.shapesAfterCrop.map { Double($0[axis]) }, 0.5) }
    let coarsest = firstMaximum(target)
    let others = [0, 1, 2].filter { $0 != coarsest }
    let finest = others.map { target[$0] }.max() ?? 0
    let fewest = others.map { size[$0] }.min() ?? 0
    if target[coarsest] > anisotropy * finest, size[coarsest] * anisotropy < fewest {
      let wanted = Order.percentile(column(coarsest), 0.1)
      target[coarsest] = wanted < finest ? max(finest, wanted) + 1e-5 : wanted
    }
    return target
  }

  private static func firstMaximum(_ values: [Double]) -> Int {
    values.indices.reduce(0) { values[$1] > values[$0] ? $1 : $0 }
  }

  /// Shrinks the patch, one step along its relatively larger axis at a time, until two images fit the reference.
  private static func fittingTopology(
    spacing: [Double], medianShape: [Double], labelEntries: Int, reference: Double
  ) throws(MedDINOError) -> UNetTopology {
    let inverse = spacing.map { 1 / $0 }
    let scale = (2048.0 * 2048.0 / (inverse[0] * inverse[1])).squareRoot()
    var topology = UNetTopology(
      spacing: spacing, patch: (0..<2).map { min((inverse[$0] * scale).rounded(.toNearestOrEven), medianShape[$0]) })
    while topology.memoryEstimate(outputs: labelEntries) / referenceBatch * smallestBatch > reference {
      let parts = (0..<2).map { Double(topology.patchSize[$0]) / medianShape[$0] }
      let axis = parts[0] > parts[1] ? 0 : 1
      var patch = topology.patchSize.map(Double.init)
      patch[axis] -= Double(topology.divisors[axis])
      guard patch[axis] > 0 else { throw .invalid("gpu memory target is too small: no patch fits") }
      let divisor = UNetTopology(spacing: spacing, patch: patch).divisors[axis]
      patch[axis] = Double(topology.patchSize[axis] - divisor)
      guard patch[axis] > 0 else { throw .invalid("gpu memory target is too small: no patch fits") }
      let next = UNetTopology(spacing: spacing, patch: patch)
      guard next.patchSize != topology.patchSize else { throw .invalid("gpu memory target is too small: no patch fits") }
      topology = next
    }
    return topology
  }
}
