public import Platform

extension BitVolume {
  /// Sets every background voxel that 6-connected background does not join to the volume's border.
  ///
  /// Always three-dimensional: in a single slice every voxel touches the border along z, so nothing is filled.
  /// Memory: one bit per voxel and nine bytes per row. Each row is revisited only when a neighbour row gained voxels.
  /// Throws: `.outOfMemory`.
  /// Source: pipeline specification 4.2.
  public func fillHoles(in budget: MemoryBudget) throws(MedDINOError) {
    let outside = try BitVolume(dims: dims, in: budget, "hole filling")
    let queue = try RowStack(rowCount, in: budget)
    let (height, depth) = (dims[1], dims[2])
    for index in 0..<rowCount {
      let (y, z) = (index % height, index / height)
      let isBorder = y == 0 || y == height - 1 || z == 0 || z == depth - 1
      if outside.seedRow(index, around: self, isBorder: isBorder) { queue.push(index) }
    }
    while let index = queue.pop() {
      outside.fillRuns(index, around: self)
      let (y, z) = (index % height, index / height)
      if y > 0, outside.spread(index, index - 1, around: self) { queue.push(index - 1) }
      if y < height - 1, outside.spread(index, index + 1, around: self) { queue.push(index + 1) }
      if z > 0, outside.spread(index, index - height, around: self) { queue.push(index - height) }
      if z < depth - 1, outside.spread(index, index + height, around: self) { queue.push(index + height) }
    }
    for index in 0..<rowCount {
      let (target, open) = (row(index), outside.row(index))
      for word in 0..<wordsPerRow { target[word] = ~open[word] & lanes(word) }
    }
  }

  /// Marks the background voxels of a row that lie on the border; true when there are any.
  private func seedRow(_ index: Int, around mask: BitVolume, isBorder: Bool) -> Bool {
    let (target, solid) = (row(index), mask.row(index))
    var any: UInt64 = 0
    for word in 0..<wordsPerRow {
      var seed = isBorder ? lanes(word) : 0
      if word == 0 { seed |= 1 }
      if word == wordsPerRow - 1 { seed |= 1 << UInt64((dims[0] - 1) & 63) }
      target[word] = seed & ~solid[word]
      any |= target[word]
    }
    return any != 0
  }

  /// Extends the marked voxels of a row to the whole background runs they lie in.
  private func fillRuns(_ index: Int, around mask: BitVolume) {
    let (target, solid) = (row(index), mask.row(index))
    var carry: UInt64 = 0
    for word in 0..<wordsPerRow {
      let open = ~solid[word] & lanes(word)
      let seed = target[word] | (carry & open)
      // Adding a seed ripples through the open run above it, which shows as changed bits.
      let filled = (open & ((open &+ seed) ^ open)) | seed
      target[word] = filled
      carry = filled >> 63
    }
    carry = 0
    for word in stride(from: wordsPerRow - 1, through: 0, by: -1) {
      var open = ~solid[word] & lanes(word)
      var filled = target[word] | (carry << 63 & open)
      for shift in [1, 2, 4, 8, 16, 32] as [UInt64] {
        filled |= open & (filled >> shift)
        open &= open >> shift
      }
      target[word] = filled
      carry = filled & 1
    }
  }

  /// Carries marks to the background of a neighbour row; true when it gained any.
  private func spread(_ from: Int, _ to: Int, around mask: BitVolume) -> Bool {
    let (source, target, solid) = (row(from), row(to), mask.row(to))
    var gained: UInt64 = 0
    for word in 0..<wordsPerRow {
      let new = source[word] & ~solid[word] & ~target[word]
      target[word] |= new
      gained |= new
    }
    return gained != 0
  }
}

/// Rows waiting for a visit, each at most once.
private final class RowStack {
  private let buffer: Buffer
  private let rows: UnsafeMutablePointer<Int>
  private let isWaiting: UnsafeMutablePointer<UInt8>
  private var count = 0

  init(_ capacity: Int, in budget: MemoryBudget) throws(MedDINOError) {
    buffer = try budget.allocateZeroed(try Checked.product([capacity, 9], "hole filling"), "hole filling")
    rows = buffer.pointer.bindMemory(to: Int.self, capacity: capacity)
    isWaiting = (buffer.pointer + capacity * 8).bindMemory(to: UInt8.self, capacity: capacity)
  }

  func push(_ row: Int) {
    if isWaiting[row] == 1 { return }
    isWaiting[row] = 1
    rows[count] = row
    count += 1
  }
  func pop() -> Int? {
    if count == 0 { return nil }
    count -= 1
    isWaiting[rows[count]] = 0
    return rows[count]
  }
}
