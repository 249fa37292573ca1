internal import Platform

/// From header fields to a grid in the patient, by the rules of each reader.
/// Source: pipeline specification 1.4.
extension NIfTIHeader {
  typealias Placement = (geometry: Geometry, affine: [Double])

  /// For the nibabel readers the spacing is that of the affine's columns, so that the axes can be rearranged exactly.
  /// Throws: `.format` when no usable orientation is given.
  func placement(_ reader: VolumeFile.Reader, _ path: String) throws(MedDINOError) -> Placement {
    reader == .simpleITK ? try itkPlacement(path) : try nibabelPlacement(path)
  }

  /// Slope and intercept, (1, 0) when the values are stored as they are.
  func scaling(_ reader: VolumeFile.Reader, _ path: String) throws(MedDINOError) -> (slope: Double, intercept: Double) {
    if reader == .simpleITK {
      return (slope.isFinite && slope != 0 ? slope : 1, intercept.isFinite ? intercept : 0)
    }
    guard slope.isFinite, slope != 0 else { return (1, 0) }
    guard intercept.isFinite else { throw .format("\(path): scl_inter is \(intercept)") }
    return (slope, intercept)
  }

  private var matrixOfSform: Matrix3 { Matrix3([0, 1, 2, 4, 5, 6, 8, 9, 10].map { srow[$0] }) }
  private var originOfSform: [Double] { [srow[3], srow[7], srow[11]] }

  /// Spacing of x, y, z as the file gives it, stand-ins for the missing third axis of a 2D file.
  var spacing: [Double] {
    let inPlane = [pixdim[1].magnitude, pixdim[2].magnitude]
    return inPlane + [rank == 2 ? 999 * max(inPlane[0], inPlane[1]) : pixdim[3].magnitude]
  }

  private func itkPlacement(_ path: String) throws(MedDINOError) -> Placement {
    // metres and micrometres; every other code counts as mm
    let unit: Double = units & 7 == 1 ? 1000 : units & 7 == 3 ? 0.001 : 1
    let millimetres = spacing.map { $0 * unit }
    var direction = Matrix3([1, 0, 0, 0, 1, 0, 0, 0, 1])
    var origin = [0.0, 0.0, 0.0]
    if sformCode > 0, sformCode == 1 || qformCode <= 0, let matrix = orthogonalSform {
      direction = matrix.flippedXY
      origin = originOfSform
    } else if qformCode > 0 {
      direction = try rotation(path).flippedXY
      origin = qoffset
    } else if sformCode > 0 {
      throw .format("\(path): the sform is sheared or degenerate and there is no qform; the axes must be orthogonal")
    }
    let point = [-origin[0] * unit, -origin[1] * unit, origin[2] * unit].map { $0 + 0 }  // + 0: no negative zeros
    guard point.allSatisfy({ $0.isFinite }) else { throw .format("\(path): the origin is \(point)") }
    for axis in 0..<3 where axis < rank && pixdim[axis + 1] < 0 {
      for row in 0..<3 { direction[row, axis] = -direction[row, axis] }
    }
    let geometry = Geometry(
      dims: Array(dims.prefix(3)), spacing: millimetres, origin: point, direction: direction.m.map { $0 + 0 })
    return (try checked(geometry, path), geometry.affineRAS)
  }

  /// The sform's direction cosines in RAS when its columns are orthogonal within 1e-4.
  private var orthogonalSform: Matrix3? {
    guard let unit = matrixOfSform.normalizedColumns else { return nil }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
      guard Matrix3.dot(unit.column(a), unit.column(b)).magnitude <= 1e-4 else { return nil }
    }
    return unit
  }

  private func nibabelPlacement(_ path: String) throws(MedDINOError) -> Placement {
    var affine: [Double] = []
    if sformCode > 0 {
      affine = srow
    } else if qformCode > 0 {
      let rotation = try rotation(path)
      for row in 0..<3 {
        for axis in 0..<3 { affine.append(rotation[row, axis] * spacing[axis]) }
        affine.append(qoffset[row])
      }
    } else {
      for row in 0..<3 {
        var line = [0.0, 0.0, 0.0, 0.0]
        line[row] = row == 0 ? -spacing[row] : spacing[row]
        line[3] = -line[row] * Double(dims[row] - 1) / 2
        affine += line
      }
    }
    guard let geometry = Geometry(dims: Array(dims.prefix(3)), affineRAS: affine) else {
      throw .format("\(path): the affine has a zero column or a value that is not finite")
    }
    return (try checked(geometry, path), affine)
  }

  /// Direction cosines of the qform in RAS. Quaternions longer than 1 are scaled to a half turn.
  private func rotation(_ path: String) throws(MedDINOError) -> Matrix3 {
    var (b, c, d) = (quaternion[0], quaternion[1], quaternion[2])
    let squares = b * b + c * c + d * d
    guard squares.isFinite else { throw .format("\(path): the qform quaternion is \(quaternion)") }
    var a = 0.0
    if 1 - squares < 1e-7 {
      let scale = 1 / squares.squareRoot()
      (b, c, d) = (b * scale, c * scale, d * scale)
    } else {
      a = (1 - squares).squareRoot()
    }
    var matrix = Matrix3(a: a, b: b, c: c, d: d)
    if pixdim[0] < 0 { for row in 0..<3 { matrix[row, 2] = -matrix[row, 2] } }
    return matrix
  }

  private func checked(_ geometry: Geometry, _ path: String) throws(MedDINOError) -> Geometry {
    do throws(MedDINOError) { try VolumeCheck.geometry(geometry) } catch {
      throw .format("\(path): \(error.message)")
    }
    return geometry
  }
}
