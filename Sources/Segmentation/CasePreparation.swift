public import Imaging
public import Platform
public import Tensors

/// A case made ready for the network slice by slice: to plan axes, cropped to nonzero, normalised, resampled.
///
/// Holds no copy of the volume: memory does not grow with the number of slices, except one bit per cropped voxel when a
/// channel is normalised inside a mask (`use_mask_for_norm`, never for CT). Statistics that need the whole case are taken in passes over
/// the caller's memory. `slice` writes to scratch of its own: one caller at a time.
/// Source: pipeline specification 4.1 to 4.6.
public final class CasePreparation {
  public let source: CaseChannels
  public let scan: CaseScan
  /// The part of the grid that is kept, in case axes.
  public let box: CaseBox
  /// [slices, rows, columns] after cropping.
  public var croppedShape: [Int] { box.shape }
  /// [slices, rows, columns] of what the network sees.
  public let shape: [Int]
  /// Spacing of the resampled slices, in case axes. Units: mm.
  public let spacing: [Double]

  let normalizers: [ChannelNormalizer]
  private let masked: [Bool]
  private let mask: BitVolume?
  private let resampling: PlaneResampling
  private var clips: [PlaneResampling.Clip] = []
  private let scratch: Buffer

  /// Throws: `.invalid`, `.shape`, `.format` for a case or plan that does not fit, `.outOfMemory`, `.cancelled`.
  public init(
    _ volumes: [Volume], plan: Plan, configuration: Plan.Configuration, bodyCrop: Bool = false,
    pool: ThreadPool, in budget: MemoryBudget, control: RunControl
  ) throws(MedDINOError) {
    let source = try CaseChannels(volumes, count: configuration.normalization.count, transposeForward: plan.transposeForward)
    let grid = source.grid
    if bodyCrop, configuration.normalization.first != .ct {
      throw .invalid("body_crop is on, but channel 0 is not normalised as CT")
    }
    let fullPlane = grid.shape[1] * grid.shape[2]
    let planes = try LanePlanes(planeFloats: fullPlane, slices: grid.shape[0], pool: pool, in: budget)
    scan = try CaseScan(source, findBody: bodyCrop, planes: planes, control: control)
    box = Self.box(scan, grid, bodyCrop: bodyCrop)
    self.source = source
    spacing = [grid.spacing[0]] + configuration.spacing
    shape = try Self.targetShape(box.shape, grid.spacing, spacing)
    resampling = try PlaneResampling(
      shape: Array(box.shape.dropFirst()), newShape: Array(shape.dropFirst()), current: grid.spacing, new: spacing,
      rule: configuration.dataResampling)
    masked = zip(configuration.useMaskForNorm, configuration.normalization).map { $0 && $1 == .zScore }
    let reader = CroppedReader(source: source, scan: scan, box: box)
    mask = masked.contains(true) ? try reader.filledMask(planes, in: budget, control) : nil
    normalizers = try reader.normalizers(
      plan, configuration, mask: mask, masked: masked, planes, in: budget, control)
    let cropped = try Checked.product([box.shape[1], box.shape[2], 4], "slice scratch", kind: .shape)
    scratch = try budget.allocate(Checked.sum((cropped + 63) / 64 * 64, resampling.scratchByteCount(), "slice scratch"), "slice scratch")
    try findClips(planes, control)
  }

  /// Bytes that preparation needs at most, planes for scanning included; without a mask.
  static func byteCount(
    gridShape: [Int], croppedShape: [Int], resampling: PlaneResampling, pool: ThreadPool
  ) throws(MedDINOError) -> (lasting: Int, passing: Int) {
    let lanes = LanePlanes.lanes(slices: gridShape[0], pool: pool)
    let plane = try Checked.product([gridShape[1], gridShape[2]], "slice scratch", kind: .shape)
    let passing = try LanePlanes.byteCount(planeFloats: plane, lanes: lanes)
    let cropped = try Checked.product([croppedShape[1], croppedShape[2], 4], "slice scratch", kind: .shape)
    return (try Checked.sum((cropped + 63) / 64 * 64, resampling.scratchByteCount(), "slice scratch"), passing)
  }

  public var channelCount: Int { source.channels.count }
  /// Floats of one prepared slice: channels × rows × columns.
  public var sliceFloats: Int { channelCount * shape[1] * shape[2] }

