public import Imaging
public import Platform

/// The normalisation of one channel with its constants known: clip, subtract, divide, each rounded to float32.
///
/// Source: pipeline specification 4.4.
public struct ChannelNormalizer: Equatable, Sendable {
  /// What the constants are computed from, over the cropped volume (or the masked part of it).
  public struct Statistics: Equatable, Sendable {
    public var minimum: Float
    public var maximum: Float
    public var mean: Double
    /// Population standard deviation.
    public var std: Double
    public init(minimum: Float, maximum: Float, mean: Double, std: Double) {
      self.minimum = minimum
      self.maximum = maximum
      self.mean = mean
      self.std = std
    }
  }
  private static let smallest: Float = 1e-8
  let clip: ClosedRange<Float>?
  let shift: Float
  let divisor: Float
  let isIdentity: Bool

  private init(clip: ClosedRange<Float>? = nil, shift: Float, divisor: Float, isIdentity: Bool = false) {
    self.clip = clip
    self.shift = shift
    self.divisor = divisor
    self.isIdentity = isIdentity
  }

  /// Throws: `.format` when the plan lacks the channel's intensity properties, `.invalid` for an RGB channel outside 0...255.
  public init(
    _ scheme: NormalizationScheme, channel: Int, properties: Plan.IntensityProperties?, statistics: Statistics?
  ) throws(MedDINOError) {
    switch scheme {
    case .none:
      self.init(shift: 0, divisor: 1, isIdentity: true)
    case .ct:
      guard let properties else {
        throw .format("plan: foreground_intensity_properties_per_channel lacks channel \(channel), which CTNormalization needs")
      }
      let low = Float(properties.percentile005)
      let high = Float(properties.percentile995)
      guard low <= high else { throw .format("plan: channel \(channel): percentile_00_5 \(low) is above percentile_99_5 \(high)") }
      self.init(clip: low...high, shift: Float(properties.mean), divisor: max(Float(properties.std), Self.smallest))
    case .zScore:
      guard let statistics else { throw MedDINOError(.internal, "no statistics for channel \(channel)") }
      guard Float(statistics.mean).isFinite, Float(statistics.std).isFinite else {
        throw .invalid("channel \(channel): values spread further than float32 holds")
      }
      self.init(shift: Float(statistics.mean), divisor: max(Float(statistics.std), Self.smallest))
    case .rescale01:
      guard let statistics else { throw MedDINOError(.internal, "no statistics for channel \(channel)") }
      let span = statistics.maximum - statistics.minimum
      guard span.isFinite else {
        throw .invalid("channel \(channel): values \(statistics.minimum) to \(statistics.maximum) span more than float32 holds")
      }
      self.init(shift: statistics.minimum, divisor: max(span, Self.smallest))
    case .rgb01:
      guard let statistics else { throw MedDINOError(.internal, "no statistics for channel \(channel)") }
      guard statistics.minimum >= 0, statistics.maximum <= 255 else {
        throw .invalid("channel \(channel): values \(statistics.minimum) to \(statistics.maximum), RGBTo01Normalization expects 0 to 255")
      }
      self.init(shift: 0, divisor: 255)
    }
  }

  public func value(_ raw: Float) -> Float {
    if isIdentity { return raw }
    let inside = clip.map { min(max(raw, $0.lowerBound), $0.upperBound) } ?? raw
    return (inside - shift) / divisor
  }

  public func apply(_ values: UnsafeMutablePointer<Float>, count: Int) {
    if isIdentity { return }
    let shift = shift, divisor = divisor
    if let clip {
      let low = clip.lowerBound, high = clip.upperBound
      for i in 0..<count {
        let raised = values[i] < low ? low : values[i]
        let inside = raised > high ? high : raised
        values[i] = (inside - shift) / divisor
      }
    } else {
      for i in 0..<count { values[i] = (values[i] - shift) / divisor }
    }
  }

  /// Only where `mask` is set; other values stay. `values`: plane `slice` of the mask's z axis, rows along y, columns along x.
  public func apply(_ values: UnsafeMutablePointer<Float>, mask: BitVolume, slice: Int) {
    let columns = mask.dims[0]
    for row in 0..<mask.dims[1] {
      for column in 0..<columns where mask[column, row, slice] {
        values[row * columns + column] = value(values[row * columns + column])
      }
    }
  }
}
