internal import Imaging
internal import Platform
internal import Tensors

/// A slice in memory of its own before its crops are cut, and what is left to do with each crop.
///
/// Source: model specification 5, 7.1, 11.
struct PreparedSlice {
  /// The last step of a crop, after its changes.
  enum Finish {
    case none
    /// x · factor + offset: from the range of colours to normalised Hounsfield units.
    case scale(factor: Float, offset: Float)
    /// Mean and deviation of each colour.
    case rgb(mean: [Float], deviation: [Float])
  }
  /// [channels, rows, columns]: normalised, or from 0 to 1 where colours are changed or normalised.
  let image: Tensor
  let finish: Finish

  /// A slice's own deviation below this only centres it.
  private static let leastDeviation = 1e-6

  /// `channels`: of the encoder; where every colour is normalised by itself a slice of one channel is repeated.
  /// Throws: `.invalid` when the slice's units do not fit the options, `.shape`, `.outOfMemory`.
  init(_ slice: PretrainingSlice, _ options: PixelOptions, channels: Int, in budget: MemoryBudget) throws(MedDINOError) {
    let shape = slice.pixels.shape
    guard shape.rank == 3, slice.pixels.dtype == .float32, shape.count > 0 else {
      throw .shape("slice is \(slice.pixels.dtype) \(shape), expected float32 [channels, rows, columns]")
    }
    let (isNatural, isRGB) = (options.augmentation == .natural, options.normalization == .rgb)
    let fits =
      switch slice.units {
      case .normalized: !isNatural
      case .unitRange: isRGB || options.normalization == .none
      case .hounsfield: true
      }
    guard fits else { throw Self.unitsError(slice, options) }
    let copies = isRGB && slice.units != .normalized && shape[0] == 1 ? channels : 1
    let own = try Tensor([shape[0] * copies, shape[1], shape[2]], in: budget, "slice")
    for copy in 0..<copies { own.rows(copy * shape[0]..<(copy + 1) * shape[0]).copy(from: slice.pixels) }
    image = own
    let rgb = Finish.rgb(mean: options.mean, deviation: options.deviation)
    switch (slice.units, options.normalization) {
    case (.normalized, _), (.unitRange, .none): finish = .none
    case (.unitRange, _): finish = rgb
    case (.hounsfield, .rgb):
      Self.mapToColors(own)
      finish = rgb
    case (.hounsfield, _) where isNatural:
      let (mean, deviation) = Self.statistics(own, options.normalization)
      Self.mapToColors(own)
      let range = HounsfieldNormalization.range
      finish = .scale(
        factor: (range.upperBound - range.lowerBound) / deviation, offset: Float((Double(range.lowerBound) - mean) / Double(deviation)))
    case (.hounsfield, .none): finish = .none
    case (.hounsfield, .slice):
      Self.center(own)
      finish = .none
    case (.hounsfield, .hounsfield):
      HounsfieldNormalization.apply(own.floats)
      finish = .none
    }
  }

  /// Does the last step of a crop of `image`, in place.
  func complete(_ crop: Tensor) {
    switch finish {
    case .none: return
    case .rgb(let mean, let deviation): ColorAugmentation.normalize(crop, mean: mean, deviation: deviation)
    case .scale(let factor, let offset):
      let values = crop.floats
      for index in values.indices { values[index] = values[index] * factor + offset }
      withExtendedLifetime(crop) {}
    }
  }

  private static func unitsError(_ slice: PretrainingSlice, _ options: PixelOptions) -> MedDINOError {
    let wantsColors = options.normalization == .rgb || options.augmentation == .natural
    let expected: [PretrainingSlice.Units] =
      !wantsColors
      ? [.hounsfield, .normalized] : options.augmentation == .natural ? [.hounsfield, .unitRange] : PretrainingSlice.Units.allCases
    return .invalid(
      "slice in units \"\(slice.units.rawValue)\" with data.augmentation \"\(options.augmentation.rawValue)\" and data.normalization "
        + "\"\(options.normalization.rawValue)\", expected units " + expected.map { "\"\($0.rawValue)\"" }.joined(separator: " or "))
  }

  /// [−1000, 1000] HU becomes 0 to 1; NaN is 0.
  private static func mapToColors(_ slice: Tensor) {
    let (values, range) = (slice.floats, HounsfieldNormalization.range)
    let width = range.upperBound - range.lowerBound
    for index in values.indices { values[index] = (HounsfieldNormalization.clipped(values[index]) - range.lowerBound) / width }
    withExtendedLifetime(slice) {}
  }

  /// Mean and deviation that the clipped slice is normalised with.
  private static func statistics(_ slice: Tensor, _ normalization: PixelOptions.Normalization) -> (mean: Double, deviation: Float) {
    switch normalization {
    case .hounsfield: return (Double(HounsfieldNormalization.mean), HounsfieldNormalization.deviation + 1e-8)
    case .slice:
      let (mean, deviation) = clippedStatistics(slice)
      return (mean, Float(deviation))
    case .none, .rgb: return (0, 1)
    }
  }

  /// Clips the slice; its mean and sample deviation then, 1 for a slice that is only to be centred.
  private static func clippedStatistics(_ slice: Tensor) -> (mean: Double, deviation: Double) {
    let (values, range) = (slice.floats, HounsfieldNormalization.range)
    for index in values.indices { values[index] = min(max(values[index], range.lowerBound), range.upperBound) }
    guard let base = values.baseAddress else { return (0, 1) }
    defer { withExtendedLifetime(slice) {} }
    let mean = PlaneStatistics(base, count: values.count).mean
    let deviation = PlaneStatistics.deviation(base, count: values.count, mean: mean)
    return (mean, deviation < leastDeviation ? 1 : deviation)
  }

  /// z-score after clipping.
  private static func center(_ slice: Tensor) {
    let (mean, deviation) = clippedStatistics(slice)
    let (values, factor) = (slice.floats, 1 / deviation)
    for index in values.indices { values[index] = Float((Double(values[index]) - mean) * factor) }
    withExtendedLifetime(slice) {}
  }
}
