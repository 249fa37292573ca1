/// Where a voxel grid lies in the patient, in LPS millimetres as in ITK and DICOM.
///
/// Units: spacing and origin in mm. `direction` is row-major 3×3, its columns are the directions of the grid axes x, y, z:
/// `point = origin + direction * (spacing * index)`.
public struct Geometry: Equatable, Sendable {
  /// Extents along x, y, z; z = 1 for a 2D image.
  public var dims: [Int]
  public var spacing: [Double]
  public var origin: [Double]
  public var direction: [Double]

  public init(
    dims: [Int], spacing: [Double] = [1, 1, 1], origin: [Double] = [0, 0, 0],
    direction: [Double] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
  ) {
    self.dims = dims
    self.spacing = spacing
    self.origin = origin
    self.direction = direction
  }

  public var voxelCount: Int { dims.reduce(1, *) }
  public var voxelMillilitres: Double { spacing.reduce(1, *) / 1000 }

  /// LPS point in mm of a (possibly fractional) voxel index.
  public func point(_ index: [Double]) -> [Double] {
    var result = origin
    for row in 0..<3 {
      for axis in 0..<3 { result[row] += direction[row * 3 + axis] * spacing[axis] * index[axis] }
    }
    return result
  }

  /// Fractional voxel index of an LPS point in mm; nil when the axes are linearly dependent.
  public func index(of point: [Double]) -> [Double]? {
    guard let inverse = Matrix3(direction).inverse else { return nil }
    let offset = (0..<3).map { point[$0] - origin[$0] }
    return (0..<3).map { axis in
      let row = (0..<3).map { inverse[axis, $0] * offset[$0] }
      return (row[0] + row[1] + row[2]) / spacing[axis]
    }
  }
}
