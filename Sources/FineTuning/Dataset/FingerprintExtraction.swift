internal import Imaging
internal import Platform
internal import Segmentation
internal import Synchronization
internal import Tensors

/// Gathers the fingerprint case by case, from any thread; the result does not depend on the order.
///
/// nnU-Net draws floor(samples / cases) foreground values of every case with replacement, 1e8 samples in all. Only how often each
/// voxel was drawn matters for what is computed from them, so the draws are made as counts and never stored.
/// Source: pipeline specification 2.
final class FingerprintExtraction: Sendable {
  /// Weighted moments of one channel of one case.
  private struct Moments {
    var weight = 0.0
    var mean = 0.0
    var squares = 0.0

    /// Of both together.
    mutating func add(_ other: Moments) {
      guard other.weight > 0 else { return }
      let total = weight + other.weight
      let difference = other.mean - mean
      mean += difference * other.weight / total
      squares += other.squares + difference * difference * weight * other.weight / total
      weight = total
    }
  }
  private struct Entry {
    var spacing: [Double] = []
    var shape: [Int] = []
    var relativeSize = 0.0
    var moments: [Moments] = []
  }
  private let entries: Mutex<[Entry]>
  private let histograms: [IntensityHistogram]
  private let samplesPerCase: Int
  private static let seed: UInt32 = 1234
  /// Draws between two looks at the cancellation flag.
  private static let chunk = 1 << 22

  /// Throws: `.outOfMemory`.
  init(cases: Int, channels: Int, in budget: MemoryBudget, samples: Int, distinctLimit: Int = 1 << 21)
    throws(MedDINOError)
  {
    samplesPerCase = samples / max(cases, 1)
    entries = Mutex([Entry](repeating: Entry(), count: cases))
    var histograms: [IntensityHistogram] = []
    for _ in 0..<channels { histograms.append(try IntensityHistogram(in: budget, distinctLimit: distinctLimit)) }
    self.histograms = histograms
  }

  /// Takes in one case. Throws: `.outOfMemory`, `.shape` for more foreground than can be drawn from, `.cancelled`.
  func add(_ index: Int, _ loaded: LoadedCase, box: VoxelBox, in budget: MemoryBudget, control: RunControl) throws(MedDINOError) {
    let geometry = loaded.labels.geometry
    var entry = Entry()
    entry.spacing = (loaded.images.first ?? loaded.labels).geometry.spacing.reversed()
    entry.shape = box.dims.reversed()
    entry.relativeSize = Double(box.dims.reduce(1, *)) / Double(geometry.voxelCount)
    try draw(loaded, box, in: budget, control) { (channel, values, counts) throws(MedDINOError) in
      try histograms[channel].add(values, counts)
      entry.moments.append(Self.moments(values, counts))
    }
    entries.withLock { $0[index] = entry }
  }

  /// Whether every case has to be given to `refine` before the result can be told.
  func needsRefinement() throws(MedDINOError) -> Bool {
    var result = false
    for histogram in histograms where histogram.total > 0 {
      let needs = try histogram.prepareRefinement(Self.ranks(histogram.total))
      result = result || needs
    }
    return result
  }

  func refine(_ loaded: LoadedCase, box: VoxelBox, in budget: MemoryBudget, control: RunControl) throws(MedDINOError) {
    try draw(loaded, box, in: budget, control) { (channel, values, counts) throws(MedDINOError) in
      histograms[channel].refine(values, counts)
    }
  }

  /// Hands out the foreground values of every channel with how often each was drawn.
  private func draw(
    _ loaded: LoadedCase, _ box: VoxelBox, in budget: MemoryBudget, _ control: RunControl,
    _ take: (Int, UnsafeBufferPointer<Float>, UnsafeBufferPointer<UInt32>) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    let foreground = try Foreground(loaded.labels, box, in: budget, control)
    guard foreground.count > 0 else { return }
    guard foreground.count <= UInt32.max else {
      throw .shape("\(foreground.count) foreground voxels, expected at most \(UInt32.max)")
    }
    let values = try budget.allocate(foreground.count * 4, "foreground values")
    let counts = try budget.allocate(foreground.count * 4, "foreground draws")
    let drawn = counts.elements(UInt32.self)
    var random = LegacyRandom(seed: Self.seed)
    for (channel, source) in loaded.channels.enumerated() {
      try foreground.read(source.volume, channel: source.index, into: values.elements(Float.self), control)
      drawn.update(repeating: 0)
      var left = samplesPerCase
      while left > 0 {
        try control.check()
        random.count(min(left, Self.chunk), into: drawn)
        left -= min(left, Self.chunk)
      }
      try take(channel, UnsafeBufferPointer(values.elements(Float.self)), UnsafeBufferPointer(drawn))
    }
    withExtendedLifetime((values, counts)) {}
  }

