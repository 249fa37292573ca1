public import Platform
public import Tensors
internal import Glibc

/// Adds one field of normal noise to all channels.
///
/// Source: pipeline specification 7.2.
public struct GaussianNoise: Equatable, Sendable {
  public var chance = 0.1
  /// Standard deviation (the official option calls it a variance).
  public var deviation = 0...0.1
  public init() {}

  public struct Parameters: Sendable {
    public var deviation: Double
    /// Where the field comes from.
    public var field: CounterRandom
    public init(deviation: Double, field: CounterRandom) {
      self.deviation = deviation
      self.field = field
    }
  }

  public func draw(_ random: inout CounterRandom) -> Parameters? {
    guard random.chance(chance) else { return nil }
    return Parameters(deviation: random.uniform(deviation), field: random)
  }

  package func validate() throws(MedDINOError) {
    try OptionCheck.chance(chance, "noise probability")
    try OptionCheck.range(deviation, "noise deviation", in: 0...1000)
  }

  /// Shapes: float32 [channels, rows, columns]. Throws: `.shape`, `.outOfMemory`.
  public static func apply(_ parameters: Parameters, to image: Tensor, workspace: Workspace) throws(MedDINOError) {
    let planes = try ImagePlanes(image)
    let width = planes.columns
    let noise = try workspace.tensor("augmentation noise", [(width + 3) & ~3])
    guard let line = noise.floats.baseAddress else { return }
    var field = parameters.field
    let deviation = Float(parameters.deviation)
    for row in 0..<planes.rows {
      fill(line, (width + 3) & ~3, deviation, &field)
      for channel in 0..<planes.channels {
        let values = planes.plane(channel) + row * width
        for column in 0..<width { values[column] += line[column] }
      }
    }
    withExtendedLifetime((image, noise)) {}
  }

  /// Four at a time from one block of random words. Source: Box and Muller (1958). `count` is a multiple of 4.
  private static func fill(_ out: UnsafeMutablePointer<Float>, _ count: Int, _ deviation: Float, _ random: inout CounterRandom) {
    for start in stride(from: 0, to: count, by: 4) {
      let words = random.nextBlock()
      for pair in 0..<2 {
        // In (0, 1], so that the logarithm is finite.
        let uniform = (Float(words[2 * pair] >> 8) + 1) * 0x1p-24
        let radius = deviation * (-2 * logf(uniform)).squareRoot()
        let angle = Float(words[2 * pair + 1] >> 8) * (2 * Float.pi * 0x1p-24)
        out[start + 2 * pair] = radius * cosf(angle)
        out[start + 2 * pair + 1] = radius * sinf(angle)
      }
    }
  }
}
