internal import Imaging
internal import Platform
internal import Tensors
internal import Glibc

/// Reads cropped planes of a case with broken values replaced, and takes the statistics that normalisation needs.
struct CroppedReader: Sendable {
  let source: CaseChannels
  let scan: CaseScan
  let box: CaseBox

  /// One plane of the crop; NaN and infinities become the lowest finite value of the channel.
  func read(_ channel: Int, _ slice: Int, into plane: UnsafeMutablePointer<Float>) {
    let rows = box.ranges[1], columns = box.ranges[2]
    source.readPlane(
      channel: channel, slice: box.ranges[0].lowerBound + slice, rows: rows, columns: columns, into: plane)
    guard scan.channels[channel].nonFinite > 0 else { return }
    let replacement = scan.channels[channel].lowest
    for i in 0..<rows.count * columns.count where !plane[i].isFinite { plane[i] = replacement }
  }

  /// Set where some channel is not 0 or a hole was filled. Axes x, y, z of the mask are columns, rows, slices of the crop.
  func filledMask(_ planes: LanePlanes, in budget: MemoryBudget, _ control: RunControl) throws(MedDINOError) -> BitVolume {
    let shape = box.shape
    let mask = try BitVolume(dims: shape.reversed(), in: budget, "normalisation mask")
    try planes.forEachSlice(0..<shape[0], control) { _, slice, plane in
      for channel in source.channels.indices {
        read(channel, slice, into: plane)
        for row in 0..<shape[1] {
          for column in 0..<shape[2] where plane[row * shape[2] + column] != 0 { mask[column, row, slice] = true }
        }
      }
    }
    try mask.fillHoles(in: budget)
    return mask
  }

  /// The constants of every channel. Sums are float64, taken slice by slice, so that they do not depend on the threads.
  func normalizers(
    _ plan: Plan, _ configuration: Plan.Configuration, mask: BitVolume?, masked: [Bool], _ planes: LanePlanes,
    in budget: MemoryBudget, _ control: RunControl
  ) throws(MedDINOError) -> [ChannelNormalizer] {
    var result: [ChannelNormalizer] = []
    for (channel, scheme) in configuration.normalization.enumerated() {
      var statistics: ChannelNormalizer.Statistics?
      switch scheme {
      case .ct, .none: break
      case .zScore:
        statistics = try moments(channel, masked[channel] ? mask : nil, planes, in: budget, control)
      case .rescale01, .rgb01:
        statistics = try extremes(channel, planes, control)
      }
      let properties = plan.intensityProperties.indices.contains(channel) ? plan.intensityProperties[channel] : nil
      result.append(try ChannelNormalizer(scheme, channel: channel, properties: properties, statistics: statistics))
    }
    return result
  }

  private func extremes(_ channel: Int, _ planes: LanePlanes, _ control: RunControl) throws(MedDINOError) -> ChannelNormalizer.Statistics {
    let found = scan.channels[channel]
    if box == CaseBox(shape: source.grid.shape) {
      return .init(minimum: found.lowest, maximum: found.highest, mean: 0, std: 0)
    }
    var ranges = [ClosedRange<Float>?](repeating: nil, count: planes.lanes)
    let count = box.ranges[1].count * box.ranges[2].count
    try ranges.withUnsafeMutableBufferPointer { (ranges) throws(MedDINOError) in
      nonisolated(unsafe) let ranges = ranges
      try planes.forEachSlice(0..<box.ranges[0].count, control) { lane, slice, plane in
        read(channel, slice, into: plane)
        let here = PlaneResampling.range(plane, count)
        let before = ranges[lane] ?? here
        ranges[lane] = min(before.lowerBound, here.lowerBound)...max(before.upperBound, here.upperBound)
      }
    }
    let all = ranges.compactMap { $0 }
    return .init(
      minimum: all.map(\.lowerBound).min() ?? 0, maximum: all.map(\.upperBound).max() ?? 0, mean: 0, std: 0)
  }

  /// Mean and population standard deviation in two passes, over the crop or over the mask.
  private func moments(
    _ channel: Int, _ mask: BitVolume?, _ planes: LanePlanes, in budget: MemoryBudget, _ control: RunControl
  ) throws(MedDINOError) -> ChannelNormalizer.Statistics {
    let slices = box.ranges[0].count
    let rows = box.ranges[1].count, columns = box.ranges[2].count
    let sums = try Tensor([slices], .float64, in: budget, "normalisation sums")
    nonisolated(unsafe) let out = sums.elements(Double.self)
    defer { withExtendedLifetime(sums) {} }
    func total(_ term: @escaping (Double) -> Double) throws(MedDINOError) -> Double {
      try planes.forEachSlice(0..<slices, control) { _, slice, plane in
        read(channel, slice, into: plane)
        var sum = 0.0
        for row in 0..<rows {
          let line = plane + row * columns
          if let mask {
            for column in 0..<columns where mask[column, row, slice] { sum += term(Double(line[column])) }
          } else {
            for column in 0..<columns { sum += term(Double(line[column])) }
          }
        }
        out[slice] = sum
      }
      return out.reduce(0, +)
    }
    let number = Double(mask?.count ?? slices * rows * columns)
    guard number > 0 else { return .init(minimum: 0, maximum: 0, mean: 0, std: 0) }
    let mean = try total { $0 } / number
    let deviation = try total { ($0 - mean) * ($0 - mean) } / number
    return .init(minimum: 0, maximum: 0, mean: mean, std: sqrt(deviation))
  }
}
