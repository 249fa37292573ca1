public import Platform
public import Tensors
internal import Glibc

/// Smooths channels with a Gaussian of another width along each axis; the border is mirrored without repeating the edge.
///
/// Source: pipeline specification 7.3.
public struct GaussianBlur: Equatable, Sendable {
  public var chance = 0.2
  public var channelChance = 0.5
  /// Standard deviation, drawn for each channel and axis. Units: pixels.
  public var deviation = 0.5...1
  public init() {}

  /// Standard deviations along rows (axis 0) and columns (axis 1).
  public struct Deviations: Equatable, Sendable {
    public var rows: Double
    public var columns: Double
    public init(rows: Double, columns: Double) {
      self.rows = rows
      self.columns = columns
    }
  }
  /// One entry per channel; nil leaves it alone.
  public typealias Parameters = [Deviations?]

  public func draw(channels: Int, _ random: inout CounterRandom) -> Parameters? {
    guard random.chance(chance) else { return nil }
    var result: Parameters = []
    for _ in 0..<channels {
      let chosen = random.chance(channelChance)
      result.append(chosen ? Deviations(rows: random.uniform(deviation), columns: random.uniform(deviation)) : nil)
    }
    return result
  }

  package func validate() throws(MedDINOError) {
    try OptionCheck.chance(chance, "blur probability")
    try OptionCheck.chance(channelChance, "blur probability of a channel")
    try OptionCheck.range(deviation, "blur deviation", in: 0.01...100)
  }

  /// The weights of one axis: their number is the odd one nearest to 6 deviations and a half, their sum 1.
  public static func kernel(_ deviation: Double) -> [Float] {
    let wish = 6 * deviation + 0.5
    let rounded = wish.rounded(.toNearestOrEven)
    var count = Int(rounded)
    if count % 2 == 0 { count += wish >= rounded ? 1 : -1 }
    let reach = max(count, 1) / 2
    let weights = (-reach...reach).map { exp(-Double($0 * $0) / (2 * deviation * deviation)) }
    let sum = weights.reduce(0, +)
    return weights.map { Float($0 / sum) }
  }

  /// Shapes: float32 [channels, rows, columns].
  /// Throws: `.shape`, `.invalid` unless there is one entry per channel, `.outOfMemory`.
  public static func apply(_ parameters: Parameters, to image: Tensor, workspace: Workspace) throws(MedDINOError) {
    let planes = try ImagePlanes(image)
    try planes.check(parameters: parameters.count, of: "blur")
    let (rows, columns) = (planes.rows, planes.columns)
    for (channel, deviations) in parameters.enumerated() {
      guard let deviations else { continue }
      let (down, across) = (kernel(deviations.rows), kernel(deviations.columns))
      let reach = across.count / 2
      let copy = try workspace.tensor("augmentation blur", [rows, columns])
      let padded = try workspace.tensor("augmentation blur line", [columns + 2 * reach])
      guard let source = copy.floats.baseAddress, let line = padded.floats.baseAddress else { continue }
      let plane = planes.plane(channel)
      source.update(from: plane, count: planes.count)
      for row in 0..<rows {
        // Down the columns into the middle of the padded line, then along it.
        let middle = line + reach
        middle.update(repeating: 0, count: columns)
        for (tap, weight) in down.enumerated() {
          add(source + mirrored(row + tap - down.count / 2, rows) * columns, weight, to: middle, columns)
        }
        for place in 0..<reach {
          line[reach - 1 - place] = middle[mirrored(-1 - place, columns)]
          middle[columns + place] = middle[mirrored(columns + place, columns)]
        }
        let out = plane + row * columns
        out.update(repeating: 0, count: columns)
        for (tap, weight) in across.enumerated() { add(line + tap, weight, to: out, columns) }
      }
      withExtendedLifetime((copy, padded)) {}
    }
    withExtendedLifetime(image) {}
  }

  @inline(__always)
  private static func add(_ source: UnsafePointer<Float>, _ weight: Float, to out: UnsafeMutablePointer<Float>, _ count: Int) {
    for index in 0..<count { out[index] += weight * source[index] }
  }

  /// An index outside 0..<count mirrored at the first and last pixel, as often as needed.
  private static func mirrored(_ index: Int, _ count: Int) -> Int {
    guard count > 1 else { return 0 }
    let period = 2 * (count - 1)
    let place = ((index % period) + period) % period
    return place < count ? place : period - place
  }
}
