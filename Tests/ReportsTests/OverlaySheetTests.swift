import Imaging
import Platform
import TestSupport
import Testing

@testable import Reports

struct OverlaySheetTests {
  let budget = MemoryBudget()
  let red = Colour(255, 0, 0, 255)

  /// A made-up patient: grey grows to the left, dark behind; label 1 is a block on the right and in front, label 2 one
  /// at the left.
  private func patient(_ size: [Int] = [24, 20, 9], spacing: [Double] = [2, 2, 5]) throws -> (
    image: Volume, labels: Volume
  ) {
    let geometry = Geometry(dims: size, spacing: spacing, origin: [-24, -20, 100])
    let image = try Volume(allocating: .int16, geometry: geometry, in: budget)
    let labels = try Volume(allocating: .uint8, geometry: geometry, in: budget)
    let pixels = image.mutableBase.bindMemory(to: Int16.self, capacity: geometry.voxelCount)
    let marks = labels.mutableBase.bindMemory(to: UInt8.self, capacity: geometry.voxelCount)
    for z in 0..<size[2] {
      for y in 0..<size[1] {
        for x in 0..<size[0] {
          let at = (z * size[1] + y) * size[0] + x
          pixels[at] = Int16(x * 12 - y * 9 + z)
          let (right, left) = (4..<10 ~= x && 3..<9 ~= y, 15..<20 ~= x && 10..<16 ~= y)
          marks[at] = z >= 2 && z < 8 ? (right ? 1 : left ? 2 : 0) : 0
        }
      }
    }
    return (image, labels)
  }

  /// The same voxels stored with other axes: `order[i]` is the old axis of new axis i.
  private func restored(_ volume: Volume, _ order: [Int], _ flipped: [Bool]) throws -> Volume {
    let old = volume.geometry
    var geometry = Geometry(dims: order.map { old.dims[$0] }, spacing: order.map { old.spacing[$0] })
    var corner = [0.0, 0.0, 0.0]
    for axis in 0..<3 {
      for row in 0..<3 {
        geometry.direction[row * 3 + axis] = (flipped[axis] ? -1 : 1) * old.direction[row * 3 + order[axis]]
      }
      if flipped[axis] { corner[order[axis]] = Double(old.dims[order[axis]] - 1) }
    }
    geometry.origin = old.point(corner)
    let result = try Volume(allocating: volume.dtype, geometry: geometry, in: budget)
    let size = volume.dtype.byteCount
    for c in 0..<geometry.dims[2] {
      for b in 0..<geometry.dims[1] {
        for a in 0..<geometry.dims[0] {
          var index = [0, 0, 0]
          for (axis, value) in [a, b, c].enumerated() {
            index[order[axis]] = flipped[axis] ? geometry.dims[axis] - 1 - value : value
          }
          UnsafeMutableRawPointer(mutating: result.address(a, b, c))
            .copyMemory(from: volume.address(index[0], index[1], index[2]), byteCount: size)
        }
      }
    }
    return result
  }

  private func sheet(
    _ image: Volume, _ labels: Volume, legend: [LegendEntry]? = nil,
    _ change: (inout OverlaySheet.Options) -> Void = { _ in }
  ) throws -> (bytes: [UInt8], picture: DecodedPNG) {
    try withTemporaryFolder { folder in
      var options = OverlaySheet.Options()
      options.sliceSize = 80
      options.maximumSlices = 3
      change(&options)
      let entries: [LegendEntry] = legend ?? [(1, "one", red), (2, "two", Colour(0, 255, 0, 255))]
      try OverlaySheet.write(
        image: image, labels: labels, legend: entries, options: options, to: folder + "/s.png", in: budget)
      return (try InputFile.contents(folder + "/s.png"), try DecodedPNG(folder + "/s.png"))
    }
  }

