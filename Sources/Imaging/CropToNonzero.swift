public import Platform

/// The part of a volume that holds anything but zeros, as nnU-Net crops before normalising.
///
/// A voxel counts when its value as float32, slope and intercept applied, differs from 0 in any channel of any volume
/// (NaN does).
/// Source: pipeline specification 4.2.
public enum CropToNonzero {
  /// The tight box around all nonzero voxels; the whole grid when there are none. Filling holes never changes it.
  ///
  /// Reads plane by plane and stops as early as the answer allows: a CT with air at -1000 costs a few planes.
  /// Throws: `.shape` when the volumes differ in extents, `.outOfMemory`, `.cancelled`.
  public static func box(
    of volumes: [Volume], in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> VoxelBox {
    let scan = try PlaneScan(volumes, in: budget)
    let d = scan.dims
    var box = VoxelBox(lower: d, upper: [0, 0, 0])
    guard let first = try firstPlane(0..<d[2], scan, control) else { return VoxelBox(dims: d) }
    let last = try firstPlane((first..<d[2]).reversed(), scan, control) ?? first
    box.lower[2] = first
    box.upper[2] = last + 1
    for z in first...last {
      try control?.check()
      for volume in volumes {
        for channel in 0..<volume.channels { scan.widen(&box, volume, channel, z) }
      }
      if box.lower[0] == 0, box.lower[1] == 0, box.upper[0] == d[0], box.upper[1] == d[1] { break }
    }
    return box
  }

  /// The hole-filled mask of nonzero voxels inside `box` (from `box(of:)`).
  ///
  /// Cutting first and filling then gives the same mask as the other way round, because outside the box all is
  /// background.
  /// Throws: `.shape`, `.outOfMemory`, `.cancelled`.
  public static func mask(
    of volumes: [Volume], in box: VoxelBox, budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> BitVolume {
    let scan = try PlaneScan(volumes, in: budget)
    let mask = try BitVolume(dims: box.dims, in: budget, "nonzero mask")
    for z in 0..<mask.dims[2] {
      try control?.check()
      for volume in volumes {
        for channel in 0..<volume.channels { scan.mark(mask, box, volume, channel, z) }
      }
    }
    try mask.fillHoles(in: budget)
    return mask
  }

  private static func firstPlane(
    _ planes: some Sequence<Int>, _ scan: PlaneScan, _ control: RunControl?
  ) throws(MedDINOError) -> Int? {
    for z in planes {
      try control?.check()
      if scan.hasNonzero(z) { return z }
    }
    return nil
  }
}

/// Reads rows of planes as float32 into one line of scratch.
private struct PlaneScan {
  let volumes: [Volume]
  let dims: [Int]
  private let buffer: Buffer
  private let line: UnsafeMutablePointer<Float>

  init(_ volumes: [Volume], in budget: MemoryBudget) throws(MedDINOError) {
    guard let first = volumes.first else { throw .shape("crop: no volume given") }
    dims = first.geometry.dims
    for volume in volumes where volume.geometry.dims != dims {
      throw .shape("crop: channels have extents \(dims) and \(volume.geometry.dims), expected equal ones")
    }
    self.volumes = volumes
    buffer = try budget.allocate(dims[0] * 4, "crop scratch")
    line = buffer.pointer.bindMemory(to: Float.self, capacity: dims[0])
  }

  private func read(_ volume: Volume, _ channel: Int, _ y: Int, _ z: Int, _ columns: Range<Int>) {
    volume.readPlane(
      axis: 2, index: z, rowAxis: 1, rows: y..<y + 1, columnAxis: 0, columns: columns, channel: channel, into: line)
  }

  func hasNonzero(_ z: Int) -> Bool {
    for volume in volumes {
      for channel in 0..<volume.channels {
        for y in 0..<dims[1] {
          read(volume, channel, y, z, 0..<dims[0])
          for x in 0..<dims[0] where line[x] != 0 { return true }
        }
      }
    }
    return false
  }

  func widen(_ box: inout VoxelBox, _ volume: Volume, _ channel: Int, _ z: Int) {
    for y in 0..<dims[1] {
      read(volume, channel, y, z, 0..<dims[0])
      var first = 0
      while first < dims[0], line[first] == 0 { first += 1 }
      if first == dims[0] { continue }
      var last = dims[0] - 1
      while line[last] == 0 { last -= 1 }
      box.lower[0] = min(box.lower[0], first)
      box.upper[0] = max(box.upper[0], last + 1)
      box.lower[1] = min(box.lower[1], y)
      box.upper[1] = max(box.upper[1], y + 1)
    }
  }

  func mark(_ mask: BitVolume, _ box: VoxelBox, _ volume: Volume, _ channel: Int, _ z: Int) {
    for y in 0..<mask.dims[1] {
      read(volume, channel, box.lower[1] + y, box.lower[2] + z, box.lower[0]..<box.upper[0])
      let row = mask.row(z * mask.dims[1] + y)
      for x in 0..<mask.dims[0] where line[x] != 0 { row[x >> 6] |= 1 << UInt64(x & 63) }
    }
  }
}