  private static func moments(_ values: UnsafeBufferPointer<Float>, _ counts: UnsafeBufferPointer<UInt32>) -> Moments {
    var result = Moments()
    var sum = 0.0
    for index in 0..<values.count {
      result.weight += Double(counts[index])
      sum += Double(counts[index]) * Double(values[index])
    }
    guard result.weight > 0 else { return result }
    result.mean = sum / result.weight
    for index in 0..<values.count {
      let difference = Double(values[index]) - result.mean
      result.squares += Double(counts[index]) * difference * difference
    }
    return result
  }
}

extension FingerprintExtraction {
  private static let percentiles = [0.005, 0.5, 0.995]

  /// The samples on both sides of every percentile.
  private static func ranks(_ count: Int) -> [Int] {
    percentiles.flatMap { part in
      let place = Double(count - 1) * part
      return [Int(place), min(Int(place) + 1, count - 1)]
    }
  }

  /// The fingerprint of all cases. Throws: `.invalid` when no case has foreground.
  func result() throws(MedDINOError) -> DatasetFingerprint {
    let cases = entries.withLock { $0 }
    var intensities: [DatasetFingerprint.Intensities] = []
    for (channel, histogram) in histograms.enumerated() {
      guard histogram.total > 0 else {
        throw .invalid("no case has foreground where its image is not 0: what the labels mark lies in the margin that is cropped away")
      }
      let samples = try histogram.samples(Self.ranks(histogram.total))
      let values = Self.percentiles.enumerated().map { index, part in
        let place = Double(histogram.total - 1) * part
        return Order.interpolated(Double(samples[2 * index]), Double(samples[2 * index + 1]), place - place.rounded(.down))
      }
      var moments = Moments()
      for entry in cases where entry.moments.indices.contains(channel) { moments.add(entry.moments[channel]) }
      intensities.append(
        .init(
          max: Double(histogram.extremes.largest), mean: Double(Float(moments.mean)), median: values[1],
          min: Double(histogram.extremes.smallest), percentile005: values[0], percentile995: values[2],
          std: Double(Float((moments.squares / moments.weight).squareRoot()))))
    }
    return DatasetFingerprint(
      spacings: cases.map(\.spacing), shapesAfterCrop: cases.map(\.shape), intensities: intensities,
      medianRelativeSizeAfterCropping: Order.median(cases.map(\.relativeSize)))
  }
}

/// The voxels of a case that are foreground, inside the box that is not zero.
private struct Foreground {
  let count: Int
  private let labels: Volume
  private let box: VoxelBox
  private let marks: Buffer
  private let plane: Buffer

  init(_ labels: Volume, _ box: VoxelBox, in budget: MemoryBudget, _ control: RunControl) throws(MedDINOError) {
    self.labels = labels
    self.box = box
    let area = box.dims[0] * box.dims[1]
    marks = try budget.allocate(area * 4, "label slice")
    plane = try budget.allocate(area * 4, "image slice")
    var count = 0
    let values = marks.elements(Float.self)
    if let base = values.baseAddress {
      for z in box.lower[2]..<box.upper[2] {
        try control.check()
        labels.readSlice(z, in: box, into: base)
        for index in 0..<area where values[index] > 0 { count += 1 }
      }
    }
    self.count = count
  }

  /// In raster order of z, y, x.
  func read(_ image: Volume, channel: Int, into out: UnsafeMutableBufferPointer<Float>, _ control: RunControl) throws(MedDINOError) {
    let (labelValues, imageValues) = (marks.elements(Float.self), plane.elements(Float.self))
    guard let labelBase = labelValues.baseAddress, let imageBase = imageValues.baseAddress else { return }
    let area = box.dims[0] * box.dims[1]
    var next = 0
    for z in box.lower[2]..<box.upper[2] {
      try control.check()
      labels.readSlice(z, in: box, into: labelBase)
      image.readSlice(z, channel: channel, in: box, into: imageBase)
      for index in 0..<area where labelValues[index] > 0 {
        out[next] = imageValues[index]
        next += 1
      }
    }
  }
}
