/// LPS (ITK, DICOM) and RAS (NIfTI, nibabel) differ by the sign of x and y.
extension Geometry {
  /// Voxel index to RAS millimetres: three rows of four, row-major. Source: NIfTI-1 method 3.
  public var affineRAS: [Double] {
    var result: [Double] = []
    for row in 0..<3 {
      let sign: Double = row < 2 ? -1 : 1
      for axis in 0..<3 { result.append(sign * direction[row * 3 + axis] * spacing[axis]) }
      result.append(sign * origin[row])
    }
    return result
  }

  /// The geometry of an affine from voxel index to RAS millimetres (three rows of four): spacing = lengths of the
  /// columns. nil when a column is zero or a value is not finite.
  public init?(dims: [Int], affineRAS affine: [Double]) {
    guard affine.count >= 12, affine.prefix(12).allSatisfy({ $0.isFinite }) else { return nil }
    let matrix = Matrix3([0, 1, 2, 4, 5, 6, 8, 9, 10].map { affine[$0] })
    guard let unit = matrix.normalizedColumns else { return nil }
    self.init(
      dims: dims, spacing: (0..<3).map { Matrix3.length(matrix.column($0)) },
      origin: [-affine[3], -affine[7], affine[11]], direction: unit.flippedXY.m)
  }

  /// The same grid with origin and direction expressed in the other of the two conventions, for hosts that think in
  /// RAS.
  public var mirroredXY: Geometry {
    var result = self
    result.origin = [-origin[0], -origin[1], origin[2]]
    result.direction = Matrix3(direction).flippedXY.m
    return result
  }
}

extension Matrix3 {
  /// Rows x and y negated: LPS to RAS and back.
  var flippedXY: Matrix3 { Matrix3(m.enumerated().map { $0.offset < 6 ? -$0.element : $0.element }) }
}
