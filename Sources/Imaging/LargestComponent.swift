public import Platform
public import Tensors

/// Keeps the largest connected component of a structure in a label volume.
///
/// Source: pipeline specification 11.3.
public enum LargestComponent {
  /// The union of `values` is taken apart into components (26 neighbours); all that are as large as the largest stay, the voxels of
  /// the others become 0. Returns the number of removed voxels.
  ///
  /// `labels`: one channel, writable, no slope or intercept. Throws: `.shape`, `.invalid`, `.outOfMemory`, `.cancelled`.
  @discardableResult
  public static func keep(
    _ values: [Int], in labels: Volume, pool: ThreadPool, budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Int {
    guard labels.channels == 1 else { throw .shape("the label volume has \(labels.channels) channels, expected 1") }
    guard labels.slope == 1, labels.intercept == 0 else { throw .invalid("the label volume has a slope or intercept, expected 1 and 0") }
    let whole = VoxelBox(dims: labels.geometry.dims)
    let mask = try BitVolume(labels, in: whole, values: values, pool: pool, in: budget, control: control)
    let components = try ConnectedComponents(mask, in: budget, control: control)
    guard components.count > 1, let largest = components.sizes.max() else { return 0 }
    var removed = 0
    let size = labels.dtype.byteCount
    components.forRuns { xs, y, z, component in
      if components.sizes[component] == largest { return }
      removed += xs.count
      for x in xs {
        // All bits 0 is the value 0 in every type.
        UnsafeMutableRawPointer(mutating: labels.address(x, y, z)).initializeMemory(as: UInt8.self, repeating: 0, count: size)
      }
    }
    return removed
  }
}
