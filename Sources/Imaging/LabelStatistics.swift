public import Platform

/// What a label volume holds of one label.
public struct LabelStatistics: Equatable, Sendable {
  public let label: Int
  public let voxels: Int
  /// Units: ml.
  public let millilitres: Double
  /// Whether a voxel lies on an outer face of the grid, so that the structure may be cut off. A grid of one slice is
  /// not counted as touching along z.
  public let touchesBorder: Bool

  /// One entry per label present (0 included), ascending.
  ///
  /// Throws: `.invalid` when the volume has several channels, a value is not an integer below 2^53 in magnitude, or
  /// there are more than 65536 different values; `.cancelled`.
  public static func of(_ volume: Volume, control: RunControl? = nil) throws(MedDINOError) -> [LabelStatistics] {
    guard volume.channels == 1 else { throw .invalid("label volume has \(volume.channels) channels, expected 1") }
    let unit = volume.geometry.voxelMillilitres
    let entries = try isPlain(volume) ? tabulate(volume, control) : collect(volume, control)
    return entries.map {
      LabelStatistics(label: $0.label, voxels: $0.voxels, millilitres: Double($0.voxels) * unit, touchesBorder: $0.border)
    }
  }

  private typealias Entry = (label: Int, voxels: Int, border: Bool)

  /// 8- and 16-bit integers as stored: a table has room for every value.
  private static func isPlain(_ volume: Volume) -> Bool {
    volume.dtype.byteCount <= 2 && !volume.dtype.isFloatingPoint && volume.slope == 1 && volume.intercept == 0
  }

  private static func tabulate(_ volume: Volume, _ control: RunControl?) throws(MedDINOError) -> [Entry] {
    switch volume.dtype {
    case .int8: try tabulate(volume, Int8.self, control)
    case .int16: try tabulate(volume, Int16.self, control)
    case .uint16: try tabulate(volume, UInt16.self, control)
    default: try tabulate(volume, UInt8.self, control)
    }
  }

  private static func tabulate<Value: FixedWidthInteger & BitwiseCopyable>(
    _ volume: Volume, _: Value.Type, _ control: RunControl?
  ) throws(MedDINOError) -> [Entry] {
    let d = volume.geometry.dims
    let size = 1 << Value.bitWidth
    // the second half counts voxels on the border
    let table = UnsafeMutablePointer<Int>.allocate(capacity: 2 * size)
    table.initialize(repeating: 0, count: 2 * size)
    defer { table.deallocate() }
    let stride = volume.strides[0]
    for z in 0..<d[2] {
      try control?.check()
      for y in 0..<d[1] {
        let line = volume.address(0, y, z)
        func add(_ x: Int, _ half: Int) {
          table[half + Int((line + x * stride).loadUnaligned(as: Value.self)) - Int(Value.min)] += 1
        }
        if d[2] > 1 && (z == 0 || z == d[2] - 1) || d[1] > 1 && (y == 0 || y == d[1] - 1) {
          for x in 0..<d[0] { add(x, size) }
        } else if d[0] > 1 {
          add(0, size)
          for x in 1..<d[0] - 1 { add(x, 0) }
          add(d[0] - 1, size)
        } else {
          add(0, 0)
        }
      }
    }
    return (0..<size).compactMap { index in
      let count = table[index] + table[size + index]
      return count == 0 ? nil : (index + Int(Value.min), count, table[size + index] > 0)
    }
  }

  private static func collect(_ volume: Volume, _ control: RunControl?) throws(MedDINOError) -> [Entry] {
    let d = volume.geometry.dims
    var counter = Counter()
    for z in 0..<d[2] {
      try control?.check()
      let zBorder = d[2] > 1 && (z == 0 || z == d[2] - 1)
      for y in 0..<d[1] {
        let yBorder = zBorder || d[1] > 1 && (y == 0 || y == d[1] - 1)
        for x in 0..<d[0] {
          let isBorder = yBorder || d[0] > 1 && (x == 0 || x == d[0] - 1)
          try counter.add(volume.value(x, y, z), isBorder)
        }
      }
    }
    return counter.entries
  }

  /// Runs of equal labels are the rule, so the last entry is tried before the dictionary.
  private struct Counter {
    private(set) var entriesByIndex: [(label: Int, voxels: Int, border: Bool)] = []
    private var indices: [Int: Int] = [:]
    private var lastValue = Double.nan
    private var lastIndex = 0

    var entries: [(label: Int, voxels: Int, border: Bool)] { entriesByIndex.sorted { $0.label < $1.label } }

    mutating func add(_ value: Double, _ isBorder: Bool) throws(MedDINOError) {
      if value != lastValue {
        guard value.magnitude < 0x1p53, value == value.rounded(.down) else {
          throw .invalid("label volume holds \(value), expected integers")
        }
        let label = Int(value)
        if let index = indices[label] {
          lastIndex = index
        } else {
          guard entriesByIndex.count < 65536 else { throw .invalid("label volume holds more than 65536 different values") }
          lastIndex = entriesByIndex.count
          indices[label] = lastIndex
          entriesByIndex.append((label, 0, false))
        }
        lastValue = value
      }
      entriesByIndex[lastIndex].voxels += 1
      if isBorder { entriesByIndex[lastIndex].border = true }
    }
  }
}
