import Imaging
import Platform
import TestSupport
import Tensors

/// Random label volumes with blobs, for tests that compare with plain loops.
struct LabelSample {
  let dims: [Int]
  var values: [Int]

  /// Boxes of random labels over a background, with single voxels strewn in.
  init(_ dims: [Int], labels: Int, seed: UInt64, boxes: Int = 6, specks: Int = 10) {
    var random = SeededGenerator(seed)
    self.dims = dims
    values = [Int](repeating: 0, count: dims.reduce(1, *))
    for _ in 0..<boxes {
      let label = Int.random(in: 0...labels, using: &random)
      let low = dims.map { Int.random(in: 0..<$0, using: &random) }
      let high = (0..<3).map { min(dims[$0], low[$0] + Int.random(in: 1...max(1, dims[$0] / 2), using: &random)) }
      for z in low[2]..<high[2] {
        for y in low[1]..<high[1] {
          for x in low[0]..<high[0] { values[at(x, y, z)] = label }
        }
      }
    }
    for _ in 0..<specks { values[Int.random(in: 0..<values.count, using: &random)] = Int.random(in: 0...labels, using: &random) }
  }

  func at(_ x: Int, _ y: Int, _ z: Int) -> Int { (z * dims[1] + y) * dims[0] + x }
  func value(_ x: Int, _ y: Int, _ z: Int) -> Int { values[at(x, y, z)] }
  func isInside(_ x: Int, _ y: Int, _ z: Int) -> Bool { 0..<dims[0] ~= x && 0..<dims[1] ~= y && 0..<dims[2] ~= z }

  /// As a volume with the axes in memory reversed and gaps between voxels, so that strides matter.
  func volume(_ dtype: DType = .uint8, spacing: [Double] = [1, 1, 1], in budget: MemoryBudget) throws -> Volume {
    let size = dtype.byteCount
    let storage = try Volume(allocating: dtype, geometry: Geometry(dims: [dims[2] * 2, dims[1], dims[0]]), in: budget)
    var result = storage
    result.geometry = Geometry(dims: dims, spacing: spacing)
    result.strides = [storage.strides[2], storage.strides[1], 2 * size]
    for z in 0..<dims[2] {
      for y in 0..<dims[1] {
        for x in 0..<dims[0] {
          let address = UnsafeMutableRawPointer(mutating: result.address(x, y, z))
          switch dtype {
          case .uint8: address.storeBytes(of: UInt8(value(x, y, z)), as: UInt8.self)
          case .int16: address.storeBytes(of: Int16(value(x, y, z)), as: Int16.self)
          case .float64: address.storeBytes(of: Double(value(x, y, z)), as: Double.self)
          default: address.storeBytes(of: Float(value(x, y, z)), as: Float.self)
          }
        }
      }
    }
    return result
  }

  /// All voxels, x fastest.
  func forAll(_ body: (Int, Int, Int) -> Void) {
    for z in 0..<dims[2] {
      for y in 0..<dims[1] {
        for x in 0..<dims[0] { body(x, y, z) }
      }
    }
  }
}
