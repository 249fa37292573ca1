public import Platform
public import Tensors

/// Places of one label or region, drawn so that training finds foreground without searching.
///
/// Source: pipeline specification 4.7.
public struct ForegroundLocations: Sendable {
  public let key: LabelScheme.Region
  /// Shapes: int32 [count, 3]: slice, row, column, in the order of the draw; nil when the case has none.
  public let positions: Tensor?
  public var count: Int { positions?.shape[0] ?? 0 }

  public init(key: LabelScheme.Region, positions: Tensor?) {
    self.key = key
    self.positions = positions
  }

  private static let seed: UInt32 = 1234
  private static let atLeast = 10000
  private static let part = 0.01

  /// Draws for every key in turn from one generator, as the official pipeline does.
  ///
  /// Shapes: `labels` int16 [1, slices, rows, columns].
  /// Throws: `.outOfMemory`.
  public static func sample(
    _ labels: Tensor, keys: [LabelScheme.Region], in budget: MemoryBudget
  ) throws(MedDINOError) -> [ForegroundLocations] {
    var random = LegacyRandom(seed: seed)
    let values = labels.elements(Int16.self)
    let rows = labels.shape[2], columns = labels.shape[3]
    var result: [ForegroundLocations] = []
    for key in keys {
      let wanted = try table(key.values, in: budget)
      defer { withExtendedLifetime(wanted) {} }
      let isWanted = wanted.elements(UInt8.self)
      var count = 0
      for value in values where value >= 0 && Int(value) < isWanted.count && isWanted[Int(value)] != 0 { count += 1 }
      guard count > 0 else {
        result.append(ForegroundLocations(key: key, positions: nil))
        continue
      }
      let found = try Tensor([count], .int64, in: budget, "foreground locations")
      defer { withExtendedLifetime(found) {} }
      let places = found.elements(Int64.self)
      var next = 0
      for index in 0..<values.count {
        let value = Int(values[index])
        guard value >= 0, value < isWanted.count, isWanted[value] != 0 else { continue }
        places[next] = Int64(index)
        next += 1
      }
      random.shuffle(places)
      let kept = max(min(atLeast, count), Int((part * Double(count)).rounded(.up)))
      let positions = try Tensor([kept, 3], .int32, in: budget, "foreground locations")
      let out = positions.elements(Int32.self)
      for index in 0..<kept {
        let place = Int(places[index])
        out[index * 3] = Int32(truncatingIfNeeded: place / (rows * columns))
        out[index * 3 + 1] = Int32(truncatingIfNeeded: place / columns % rows)
        out[index * 3 + 2] = Int32(truncatingIfNeeded: place % columns)
      }
      result.append(ForegroundLocations(key: key, positions: positions))
    }
    return result
  }

  private static func table(_ values: [Int], in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let result = try Tensor([(values.max() ?? 0) + 1], .uint8, in: budget, "label table")
    let marks = result.elements(UInt8.self)
    marks.update(repeating: 0)
    for value in values { marks[value] = 1 }
    return result
  }
}
