public import Platform
public import Tensors

extension BitVolume {
  /// The edge set: voxels of the mask with at least one of their six neighbours outside it; beyond the volume is outside.
  ///
  /// Source: pipeline specification 11.2. Throws: `.outOfMemory`, `.cancelled`.
  public func edges(pool: ThreadPool, in budget: MemoryBudget, control: RunControl? = nil) throws(MedDINOError) -> BitVolume {
    let result = try BitVolume(dims: dims, in: budget, "mask edges")
    let groups = try SliceGroups(dims[2], pool: pool, in: budget, control: control, "mask edges")
    try groups.run { z, _ in
      for y in 0..<dims[1] { edgeRow(y, z, into: result.row(z * dims[1] + y)) }
    }
    return result
  }

  private func edgeRow(_ y: Int, _ z: Int, into target: UnsafeMutablePointer<UInt64>) {
    let index = z * dims[1] + y
    let line = row(index)
    let above = y > 0 ? row(index - 1) : nil
    let below = y + 1 < dims[1] ? row(index + 1) : nil
    let before = z > 0 ? row(index - dims[1]) : nil
    let behind = z + 1 < dims[2] ? row(index + dims[1]) : nil
    for word in 0..<wordsPerRow {
      let bits = line[word]
      if bits == 0 {
        target[word] = 0
        continue
      }
      let left = bits << 1 | (word > 0 ? line[word - 1] >> 63 : 0)
      let right = bits >> 1 | (word + 1 < wordsPerRow ? line[word + 1] << 63 : 0)
      let around = (above?[word] ?? 0) & (below?[word] ?? 0) & (before?[word] ?? 0) & (behind?[word] ?? 0)
      target[word] = bits & ~(left & right & around)
    }
  }

  /// Number of set bits of each slice.
  func countsPerSlice() -> [Int] {
    (0..<dims[2]).map { z in
      let first = row(z * dims[1])
      var count = 0
      for index in 0..<dims[1] * wordsPerRow { count += first[index].nonzeroBitCount }
      return count
    }
  }
}
