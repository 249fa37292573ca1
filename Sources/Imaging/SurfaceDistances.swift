public import Platform
public import Tensors

/// Distances between the edge sets of a predicted and a reference mask.
///
/// Units: mm, float32. Memory grows with the masks' joint bounding box, not with the volume.
/// Source: pipeline specification 11.2.
public struct SurfaceDistances: Sendable {
  /// From every edge voxel of the prediction to the nearest of the reference, in the order z, y, x.
  public let toReference: Tensor
  /// From every edge voxel of the reference to the nearest of the prediction.
  public let toPrediction: Tensor

  /// Of the union of `values` in two label volumes on one grid. `box` holds all voxels of those values (`LabelPairs.box`); the
  /// spacing is the reference's. Throws: `.invalid` when one of the masks is empty, `.shape`, `.outOfMemory`, `.cancelled`.
  public init(
    reference: Volume, prediction: Volume, values: [Int], in box: VoxelBox, pool: ThreadPool, budget: MemoryBudget,
    control: RunControl? = nil
  ) throws(MedDINOError) {
    let masks = [
      try BitVolume(reference, in: box, values: values, pool: pool, in: budget, control: control),
      try BitVolume(prediction, in: box, values: values, pool: pool, in: budget, control: control),
    ]
    try self.init(
      reference: masks[0], prediction: masks[1], spacing: reference.geometry.spacing, pool: pool, budget: budget, control: control)
  }

  /// `spacing`: x, y, z. Throws: `.invalid` when one of the masks is empty, `.shape` when their dims differ, `.outOfMemory`,
  /// `.cancelled`.
  public init(
    reference: BitVolume, prediction: BitVolume, spacing: [Double], pool: ThreadPool, budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) {
    guard reference.dims == prediction.dims, spacing.count == 3 else {
      throw .shape("masks have dims \(reference.dims) and \(prediction.dims) and \(spacing.count) spacings, expected one grid")
    }
    guard reference.count > 0, prediction.count > 0 else { throw .invalid("surface distances need two masks that are not empty") }
    let edges = (
      reference: try reference.edges(pool: pool, in: budget, control: control),
      prediction: try prediction.edges(pool: pool, in: budget, control: control)
    )
    func distances(from: BitVolume, to: BitVolume) throws(MedDINOError) -> Tensor {
      try DistanceTransform(to: to, spacing: spacing, pool: pool, in: budget, control: control).distances(of: from, control: control)
    }
    toReference = try distances(from: edges.prediction, to: edges.reference)
    toPrediction = try distances(from: edges.reference, to: edges.prediction)
  }

  /// Normalized surface Dice (NSD): the share of all edge voxels that lie within `tolerance` mm of the other edge.
  public func surfaceDice(tolerance: Double) -> Double {
    // Distances are float32: a tolerance that is no float32 must be rounded the same way, or equal distances would lie outside.
    let limit = Float(tolerance)
    let within = toReference.floatCount { $0 <= limit } + toPrediction.floatCount { $0 <= limit }
    return Double(within) / Double(toReference.count + toPrediction.count)
  }

  /// The larger of the two quantiles with linear interpolation: HD95 for 0.95, the Hausdorff distance for 1.
  public func hausdorff(quantile: Double = 0.95) -> Double {
    max(OrderStatistics.quantile(toReference, quantile), OrderStatistics.quantile(toPrediction, quantile))
  }
}

extension Tensor {
  fileprivate func floatCount(_ holds: (Float) -> Bool) -> Int {
    withExtendedLifetime(buffer) { floats.reduce(0) { $0 + (holds($1) ? 1 : 0) } }
  }
}

/// Values at a rank without sorting and without memory: bits of non-negative floats are ordered like their values.
enum OrderStatistics {
  /// The q-quantile with linear interpolation between ranks. Values are not negative, and at least one.
  static func quantile(_ values: Tensor, _ q: Double) -> Double {
    let rank = min(max(q, 0), 1) * Double(values.count - 1)
    let below = Int(rank)
    let low = Double(value(values, rank: below))
    let share = rank - Double(below)
    if share == 0 { return low }
    return low + (Double(value(values, rank: below + 1)) - low) * share
  }

  /// The value of a rank counted from 0, by three rounds of counting 11, 11 and 10 bits.
  static func value(_ values: Tensor, rank: Int) -> Float {
    var (prefix, rest): (UInt32, Int) = (0, rank)
    for (shift, width) in [(21, 11), (10, 11), (0, 10)] as [(UInt32, UInt32)] {
      var counts = [Int](repeating: 0, count: 1 << Int(width))
      let known = shift + width
      for value in values.floats where known == 32 || value.bitPattern >> known == prefix {
        counts[Int(value.bitPattern >> shift & (1 << width - 1))] += 1
      }
      var digit = 0
      while digit + 1 < counts.count, rest >= counts[digit] {
        rest -= counts[digit]
        digit += 1
      }
      prefix = prefix << width | UInt32(digit)
    }
    withExtendedLifetime(values) {}
    return Float(bitPattern: prefix)
  }
}
