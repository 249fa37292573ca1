/// Counts label values line by line while a result is written.
struct LabelCounter {
  private var counts: [Int]
  private var onBorder: [Bool]
  private let shape: [Int]

  /// `largest`: no value is above it. `shape`: the whole grid in the axes that `add` counts in.
  init(largest: Int, shape: [Int]) {
    counts = [Int](repeating: 0, count: largest + 1)
    onBorder = [Bool](repeating: false, count: largest + 1)
    self.shape = shape
  }

  /// Values must lie in 0...largest. An axis of one voxel has no border.
  mutating func add(_ line: UnsafePointer<Int32>, count: Int, slice: Int, row: Int, column: Int) {
    guard count > 0 else { return }
    counts.withUnsafeMutableBufferPointer { counts in
      for i in 0..<count { counts[Int(line[i])] += 1 }
    }
    if isOutermost(slice, 0) || isOutermost(row, 1) {
      for i in 0..<count { onBorder[Int(line[i])] = true }
    } else {
      if isOutermost(column, 2) { onBorder[Int(line[0])] = true }
      if isOutermost(column + count - 1, 2) { onBorder[Int(line[count - 1])] = true }
    }
  }
  private func isOutermost(_ index: Int, _ axis: Int) -> Bool {
    shape[axis] > 1 && (index == 0 || index == shape[axis] - 1)
  }

  func labels(_ outputs: [LabelScheme.Output], voxelMillilitres: Double) -> [SegmentationReport.Label] {
    outputs.filter { counts.indices.contains($0.value) }.map { output in
      SegmentationReport.Label(
        value: output.value, name: output.name, voxels: counts[output.value],
        millilitres: Double(counts[output.value]) * voxelMillilitres, touchesBorder: onBorder[output.value])
    }
  }
}
