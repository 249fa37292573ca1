public import Platform
public import Tensors

/// Shows channels as a coarser grid would: nearest pixels down, linear up.
///
/// The official 2D pipeline draws it but, by a fault of the version it uses, changes nothing; that is the default here too.
/// Source: pipeline specification 7.6.
public struct LowResolution: Equatable, Sendable {
  public var chance = 0.25
  public var channelChance = 0.5
  /// Size of the coarse grid relative to the fine one, the same for both axes.
  public var scale = 0.5...1
  /// Off: official 2D behaviour, no change.
  public var isApplied = false
  public init() {}

  /// One scale per channel; nil leaves it alone.
  public typealias Parameters = [Double?]

  /// nil as well when the transform is not applied.
  public func draw(channels: Int, _ random: inout CounterRandom) -> Parameters? {
    guard isApplied, random.chance(chance) else { return nil }
    return (0..<channels).map { _ in random.chance(channelChance) ? random.uniform(scale) : nil }
  }

  package func validate() throws(MedDINOError) {
    try OptionCheck.chance(chance, "low resolution probability")
    try OptionCheck.chance(channelChance, "low resolution probability of a channel")
    try OptionCheck.range(scale, "low resolution scale", in: 0.001...1)
  }

  /// Rows and columns of the coarse grid.
  public static func coarseSize(rows: Int, columns: Int, scale: Double) -> [Int] {
    [rows, columns].map { max(1, Int((Double($0) * scale).rounded(.toNearestOrEven))) }
  }

  /// Shapes: float32 [channels, rows, columns].
  /// Throws: `.shape`, `.invalid` unless there is one scale from above 0 to 1 per channel, `.outOfMemory`.
  public static func apply(_ parameters: Parameters, to image: Tensor, workspace: Workspace) throws(MedDINOError) {
    let planes = try ImagePlanes(image)
    try planes.check(parameters: parameters.count, of: "low resolution")
    for (channel, scale) in parameters.enumerated() {
      guard let scale else { continue }
      guard scale > 0, scale <= 1 else { throw .invalid("low resolution scale is \(scale), expected above 0 to 1") }
      let size = coarseSize(rows: planes.rows, columns: planes.columns, scale: scale)
      let coarse = try workspace.tensor("augmentation coarse image", Shape(size))
      let steps = try workspace.tensor("augmentation coarse steps", [2, planes.columns], .int32)
      guard let small = coarse.floats.baseAddress else { continue }
      let places = steps.pointer.bindMemory(to: Int32.self, capacity: planes.columns)
      let parts = (steps.pointer + 4 * planes.columns).bindMemory(to: Float.self, capacity: planes.columns)
      shrink(planes.plane(channel), planes.rows, planes.columns, into: small, size, places)
      enlarge(small, size, into: planes.plane(channel), planes.rows, planes.columns, places, parts)
      withExtendedLifetime((coarse, steps)) {}
    }
    withExtendedLifetime(image) {}
  }

  private static func shrink(
    _ plane: UnsafePointer<Float>, _ rows: Int, _ columns: Int, into small: UnsafeMutablePointer<Float>, _ size: [Int],
    _ places: UnsafeMutablePointer<Int32>
  ) {
    func nearest(_ index: Int, _ count: Int, _ newCount: Int) -> Int {
      min(Int((Float(index) + 0.5) * (Float(count) / Float(newCount))), count - 1)
    }
    for column in 0..<size[1] { places[column] = Int32(nearest(column, columns, size[1])) }
    for row in 0..<size[0] {
      let source = plane + nearest(row, rows, size[0]) * columns
      let out = small + row * size[1]
      for column in 0..<size[1] { out[column] = source[Int(places[column])] }
    }
  }

  private static func enlarge(
    _ small: UnsafePointer<Float>, _ size: [Int], into plane: UnsafeMutablePointer<Float>, _ rows: Int, _ columns: Int,
    _ places: UnsafeMutablePointer<Int32>, _ parts: UnsafeMutablePointer<Float>
  ) {
    func source(_ index: Int, _ count: Int, _ newCount: Int) -> (whole: Int, part: Float) {
      let place = max((Float(index) + 0.5) * (Float(count) / Float(newCount)) - 0.5, 0)
      let whole = min(Int(place), count - 1)
      return (whole, place - Float(whole))
    }
    for column in 0..<columns {
      let (whole, part) = source(column, size[1], columns)
      (places[column], parts[column]) = (Int32(whole), part)
    }
    let last = size[1] - 1
    for row in 0..<rows {
      let (whole, part) = source(row, size[0], rows)
      let upper = small + whole * size[1]
      let lower = small + min(whole + 1, size[0] - 1) * size[1]
      let out = plane + row * columns
      for column in 0..<columns {
        let left = Int(places[column])
        let right = left < last ? left &+ 1 : last
        let e = parts[column]
        out[column] = (1 - part) * ((1 - e) * upper[left] + e * upper[right]) + part * ((1 - e) * lower[left] + e * lower[right])
      }
    }
  }
}
