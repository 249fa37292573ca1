public import Platform
public import Tensors

/// Multiplies each channel by a factor.
///
/// Source: pipeline specification 7.4.
public struct Brightness: Equatable, Sendable {
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
    try OptionCheck.chance(chance, "brightness probability")
    try factor.validate("brightness factor")
  }

  /// Shapes: float32 [channels, rows, columns]. Throws: `.shape`, `.invalid` unless there is one factor per channel.
  public static func apply(_ parameters: Parameters, to image: Tensor) throws(MedDINOError) {
    let planes = try ImagePlanes(image)
    try planes.check(parameters: parameters.count, of: "brightness")
    for (channel, factor) in parameters.enumerated() {
      let (values, factor) = (planes.plane(channel), Float(factor))
      for index in 0..<planes.count { values[index] *= factor }
    }
    withExtendedLifetime(image) {}
  }
}
