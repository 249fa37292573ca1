public import Platform
public import Tensors
internal import Glibc

/// Raises each channel, brought to 0...1, to a power, then restores mean and standard deviation.
///
/// Source: pipeline specification 7.7 and 7.8.
public struct Gamma: Equatable, Sendable {
  public var chance: Double
  public var exponent = FactorRange(0.7, 1.5)
  /// Acts on the negative of the image.
  public var inverts: Bool
  /// Mean and standard deviation stay as they were.
  public var retainsStatistics = true

  public init(chance: Double, inverts: Bool) {
    self.chance = chance
    self.inverts = inverts
  }

  public struct Parameters: Equatable, Sendable {
    /// One per channel.
    public var exponents: [Double]
    public var inverts: Bool
    public var retainsStatistics: Bool
    public init(exponents: [Double], inverts: Bool, retainsStatistics: Bool = true) {
      self.exponents = exponents
      self.inverts = inverts
      self.retainsStatistics = retainsStatistics
    }
  }

  public func draw(channels: Int, _ random: inout CounterRandom) -> Parameters? {
    guard random.chance(chance) else { return nil }
    let exponents = (0..<channels).map { _ in exponent.draw(&random) }
    return Parameters(exponents: exponents, inverts: inverts, retainsStatistics: retainsStatistics)
  }

  package func validate() throws(MedDINOError) {
    try OptionCheck.chance(chance, "gamma probability")
    try exponent.validate("gamma exponent")
  }

  /// No range and no deviation counts as smaller than this.
  private static let smallest: Float = 1e-7

  /// Shapes: float32 [channels, rows, columns]. Throws: `.shape`, `.invalid` unless there is one exponent per channel.
  public static func apply(_ parameters: Parameters, to image: Tensor) throws(MedDINOError) {
    let planes = try ImagePlanes(image)
    try planes.check(parameters: parameters.exponents.count, of: "gamma")
    let count = planes.count
    for (channel, exponent) in parameters.exponents.enumerated() {
      let values = planes.plane(channel)
      let sign: Float = parameters.inverts ? -1 : 1
      let before = PlaneStatistics(values, count: count)
      let deviation = PlaneStatistics.deviation(values, count: count, mean: before.mean)
      let low = parameters.inverts ? -before.maximum : before.minimum
      let range = before.maximum - before.minimum
      raise(values, count, sign: sign, low: low, range: range, to: Float(exponent))
      guard parameters.retainsStatistics else {
        if parameters.inverts { for index in 0..<count { values[index] = -values[index] } }
        continue
      }
      // `values` now holds the image as the formula sees it; the mean before is that of the same sign.
      let after = PlaneStatistics(values, count: count)
      let newDeviation = PlaneStatistics.deviation(values, count: count, mean: after.mean)
      let (mean, target) = (Float(after.mean), sign * Float(before.mean))
      let factor = Float(deviation) / max(Float(newDeviation), smallest)
      for index in 0..<count { values[index] = sign * ((values[index] - mean) * factor + target) }
    }
    withExtendedLifetime(image) {}
  }

  private static func raise(
    _ values: UnsafeMutablePointer<Float>, _ count: Int, sign: Float, low: Float, range: Float, to exponent: Float
  ) {
    let divisor = max(range, smallest)
    for index in 0..<count {
      values[index] = powf((sign * values[index] - low) / divisor, exponent) * range + low
    }
  }
}
