import Imaging
import Platform
import TestSupport
import Testing

@Suite struct AxisOrientationTests {
  @Test func namesAreUniqueAndParse() {
    let names = AxisOrientation.all.map(\.name)
    #expect(Set(names).count == 48)
    for orientation in AxisOrientation.all { #expect(AxisOrientation(name: orientation.name.lowercased()) == orientation) }
    #expect(AxisOrientation.lps.name == "LPS" && AxisOrientation.ras.name == "RAS")
    for bad in ["", "LP", "LRS", "LPSA", "XYZ", "LL "] { #expect(AxisOrientation(name: bad) == nil) }
  }

  @Test func closestToTurnedAxes() throws {
    let (c, s) = (0.9689124217106447, 0.24740395925452294)  // 0.25 rad
    for orientation in AxisOrientation.all {
      var direction = [Double](repeating: 0, count: 9)
      for axis in 0..<3 {
        let sign: Double = orientation.isNegative[axis] ? -1 : 1
        // the world axes turned about the patient's left-right axis, with a little shear
        let world = [[1, 0.02, 0], [0, c, s], [0, -s, c]][orientation.worldAxis[axis]]
        for row in 0..<3 { direction[row * 3 + axis] = sign * world[row] }
      }
      #expect(try AxisOrientation(closestTo: direction) == orientation)
    }
  }

  @Test func everyPairOfOrientationsIsConnected() throws {
    let geometry = Geometry(dims: [2, 3, 4], spacing: [1, 2, 4], origin: [5, -6, 7])
    let plain = try makeVolume(.int32, geometry) { Double($0) }
    for first in AxisOrientation.all {
      let view = plain.rearranged(AxisOrientation.lps.steps(to: first))
      for second in AxisOrientation.all {
        let other = try view.reoriented(to: second)
        #expect(try other.geometry.orientation() == second)
        #expect(values(other.rearranged(second.steps(to: .lps))) == values(plain))
      }
      // A voxel keeps its place in the patient.
      let index = view.geometry.dims.map { $0 - 1 }
      let point = view.geometry.point(index.map { Double($0) })
      let old = (0..<3).map { Int(((point[$0] - geometry.origin[$0]) / geometry.spacing[$0]).rounded()) }
      #expect(view.value(index[0], index[1], index[2]) == plain.value(old[0], old[1], old[2]))
    }
  }

  @Test func dependentDirectionsAreRefused() {
    for direction in [[Double](repeating: 0, count: 9), [1, 1, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0, 0, 0, .nan], [1, 0]] {
      #expect(throws: MedDINOError.self) { try AxisOrientation(closestTo: direction) }
    }
  }

  @Test func affineRoundTripsAndMirrors() throws {
    let geometry = Geometry(
      dims: [4, 5, 6], spacing: [0.5, 2, 3], origin: [1, 2, 3], direction: [0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, -1])
    let again = try #require(Geometry(dims: geometry.dims, affineRAS: geometry.affineRAS))
    for (a, b) in zip(again.direction + again.spacing + again.origin, geometry.direction + geometry.spacing + geometry.origin) {
      #expect((a - b).magnitude < 1e-12)
    }
    #expect(geometry.mirroredXY.mirroredXY == geometry)
    #expect(geometry.mirroredXY.origin == [-1, -2, 3])
    #expect(Geometry(dims: [1, 1, 1], affineRAS: [Double](repeating: 0, count: 12)) == nil)
  }
}
