public import Platform

/// One bit per voxel; rows along x start at whole 64-bit words, and the bits past a row's end are 0.
///
/// A value that shares its storage, like `Tensor`: only the maker writes.
public struct BitVolume: @unchecked Sendable {
  public let dims: [Int]
  /// 64-bit words per row.
  public let wordsPerRow: Int
  private let buffer: Buffer
  let words: UnsafeMutablePointer<UInt64>

  /// All bits 0. Throws: `.outOfMemory`, `.shape` when an extent is not positive or the size does not fit.
  public init(dims: [Int], in budget: MemoryBudget, _ purpose: String = "mask") throws(MedDINOError) {
    guard dims.count == 3, dims.allSatisfy({ $0 >= 1 }) else { throw .shape("\(purpose): dims is \(dims)") }
    self.dims = dims
    wordsPerRow = (dims[0] - 1) / 64 + 1
    let bytes = try Checked.product([wordsPerRow, dims[1], dims[2], 8], purpose, kind: .shape)
    buffer = try budget.allocateZeroed(bytes, purpose)
    words = buffer.pointer.bindMemory(to: UInt64.self, capacity: bytes / 8)
  }

  var rowCount: Int { dims[1] * dims[2] }
  func row(_ index: Int) -> UnsafeMutablePointer<UInt64> { words + index * wordsPerRow }
  /// Word `index` of a row with only the bits inside the volume set.
  func lanes(_ index: Int) -> UInt64 {
    let rest = dims[0] - index * 64
    return rest >= 64 ? ~0 : (1 << UInt64(rest)) - 1
  }

  public subscript(x: Int, y: Int, z: Int) -> Bool {
    get { row(z * dims[1] + y)[x >> 6] >> UInt64(x & 63) & 1 == 1 }
    nonmutating set {
      let word = row(z * dims[1] + y) + (x >> 6)
      let bit = UInt64(1) << UInt64(x & 63)
      word.pointee = newValue ? word.pointee | bit : word.pointee & ~bit
    }
  }

  /// Number of set bits.
  public var count: Int {
    var result = 0
    for index in 0..<rowCount * wordsPerRow { result += words[index].nonzeroBitCount }
    return result
  }
}
