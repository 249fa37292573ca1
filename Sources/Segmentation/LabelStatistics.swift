public import Imaging
public import Platform
internal import Tensors

/// How much of a label is in a volume.
///
/// Units: millilitres from the voxel size.
public struct LabelStatistics: Equatable, Sendable {
  public var value: Int
  public var name: String
  public var voxels: Int
  public var millilitres: Double
  /// A voxel of it lies on the outermost layer of the volume, so that a part of it may be missing.
  public var touchesBorder: Bool
  public init(value: Int, name: String, voxels: Int, millilitres: Double, touchesBorder: Bool) {
    self.value = value
    self.name = name
    self.voxels = voxels
    self.millilitres = millilitres
    self.touchesBorder = touchesBorder
  }

  /// Counts the given values in an existing label volume. Throws: `.outOfMemory`, `.shape` for an empty volume.
  public static func measure(
    _ volume: Volume, outputs: [LabelScheme.Output], in budget: MemoryBudget
  ) throws(MedDINOError) -> [LabelStatistics] {
    let dims = volume.geometry.dims
    guard dims.count == 3, dims.allSatisfy({ $0 > 0 }) else { throw .shape("labels has dims \(dims), expected three of at least 1") }
    let line = try Tensor([dims[0]], .float32, in: budget, "label line")
    let labels = try Tensor([dims[0]], .int32, in: budget, "label line")
    let limit = outputs.map(\.value).max() ?? 0
    var counter = LabelCounter(largest: limit, shape: [dims[2], dims[1], dims[0]])
    let values = labels.elements(Int32.self)
    guard let floats = line.floats.baseAddress, let base = values.baseAddress else { return [] }
    for z in 0..<dims[2] {
      for y in 0..<dims[1] {
        volume.readPlane(axis: 2, index: z, rowAxis: 1, rows: y..<y + 1, columnAxis: 0, columns: 0..<dims[0], channel: 0, into: floats)
        for x in 0..<dims[0] {
          let value = floats[x]
          values[x] = value > 0 && value <= Float(limit) ? Int32(value) : 0
        }
        counter.add(base, count: dims[0], slice: z, row: y, column: 0)
      }
    }
    return counter.statistics(outputs, voxelMillilitres: volume.geometry.voxelMillilitres)
  }
}

/// Counts label values line by line.
struct LabelCounter {
  private var counts: [Int]
  private var onBorder: [Bool]
  private let shape: [Int]

  /// `shape`: the whole grid in the axes that `add` counts in.
  init(largest: Int, shape: [Int]) {
    counts = [Int](repeating: 0, count: largest + 1)
    onBorder = [Bool](repeating: false, count: largest + 1)
    self.shape = shape
  }

  /// Values must lie in 0...largest.
  mutating func add(_ line: UnsafePointer<Int32>, count: Int, slice: Int, row: Int, column: Int) {
    guard count > 0 else { return }
    let outermost = slice == 0 || slice == shape[0] - 1 || row == 0 || row == shape[1] - 1
    counts.withUnsafeMutableBufferPointer { counts in
      for i in 0..<count { counts[Int(line[i])] += 1 }
    }
    if outermost {
      for i in 0..<count { onBorder[Int(line[i])] = true }
    } else {
      if column == 0 { onBorder[Int(line[0])] = true }
      if column + count == shape[2] { onBorder[Int(line[count - 1])] = true }
    }
  }

  func statistics(_ outputs: [LabelScheme.Output], voxelMillilitres: Double) -> [LabelStatistics] {
    outputs.filter { counts.indices.contains($0.value) }.map { output in
      LabelStatistics(
        value: output.value, name: output.name, voxels: counts[output.value],
        millilitres: Double(counts[output.value]) * voxelMillilitres, touchesBorder: onBorder[output.value])
    }
  }
}
