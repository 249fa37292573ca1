public import Imaging
public import Platform
public import Tensors

/// What a label volume holds, label by label, for people to read.
public struct LabelSurvey: Sendable {
  /// A face of the grid, by the side of the patient that it lies on.
  public enum Side: String, Sendable, CaseIterable { case right, left, anterior, posterior, superior, inferior }

  /// One label that is present.
  public struct Label: Equatable, Sendable {
    public var value: Int
    public var voxels: Int
    /// NaN for a two-dimensional image, whose slice has no thickness.
    public var millilitres: Double
    /// Of the box around it, along the grid axes closest to right-left, front-back and up-down. Units: mm; NaN where an image has no
    /// thickness.
    public var extents: [Double]
    /// Axial slices that hold it.
    public var slices: Int
    /// The box around it along the grid axes x, y, z.
    public var box: VoxelBox
    /// Sides on which a voxel of it lies on the outermost layer of the grid, so that a part of it may be missing. An axis of one voxel has
    /// no sides.
    public var borders: [Side]
    /// Connected components (26 neighbours), and the voxels of the largest.
    public var parts: Int
    public var largestPart: Int
  }
  /// In ascending order of value, without 0.
  public let labels: [Label]
  let volume: Volume
  let census: LabelCensus

  /// `labels`: one channel of whole numbers.
  /// Throws: `.invalid` for a geometry without volume or values that are no labels, `.outOfMemory`, `.cancelled`.
  public init(_ labels: Volume, pool: ThreadPool, in budget: MemoryBudget, control: RunControl? = nil) throws(MedDINOError) {
    let axes = try DisplayAxes(labels.geometry)
    let dims = labels.geometry.dims
    let bytes = try Checked.product([dims[axes.rowAxis], dims[axes.columnAxis], MemoryLayout<Float>.size], "picture slice")
    let buffer = try budget.allocate(bytes, "picture slice")
    census = try LabelCensus(labels, axes: axes, plane: buffer.elements(Float.self), control: control)
    withExtendedLifetime(buffer) {}
    volume = labels
    var found: [Label] = []
    for (value, counted) in census.labels.sorted(by: { $0.key < $1.key }) {
      try control?.check()
      var label = Self.describe(value, counted, labels, axes)
      let mask = try BitVolume(labels, in: label.box, values: [value], pool: pool, in: budget, control: control?.still(at: 0))
      let components = try ConnectedComponents(mask, in: budget, control: control?.still(at: 0))
      label.parts = components.count
      label.largestPart = components.sizes.max() ?? 0
      found.append(label)
    }
    self.labels = found
  }

  private static func describe(_ value: Int, _ found: LabelCensus.Label, _ labels: Volume, _ axes: DisplayAxes) -> Label {
    let geometry = labels.geometry
    var box = VoxelBox(dims: geometry.dims)
    var extents: [Double] = []
    var borders: [Side] = []
    let pictureAxes = [
      (axes.columnAxis, axes.columnFlipped, Side.right, Side.left), (axes.rowAxis, axes.rowFlipped, .anterior, .posterior),
      (axes.sliceAxis, axes.sliceFlipped, .superior, .inferior),
    ]
    for (place, (axis, flipped, first, last)) in pictureAxes.enumerated() {
      let (lower, upper, count) = (found.lower[place], found.upper[place], geometry.dims[axis])
      (box.lower[axis], box.upper[axis]) = flipped ? (count - upper, count - lower) : (lower, upper)
      extents.append(labels.isPlane && axis == 2 ? .nan : Double(upper - lower) * geometry.spacing[axis])
      if count > 1, lower == 0 { borders.append(first) }
      if count > 1, upper == count { borders.append(last) }
    }
    return Label(
      value: value, voxels: found.voxels, millilitres: labels.isPlane ? .nan : Double(found.voxels) * geometry.voxelMillilitres,
      extents: extents, slices: found.slices, box: box, borders: borders, parts: 0, largestPart: 0)
  }
}
