public import Imaging
public import Platform
public import Tensors

/// Seeded synthetic torso CTs with organ labels: tissue has true HU, organs overlap in HU, kidneys differ by side
/// alone, organs may be missing, pose, spacing, orientation and noise vary. For tests, tutorials and dry runs of
/// training; no patient stands behind them.
public enum Phantom {
  /// The organs that are labelled, in the order of their values.
  public static func labels(_ count: Int = 8) -> [PhantomLabel] {
    PhantomOrganKind.allCases.prefix(max(0, count)).map(\.label)
  }

  /// One case in memory: int16 HU and uint8 labels on the same grid.
  /// Throws: `.invalid` for options out of range, `.outOfMemory`, `.cancelled`.
  public static func makeCase(
    index: Int, options: PhantomOptions, in budget: MemoryBudget, pool: ThreadPool? = nil, control: RunControl? = nil
  ) throws(MedDINOError) -> (image: Volume, labels: Volume) {
    let phantom = try PhantomCase(index: index, options: options)
    let image = try Volume(allocating: .int16, geometry: phantom.geometry, in: budget, "phantom image")
    let labels = try Volume(allocating: .uint8, geometry: phantom.geometry, in: budget, "phantom labels")
    try phantom.render(image: image, labels: labels, pool: pool, control: control)
    return (image, labels)
  }

  /// The image of one case alone. Throws: as `makeCase`.
  public static func makeImage(
    index: Int, options: PhantomOptions, in budget: MemoryBudget, pool: ThreadPool? = nil, control: RunControl? = nil
  ) throws(MedDINOError) -> Volume {
    let phantom = try PhantomCase(index: index, options: options)
    let image = try Volume(allocating: .int16, geometry: phantom.geometry, in: budget, "phantom image")
    try phantom.render(image: image, labels: nil, pool: pool, control: control)
    return image
  }
}
