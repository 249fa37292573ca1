public import Imaging
public import Platform

/// How a volume's grid axes lie in a picture in radiological display: axial and coronal with the patient's right on the left, sagittal with
/// anterior on the left; anterior on top in axial pictures, superior in the others. Slices are counted from superior, anterior or the right.
///
/// Oblique grids are shown along their own axes, each named after the nearest patient axis.
public struct DisplayAxes: Equatable, Sendable {
  /// How the pictures cut the patient.
  public enum Plane: String, Sendable, CaseIterable {
    case axial, coronal, sagittal

    /// Patient axis (0 left, 1 posterior, 2 superior) of the columns, rows and slices.
    var patientAxes: [Int] {
      switch self {
      case .axial: [0, 1, 2]
      case .coronal: [0, 2, 1]
      case .sagittal: [1, 2, 0]
      }
    }
    /// The sides of the patient at the left and right edge.
    var edges: (left: String, right: String) { self == .sagittal ? ("A", "P") : ("R", "L") }
  }
  public let plane: Plane
  public let columnAxis: Int
  public let rowAxis: Int
  public let sliceAxis: Int
  /// True when the picture runs against the grid axis.
  public let columnFlipped: Bool
  public let rowFlipped: Bool
  public let sliceFlipped: Bool

  /// Throws: `.invalid` when sizes, spacing or direction are not those of a volume.
  public init(_ geometry: Geometry, plane: Plane = .axial) throws(MedDINOError) {
    let (dims, spacing, direction) = (geometry.dims, geometry.spacing, geometry.direction)
    guard dims.count == 3, dims.allSatisfy({ $0 >= 1 }) else {
      throw .invalid("dims is \(dims), expected 3 positive sizes")
    }
    guard spacing.count == 3, spacing.allSatisfy({ $0 > 0 && $0 < 1e6 }) else {
      throw .invalid("spacing is \(spacing), expected 3 positive numbers of mm")
    }
    guard direction.count == 9, direction.allSatisfy({ $0.magnitude <= 2 }), geometry.origin.count == 3 else {
      throw .invalid("direction is \(direction), expected 9 numbers whose columns are unit vectors")
    }
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    func closeness(_ order: [Int]) -> Double {
      (0..<3).reduce(0) { $0 + direction[$1 * 3 + order[$1]].magnitude }
    }
    var best = orders[0]
    for order in orders.dropFirst() where closeness(order) > closeness(best) + 1e-9 { best = order }
    // LPS points to the left, to posterior and up: pictures run with x and y, and against z.
    func runsBack(_ patientAxis: Int) -> Bool {
      let cosine = direction[patientAxis * 3 + best[patientAxis]]
      return patientAxis == 2 ? cosine > 0 : cosine < 0
    }
    self.plane = plane
    let axes = plane.patientAxes
    (columnAxis, rowAxis, sliceAxis) = (best[axes[0]], best[axes[1]], best[axes[2]])
    (columnFlipped, rowFlipped, sliceFlipped) = (runsBack(axes[0]), runsBack(axes[1]), runsBack(axes[2]))
  }

  /// Grid index of picture slice `slice`.
  func index(ofSlice slice: Int, _ geometry: Geometry) -> Int {
    sliceFlipped ? geometry.dims[sliceAxis] - 1 - slice : slice
  }

  /// Patient x, y or z in mm (that of the slice axis) of the centre of a picture slice.
  func position(ofSlice slice: Int, _ geometry: Geometry) -> Double {
    var index = geometry.dims.map { Double($0 - 1) / 2 }
    index[sliceAxis] = Double(self.index(ofSlice: slice, geometry))
    return geometry.point(index)[plane.patientAxes[2]]
  }

  /// Picture slice `slice` of channel 0, rows from the top and columns from the left.
  func read(_ volume: Volume, slice: Int, into plane: UnsafeMutablePointer<Float>) {
    let dims = volume.geometry.dims
    let (rows, columns) = (dims[rowAxis], dims[columnAxis])
    volume.readPlane(
      axis: sliceAxis, index: index(ofSlice: slice, volume.geometry), rowAxis: rowAxis, rows: 0..<rows,
      columnAxis: columnAxis, columns: 0..<columns, channel: 0, into: plane)
    if columnFlipped {
      for row in 0..<rows {
        var line = UnsafeMutableBufferPointer(start: plane + row * columns, count: columns)
        line.reverse()
      }
    }
    if rowFlipped {
      for row in 0..<rows / 2 {
        let (upper, lower) = (plane + row * columns, plane + (rows - 1 - row) * columns)
        for column in 0..<columns { swap(&upper[column], &lower[column]) }
      }
    }
  }
}
