internal import Imaging
internal import Platform
internal import Tensors

/// The buffers of one run, taken once, and the loop over slices.
final class SegmentationWork {
  private let job: VolumeSegmentation
  private let preparation: CasePreparation
  private let options: SegmentationOptions
  private let segmenter: SliceSegmenter
  private let decoder: SliceDecoder
  private let pool: ThreadPool
  /// What is computed, in voxels of the cropped case; empty when the wanted region holds nothing.
  private let wanted: CaseBox
  private let needed: (rows: Range<Int>, columns: Range<Int>)

  /// `region`: in case axes, nil for everything.
  init(
    _ job: VolumeSegmentation, _ preparation: CasePreparation, region: CaseBox?, _ options: SegmentationOptions,
    probabilities: Bool, pool: ThreadPool, in budget: MemoryBudget
  ) throws(MedDINOError) {
    self.job = job
    self.preparation = preparation
    self.options = options
    self.pool = pool
    let back = try Self.back(preparation.croppedShape, preparation.shape, preparation.source.grid.spacing, job.configuration)
    segmenter = try SliceSegmenter(
      networks: job.networks, rows: preparation.shape[1], columns: preparation.shape[2], patch: job.configuration.patchSize,
      tileStep: options.tileStep, mirrorAxes: options.mirrorAxes, pool: pool, in: budget)
    decoder = try SliceDecoder(
      scheme: job.scheme, resampling: back, subset: options.labelSubset, probabilities: probabilities, pool: pool, in: budget)
    wanted = Self.wanted(region, in: preparation.box)
    needed = back.needed(rows: wanted.ranges[1], columns: wanted.ranges[2])
  }

  /// The resampling of logits back to the cropped slice.
  static func back(
    _ cropped: [Int], _ shape: [Int], _ spacing: [Double], _ configuration: Plan.Configuration
  ) throws(MedDINOError) -> PlaneResampling {
    try PlaneResampling(
      shape: Array(shape.dropFirst()), newShape: Array(cropped.dropFirst()), current: [spacing[0]] + configuration.spacing,
      new: spacing, rule: configuration.logitResampling)
  }

  private static func wanted(_ region: CaseBox?, in box: CaseBox) -> CaseBox {
    let all = CaseBox(shape: box.shape)
    guard let region else { return all }
    let part = CaseBox(
      zip(region.ranges, box.ranges).map { region, box in
        max(0, region.lowerBound - box.lowerBound)..<max(0, region.upperBound - box.lowerBound, region.lowerBound - box.lowerBound)
      })
    return part.intersection(all)
  }

  func run(
    labels: VolumeSink, probabilities: VolumeSink?, control: RunControl, progress range: ClosedRange<Double>
  ) throws(MedDINOError) -> SegmentationReport {
    labels.fill(channel: 0, 0)
    if let probabilities {
      for head in job.scheme.heads.indices { probabilities.fill(channel: head, head == 0 && !job.scheme.hasRegions ? 1 : 0) }
    }
    let grid = preparation.source.grid
    var counter = LabelCounter(largest: job.scheme.largestOutput, shape: grid.shape)
    if !wanted.isEmpty {
      let calls = segmenter.calls(rows: needed.rows, columns: needed.columns)
      var progress = TileProgress(control, over: range, total: calls * wanted.ranges[0].count)
      for slice in wanted.ranges[0] {
        try control.check()
        preparation.slice(slice, into: segmenter.input)
        try segmenter.segment(rows: needed.rows, columns: needed.columns, progress: &progress)
        decoder.decode(
          segmenter.logits, planeStride: segmenter.planeStride, rows: wanted.ranges[1], probabilities: probabilities != nil)
        write(slice, labels, probabilities, &counter)
      }
    }
    try control.begin("segment", from: range.upperBound, to: range.upperBound)
    return report(counter)
  }

  private func write(_ slice: Int, _ labels: VolumeSink, _ probabilities: VolumeSink?, _ counter: inout LabelCounter) {
    let box = preparation.box
    let columns = wanted.ranges[2]
    let target = (slice: box.ranges[0].lowerBound + slice, column: box.ranges[2].lowerBound + columns.lowerBound)
    let firstRow = box.ranges[1].lowerBound
    let values = decoder.labels, scores = decoder.scores, stride = decoder.scoreStride, width = decoder.columns
    let heads = job.scheme.heads.count
    let wantedRows = wanted.ranges[1]
    pool.forBlocks(of: wantedRows.count, grain: 64) { block in
      for index in block {
        let row = wantedRows.lowerBound + index
        let at = row * width + columns.lowerBound
        labels.writeLabels(
          values + at, count: columns.count, slice: target.slice, row: firstRow + row, column: target.column)
        if let probabilities {
          for head in 0..<heads {
            probabilities.writeScores(
              scores + head * stride + at, count: columns.count, channel: head, slice: target.slice, row: firstRow + row,
              column: target.column)
          }
        }
      }
    }
    for row in wantedRows {
      counter.add(
        values + row * width + columns.lowerBound, count: columns.count, slice: target.slice, row: firstRow + row,
        column: target.column)
    }
  }

  private func report(_ counter: LabelCounter) -> SegmentationReport {
    let outputs = job.scheme.outputs.filter { options.labelSubset?.contains($0.value) ?? true }
    let found = counter.labels(outputs, voxelMillilitres: preparation.source.geometry.voxelMillilitres)
    var warnings = InputWarnings.all(preparation.scan, preparation.source, job.configuration)
    if found.allSatisfy({ $0.voxels == 0 }) { warnings.append("no foreground was found") }
    return SegmentationReport(labels: found, warnings: warnings)
  }
}
