public import Platform
public import Tensors

/// Stretches each channel about its mean and keeps it within its former range.
///
/// Source: pipeline specification 7.5.
public struct Contrast: Equatable, Sendable {
  public var chance = 0.15
  public var factor = FactorRange(0.75, 1.25)
  public init() {}

  /// One factor per channel.
  public typealias Parameters = [Double]

  public func draw(channels: Int, _ random: inout CounterRandom) -> Parameters? {
    guard random.chance(chance) else { return nil }
    return (0..<channels).map { _ in factor.draw(&random) }
  }

  package func validate() throws(MedDINOError) {
    try OptionCheck.chance(chance, "contrast probability")
    try factor.validate("contrast factor")
  }

  /// Shapes: float32 [channels, rows, columns]. Throws: `.shape`, `.invalid` unless there is one factor per channel.
  public static func apply(_ parameters: Parameters, to image: Tensor) throws(MedDINOError) {
    let planes = try ImagePlanes(image)
    try planes.check(parameters: parameters.count, of: "contrast")
    for (channel, factor) in parameters.enumerated() {
      let (values, factor) = (planes.plane(channel), Float(factor))
      let before = PlaneStatistics(values, count: planes.count)
      let (mean, low, high) = (Float(before.mean), before.minimum, before.maximum)
      for index in 0..<planes.count {
        let value = (values[index] - mean) * factor + mean
        let bounded = value < low ? low : value
        values[index] = bounded > high ? high : bounded
      }
    }
    withExtendedLifetime(image) {}
  }
}