  /// Slice `index` of the cropped case, normalised and resampled.
  ///
  /// Shapes: `out` [channels, shape[1], shape[2]], dense. `index` is in 0..<shape[0].
  public func slice(_ index: Int, into out: UnsafeMutablePointer<Float>) {
    let count = croppedShape[1] * croppedShape[2]
    let plane = scratch.elements(Float.self)
    let rest = scratch.pointer + (count * 4 + 63) / 64 * 64
    guard let base = plane.baseAddress else { return }
    for channel in 0..<channelCount {
      normalizedPlane(channel, index, into: base)
      let clip = clips.indices.contains(channel) ? clips[channel] : .none
      resampling.resample(base, clip: clip, into: out + channel * shape[1] * shape[2], scratch: rest)
    }
  }

  /// One cropped plane, normalised.
  private func normalizedPlane(_ channel: Int, _ index: Int, into plane: UnsafeMutablePointer<Float>) {
    let count = croppedShape[1] * croppedShape[2]
    CroppedReader(source: source, scan: scan, box: box).read(channel, index, into: plane)
    if masked[channel], let mask {
      normalizers[channel].apply(plane, mask: mask, slice: index)
    } else {
      normalizers[channel].apply(plane, count: count)
    }
  }

  /// Throws: `.shape` when an extent does not fit. An extent that rounds to 0 becomes 1.
  static func targetShape(_ shape: [Int], _ current: [Double], _ new: [Double]) throws(MedDINOError) -> [Int] {
    var result: [Int] = []
    for axis in shape.indices {
      if (current[axis] / new[axis] * Double(shape[axis])).rounded(.toNearestOrEven) < 1 {
        result.append(1)
      } else {
        result += try Resampling.newShape(shape: [shape[axis]], current: [current[axis]], new: [new[axis]])
      }
    }
    return result
  }

  private static func box(_ scan: CaseScan, _ grid: CaseGrid, bodyCrop: Bool) -> CaseBox {
    guard bodyCrop, let body = scan.bodyBox else { return scan.nonzeroBox }
    let margin = 10.0
    let grown = CaseBox(
      (0..<3).map { axis in
        let voxels = Int(min((margin / grid.spacing[axis]).rounded(.up), Double(grid.shape[axis])))
        return max(0, body.ranges[axis].lowerBound - voxels)..<min(grid.shape[axis], body.ranges[axis].upperBound + voxels)
      })
    let both = grown.intersection(scan.nonzeroBox)
    return both.isEmpty ? scan.nonzeroBox : both
  }

  /// The ranges that cubic overshoot is clipped to, over the normalised cropped volume.
  private func findClips(_ planes: LanePlanes, _ control: RunControl) throws(MedDINOError) {
    let entries = resampling.clipRangeCount
    guard entries > 0 else { return }
    for channel in 0..<channelCount {
      if entries == 1, !masked[channel], resampling.separateAxis == nil, box == CaseBox(shape: source.grid.shape) {
        let normalizer = normalizers[channel]
        let found = scan.channels[channel]
        let (low, high) = (normalizer.value(found.lowest), normalizer.value(found.highest))
        guard low <= high else { throw .invalid("channel \(channel): values \(found.lowest) to \(found.highest) cannot be normalised") }
        clips.append(.ranges([low...high]))
        continue
      }
      var low = [Float](repeating: .infinity, count: entries * planes.lanes)
      var high = [Float](repeating: -.infinity, count: entries * planes.lanes)
      let shape = croppedShape
      let axis = resampling.separateAxis
      try low.withUnsafeMutableBufferPointer { (low) throws(MedDINOError) in
        try high.withUnsafeMutableBufferPointer { (high) throws(MedDINOError) in
          nonisolated(unsafe) let low = low
          nonisolated(unsafe) let high = high
          nonisolated(unsafe) let preparation = self
          try planes.forEachSlice(0..<shape[0], control) { lane, slice, plane in
            preparation.normalizedPlane(channel, slice, into: plane)
            for row in 0..<shape[1] {
              for column in 0..<shape[2] {
                let value = plane[row * shape[2] + column]
                let entry = lane * entries + (axis == 1 ? row : axis == 2 ? column : 0)
                if value < low[entry] { low[entry] = value }
                if value > high[entry] { high[entry] = value }
              }
            }
          }
        }
      }
      clips.append(
        .ranges(
          (0..<entries).map { entry in
            let lanes = (0..<planes.lanes).map { $0 * entries + entry }
            let smallest = lanes.map { low[$0] }.min() ?? 0
            return smallest...max(smallest, lanes.map { high[$0] }.max() ?? 0)
          }))
    }
  }
}
