internal import Platform
internal import Tensors

/// What the text header of an NRRD or MetaImage file says: the voxels' type and order, where they lie, and the grid.
struct VolumeLayout {
  var dtype: DType
  /// Of the axes as they lie in the file, the fastest first.
  var extents: [Int]
  /// Which of them are x, y and z; a plane has no z.
  var gridAxes: [Int]
  /// Which of them counts channels, nil: none does.
  var channelAxis: Int?
  /// With a stand-in for the third axis of a plane.
  var geometry: Geometry
  var source: VoxelSource

  var isPlane: Bool { gridAxes.count == 2 }

  /// Reads all voxels in their own type. Several channels stay where they are in the file: the volume's strides say where.
  /// Throws: as `VoxelSource` does, `.outOfMemory`.
  func read(_ path: String, in budget: MemoryBudget, control: RunControl?) throws(MedDINOError) -> Volume {
    let count = try Checked.product([dtype.byteCount] + extents, "\(path): sizes \(extents)")
    try source.check(dtype, count: count)
    let channels = channelAxis.map { extents[$0] } ?? 1
    var volume = try Volume(allocating: dtype, channels: channels, geometry: geometry, in: budget, path)
    try source.read(dtype, into: UnsafeMutableRawBufferPointer(start: volume.mutableBase, count: count), control: control)
    var strides = [dtype.byteCount]
    for extent in extents.dropLast() { strides.append(strides[strides.count - 1] * extent) }
    volume.strides = (0..<3).map { $0 < gridAxes.count ? strides[gridAxes[$0]] : count }
    volume.channelStride = channelAxis.map { strides[$0] } ?? count
    volume.isPlane = isPlane
    return volume
  }
}

extension Geometry {
  /// A grid from the vectors between neighbouring voxels along its axes and the first voxel's place, both in LPS mm.
  ///
  /// Two axes make a plane: its third is perpendicular, with a stand-in for the spacing as for NIfTI files.
  /// Throws: `.format` naming what is impossible: a step of length 0, values that are not finite, axes that are linearly dependent.
  init(_ extents: [Int], steps: [[Double]], origin: [Double]) throws(MedDINOError) {
    let lengths = steps.map { step in
      Matrix3.length((0..<3).map { $0 < step.count ? step[$0] : 0 })
    }
    for (axis, length) in lengths.enumerated() {
      guard length.isFinite, length > 0 else { throw .format("axis \(axis) has the spacing \(length), expected a positive number of mm") }
    }
    try self.init(
      extents, spacing: lengths, directions: zip(steps, lengths).map { step, length in step.map { $0 / length } }, origin: origin)
  }

  /// `directions`: of the grid's axes, each of the length of the space: 2 for a plane, 3 for a volume. Throws: `.format`.
  init(_ extents: [Int], spacing: [Double], directions: [[Double]], origin: [Double]) throws(MedDINOError) {
    func filled(_ values: [Double], _ filler: Double) -> [Double] { (0..<3).map { ($0 < values.count ? values[$0] : filler) + 0 } }
    let isPlane = extents.count == 2
    var columns = directions.map { filled($0, 0) }
    if isPlane { columns.append([0, 0, 1]) }
    self.init(
      dims: isPlane ? extents + [1] : extents, spacing: isPlane ? spacing + [999 * max(spacing[0], spacing[1])] : spacing,
      origin: filled(origin, 0), direction: Matrix3(columns: columns).m)
    do throws(MedDINOError) { try VolumeCheck.geometry(self) } catch { throw .format(error.message) }
  }
}
