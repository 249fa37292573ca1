public import Platform

/// Views that share memory with the volume they come from: only base, strides and geometry change.
extension Geometry {
  /// The orientation that is closest to `direction`. Throws: `.invalid` for dependent directions.
  public func orientation() throws(MedDINOError) -> AxisOrientation { try AxisOrientation(closestTo: direction) }

  /// The same grid points with permuted and reversed axes. `steps`: old axis and reversal for each new axis.
  public func rearranged(_ steps: [(axis: Int, reversed: Bool)]) -> Geometry {
    var result = self
    var corner = [0.0, 0.0, 0.0]
    for (axis, step) in steps.enumerated() {
      result.dims[axis] = dims[step.axis]
      result.spacing[axis] = spacing[step.axis]
      if step.reversed { corner[step.axis] = Double(dims[step.axis] - 1) }
      for row in 0..<3 {
        let value = direction[row * 3 + step.axis]
        result.direction[row * 3 + axis] = step.reversed ? -value : value
      }
    }
    result.origin = point(corner)
    return result
  }

  /// The geometry of a box of the grid.
  public func cropped(to box: VoxelBox) -> Geometry {
    var result = self
    result.origin = point(box.lower.map { Double($0) })
    result.dims = box.dims
    return result
  }
}

extension Volume {
  /// The same voxels with permuted and reversed axes; nothing is copied.
  public func rearranged(_ steps: [(axis: Int, reversed: Bool)]) -> Volume {
    var result = self
    result.geometry = geometry.rearranged(steps)
    for (axis, step) in steps.enumerated() {
      let stride = strides[step.axis]
      result.strides[axis] = step.reversed ? -stride : stride
      if step.reversed { result.base += (geometry.dims[step.axis] - 1) * stride }
    }
    result.isPlane = isPlane && steps[2].axis == 2
    result.isReoriented = false
    return result
  }

  /// The view whose axes run closest to `orientation`. The way back is `rearranged(orientation.steps(to: old))`, which
  /// also holds for oblique grids that are equally close to two orientations.
  /// Throws: `.invalid` when the directions are linearly dependent.
  public func reoriented(to orientation: AxisOrientation) throws(MedDINOError) -> Volume {
    rearranged(try geometry.orientation().steps(to: orientation))
  }

  /// The view of a box that lies inside the grid.
  public func cropped(to box: VoxelBox) -> Volume {
    var result = self
    result.geometry = geometry.cropped(to: box)
    result.base = address(box.lower[0], box.lower[1], box.lower[2])
    return result
  }

  /// Whether the voxels lie packed in file order: x fastest, then y, z, channel.
  public var isPacked: Bool {
    let size = dtype.byteCount
    let d = geometry.dims
    return strides == [size, size * d[0], size * d[0] * d[1]] && (channels == 1 || channelStride == size * d[0] * d[1] * d[2])
  }
}

/// A half-open box of voxel indices along x, y, z.
public struct VoxelBox: Equatable, Sendable {
  public var lower: [Int]
  public var upper: [Int]
  public init(lower: [Int], upper: [Int]) {
    self.lower = lower
    self.upper = upper
  }
  /// The whole grid.
  public init(dims: [Int]) { self.init(lower: [0, 0, 0], upper: dims) }
  public var dims: [Int] { (0..<3).map { upper[$0] - lower[$0] } }
}
