public import Imaging
public import Platform
public import Tensors

extension VolumeSegmentation {
  /// What a run over an image of this geometry takes. Nothing is read: the crop to nonzero and to the body may make it less.
  ///
  /// Throws: `.shape`, `.invalid` as `run` would.
  public func estimate(
    _ geometry: Geometry, options: SegmentationOptions = SegmentationOptions(), probabilities: Bool = false, pool: ThreadPool
  ) throws(MedDINOError) -> SegmentationEstimate {
    let orientation = try VoxelOrientation(plan: plan, geometry: geometry)
    let grid = try CaseGrid(orientation.apply(geometry), transposeForward: plan.transposeForward)
    try check(options, dims: geometry.dims)
    let shape = try CasePreparation.targetShape(grid.shape, grid.spacing, [grid.spacing[0]] + configuration.spacing)
    let forward = try PlaneResampling(
      shape: Array(grid.shape.dropFirst()), newShape: Array(shape.dropFirst()), current: grid.spacing,
      new: [grid.spacing[0]] + configuration.spacing, rule: configuration.dataResampling)
    let back = try SegmentationWork.back(grid.shape, shape, grid.spacing, configuration)
    let window = try SlidingWindow(
      rows: shape[1], columns: shape[2], tileRows: configuration.patchSize[0], tileColumns: configuration.patchSize[1],
      step: options.tileStep)

    let region = options.regionOfInterest.map { grid.box(orientation.apply($0)) } ?? CaseBox(shape: grid.shape)
    let needed = back.needed(rows: region.ranges[1], columns: region.ranges[2])
    let perSlice = window.rows.startsTouching(needed.rows).count * window.columns.startsTouching(needed.columns).count
    let tiles = try Checked.product([perSlice, region.ranges[0].count], "tiles", kind: .shape)
    let perTile = try networks.count * Mirroring.all(axes: options.mirrorAxes).count

    let preparation = try CasePreparation.byteCount(
      gridShape: grid.shape, croppedShape: grid.shape, resampling: forward, pool: pool)
    let segmenter = try SliceSegmenter.byteCount(window: window, channels: configuration.normalization.count, classes: scheme.heads.count)
    let decoder = try SliceDecoder.byteCount(scheme: scheme, resampling: back, probabilities: probabilities, pool: pool)
    let loop = try Checked.sum(Checked.sum(preparation.lasting, segmenter, "buffers", kind: .shape), decoder, "buffers", kind: .shape)
    let start = try Checked.sum(preparation.passing, preparation.lasting, "buffers", kind: .shape)
    var mask = 0
    if zip(configuration.useMaskForNorm, configuration.normalization).contains(where: { $0 && $1 == .zScore }) {
      // One bit per voxel, and as much again while holes are filled.
      let words = try Checked.product([grid.shape[0], grid.shape[1], (grid.shape[2] - 1) / 64 + 1, 16], "normalisation mask", kind: .shape)
      mask = try Checked.sum(words, grid.shape[0] * grid.shape[1] * 9, "normalisation mask", kind: .shape)
    }
    return SegmentationEstimate(
      peakBytes: try Checked.sum(max(loop, start), mask, "buffers", kind: .shape), tiles: tiles,
      networkCalls: try Checked.product([tiles, perTile], "network calls", kind: .shape))
  }
}