  @Test func storageOrientationDoesNotShow() throws {
    let (image, labels) = try patient()
    let reference = try sheet(image, labels).bytes
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
      for flips in 0..<8 {
        let flipped = (0..<3).map { flips >> $0 & 1 == 1 }
        let other = try sheet(restored(image, order, flipped), restored(labels, order, flipped)).bytes
        #expect(other == reference, "\(order) \(flipped)")
      }
    }
  }

  @Test func patientRightIsOnTheLeftAndAnteriorOnTop() throws {
    let (image, labels) = try patient()
    let picture = try sheet(image, labels) { $0.maximumSlices = 1 }.picture
    var (x, y, count) = (SIMD2(0, 0), SIMD2(0, 0), SIMD2(0, 0))
    for row in 0..<picture.height {
      for column in 0..<200 {
        let colour = picture.colour(column, row)
        for (label, wanted) in [red, Colour(0, 255, 0, 255)].enumerated() where colour == wanted {
          x[label] += column
          y[label] += row
          count[label] += 1
        }
      }
    }
    try #require(count[0] > 0 && count[1] > 0)
    #expect(x[0] / count[0] < x[1] / count[1])
    #expect(y[0] / count[0] < y[1] / count[1])
  }

  @Test func contourOfASquareIsItsBorder() throws {
    var labels = [Float](repeating: 0, count: 100)
    for y in 2..<7 { for x in 3..<8 { labels[y * 10 + x] = 5 } }
    var found: Set<Int> = []
    for row in 0..<10 {
      for column in 0..<10 where SliceRenderer.isContour(labels, rows: 10, columns: 10, row: row, column: column) {
        found.insert(row * 10 + column)
      }
    }
    var expected: Set<Int> = []
    for i in 0..<5 { expected.formUnion([23 + i, 63 + i, (2 + i) * 10 + 3, (2 + i) * 10 + 7]) }
    #expect(found == expected)
    // The picture's own edge is no contour; the line between two labels is one on both sides.
    let halves = (0..<16).map { Float($0 % 4 < 2 ? 1 : 2) }
    let edge = (0..<16).filter { SliceRenderer.isContour(halves, rows: 4, columns: 4, row: $0 / 4, column: $0 % 4) }
    #expect(edge == [1, 2, 5, 6, 9, 10, 13, 14])
  }

  @Test func scalingKeepsFlatFieldsAndAveragesWhenShrinking() throws {
    for (from, to) in [(4, 9), (9, 4), (100, 7), (1, 5), (5, 1), (6, 6)] {
      let scaler = try PlaneScaler(rows: from, columns: from, toRows: to, toColumns: to, in: budget)
      let flat = [Float](repeating: 3, count: from * from)
      var out = [Float](repeating: 0, count: to * to)
      scaler.scaleGrey(flat, into: &out)
      #expect(out.allSatisfy { abs($0 - 3) < 1e-5 }, "\(from) to \(to)")
      scaler.scaleLabels(flat, into: &out)
      #expect(out.allSatisfy { $0 == 3 })
    }
    let same = try PlaneScaler(rows: 2, columns: 3, toRows: 2, toColumns: 3, in: budget)
    var out = [Float](repeating: 0, count: 6)
    same.scaleGrey([1, 2, 3, 4, 5, 6], into: &out)
    #expect(out == [1, 2, 3, 4, 5, 6])
    let checker = (0..<64).map { Float(($0 / 8 + $0 % 8) % 2) }
    var small = [Float](repeating: 0, count: 4)
    try PlaneScaler(rows: 8, columns: 8, toRows: 2, toColumns: 2, in: budget).scaleGrey(checker, into: &small)
    #expect(small.allSatisfy { abs($0 - 0.5) < 0.05 })
  }

  @Test func slicesWithLabelsAreChosenEvenly() throws {
    #expect(OverlaySheet.evenlySpaced(Array(10..<15), count: 12) == [10, 11, 12, 13, 14])
    #expect(OverlaySheet.evenlySpaced(Array(0..<100), count: 4) == [12, 37, 62, 87])
    #expect(OverlaySheet.evenlySpaced([], count: 4).isEmpty)
    let (_, labels) = try patient()
    let axes = try DisplayAxes(labels.geometry)
    let plane = try budget.allocate(24 * 20 * 4, "plane")
    let census = try LabelCensus(labels, axes: axes, plane: plane.elements(Float.self), control: nil)
    // Slices 2 to 7 from below are 1 to 6 from above.
    #expect(census.slices == Array(1...6))
    #expect(census.labels.mapValues(\.voxels) == [1: 6 * 36, 2: 6 * 30])
    #expect(axes.position(ofSlice: 0, labels.geometry) == 140)
  }

  @Test func proportionsFollowTheSpacing() throws {
    let (image, _) = try patient([30, 10, 2], spacing: [1, 6, 1])
    var options = OverlaySheet.Options()
    options.sliceSize = 120
    let renderer = try SliceRenderer(image.geometry, axes: DisplayAxes(image.geometry), options: options, in: budget)
    #expect(renderer.width == 60 && renderer.height == 120)
  }

  @Test func unknownAndManyLabelsAreListed() throws {
    let (image, labels) = try patient()
    let named = try sheet(image, labels).picture
    let unnamed = try sheet(image, labels, legend: []).picture
    #expect(named.pixels != unnamed.pixels)
    let many = (1...200).map { ($0, "a very long name of an organ, number \($0)", LabelPalette.colour(of: $0)) }
    #expect(try sheet(image, labels, legend: many).picture.width < 2000)
  }

  @Test func emptyLabelsStillShowTheImage() throws {
    let (image, labels) = try patient()
    labels.mutableBase.initializeMemory(as: UInt8.self, repeating: 0, count: labels.geometry.voxelCount)
    let picture = try sheet(image, labels) { $0.title = "Nothing found" }.picture
    #expect(picture.width >= 720)
  }

  @Test func refusesWhatDoesNotFit() throws {
    let (image, labels) = try patient()
    func kind(_ image: Volume, _ labels: Volume, _ change: (inout OverlaySheet.Options) -> Void = { _ in })
      -> MedDINOError.Kind?
    {
      do {
        _ = try sheet(image, labels, change)
        return nil
      } catch { return (error as? MedDINOError)?.kind }
    }
    #expect(kind(image, labels) == nil)
    #expect(kind(image, try patient([24, 20, 8]).labels) == .shape)
    #expect(kind(image, try restored(labels, [0, 1, 2], [true, false, false])) == .shape)
    #expect(kind(image, labels) { $0.window = (40, 0) } == .invalid)
    #expect(kind(image, labels) { $0.window = (.nan, 400) } == .invalid)
    #expect(kind(image, labels) { $0.maximumSlices = 0 } == .invalid)
    #expect(kind(image, labels) { $0.sliceSize = Int.max } == .invalid)
    for change: (inout Geometry) -> Void in [
      { $0.spacing[0] = 0 }, { $0.spacing[1] = .nan }, { $0.direction[0] = .infinity }, { $0.dims = [1, 2] },
      { $0.origin = [] },
    ] {
      var broken = image
      change(&broken.geometry)
      #expect(kind(broken, labels) == .invalid)
    }
    // A float image used as labels: fractions are no labels.
    let wrong = try Volume(allocating: .float32, geometry: image.geometry, in: budget)
    wrong.mutableBase.initializeMemory(as: Float.self, repeating: 0.5, count: image.geometry.voxelCount)
    #expect(kind(image, wrong) == .invalid)
    wrong.mutableBase.initializeMemory(as: Float.self, repeating: .nan, count: image.geometry.voxelCount)
    #expect(kind(image, wrong) == .invalid)
    #expect(kind(wrong, labels) == nil)
  }

  @Test func extremeShapesAreDrawn() throws {
    for size in [[1, 1, 1], [1, 300, 1], [300, 1, 2], [2, 2, 60]] {
      let (image, labels) = try patient(size)
      #expect(try sheet(image, labels).picture.height > 0)
    }
  }

  @Test func eachFailedAllocationIsAnErrorAndNothingLeaks() throws {
    let (image, labels) = try patient()
    try withTemporaryFolder { folder in
      let counting = MemoryBudget()
      try OverlaySheet.write(image: image, labels: labels, legend: [], to: folder + "/s.png", in: counting)
      for index in 0..<counting.allocationCount {
        let failing = MemoryBudget()
        failing.failAllocation(index)
        #expect(throws: MedDINOError.self) {
          try OverlaySheet.write(image: image, labels: labels, legend: [], to: folder + "/f.png", in: failing)
        }
        #expect(failing.bytesInUse == 0)
      }
      #expect(try folderEntries(folder) == ["s.png"])
    }
  }

  @Test func cancels() throws {
    let (image, labels) = try patient()
    let cancellation = Cancellation()
    cancellation.request()
    let error = #expect(throws: MedDINOError.self) {
      try OverlaySheet.write(
        image: image, labels: labels, legend: [], to: "/tmp/never.png", in: budget,
        control: RunControl(cancellation: cancellation))
    }
    #expect(error?.kind == .cancelled)
    #expect(FileKind.of("/tmp/never.png") == .missing)
  }
}
