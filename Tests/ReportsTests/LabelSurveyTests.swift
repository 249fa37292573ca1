import Imaging
import Platform
import Tensors
import Testing

@testable import Reports

struct LabelSurveyTests {
  let budget = MemoryBudget()
  let legend: [LegendEntry] = [
    (1, "liver", Colour(255, 0, 0, 255)), (2, "spleen", Colour(0, 255, 0, 255)), (3, "gallbladder", Colour(0, 0, 255, 255)),
  ]

  private typealias Box = (value: UInt8, x: Range<Int>, y: Range<Int>, z: Range<Int>)

  /// Boxes of labels (x, y, z half-open) on a grid whose axes run to left, posterior and superior.
  private func labels(
    _ boxes: [Box], dims: [Int] = [20, 16, 10], spacing: [Double] = [2, 3, 5]
  ) throws -> Volume {
    let geometry = Geometry(dims: dims, spacing: spacing, origin: [-10, 20, 100])
    let result = try Volume(allocating: .uint8, geometry: geometry, in: budget)
    let voxels = result.mutableBase.bindMemory(to: UInt8.self, capacity: geometry.voxelCount)
    for at in 0..<geometry.voxelCount {
      let (x, y, z) = (at % dims[0], at / dims[0] % dims[1], at / dims[0] / dims[1])
      voxels[at] = boxes.last { $0.x.contains(x) && $0.y.contains(y) && $0.z.contains(z) }?.value ?? 0
    }
    return result
  }

  private func image(like labels: Volume) throws -> Volume {
    let geometry = labels.geometry
    let result = try Volume(allocating: .int16, geometry: geometry, in: budget)
    let voxels = result.mutableBase.bindMemory(to: Int16.self, capacity: geometry.voxelCount)
    for at in 0..<geometry.voxelCount { voxels[at] = Int16(at % 37 * 20 - 300) }
    return result
  }

  private func survey(_ labels: Volume, in other: MemoryBudget? = nil, control: RunControl? = nil) throws -> LabelSurvey {
    try LabelSurvey(labels, pool: ThreadPool(threads: 2), in: other ?? budget, control: control)
  }

  private func pictures(_ labels: Volume, _ image: Volume? = nil, size: Int = 80, slices: Int = 6) throws -> [PagePicture] {
    var options = OverlaySheet.Options()
    options.sliceSize = size
    options.maximumSlices = slices
    return try survey(labels).pictures(of: image ?? self.image(like: labels), legend: legend, options: options, in: budget)
  }

  private func organs() throws -> Volume {
    try labels([
      (1, 3..<7, 2..<6, 4..<8), (1, 15..<16, 12..<13, 9..<10), (2, 0..<4, 8..<16, 0..<3), (3, 10..<11, 7..<8, 5..<6),
    ])
  }

  private func kind(_ body: () throws -> Void) -> MedDINOError.Kind? {
    do { try body() } catch { return (error as? MedDINOError)?.kind }
    return nil
  }

  @Test func describesEveryLabel() throws {
    let found = try survey(organs()).labels
    #expect(
      found == [
        .init(
          value: 1, voxels: 65, millilitres: 65 * 0.03, extents: [26, 33, 30], slices: 5,
          box: VoxelBox(lower: [3, 2, 4], upper: [16, 13, 10]),
          borders: [.superior], parts: 2, largestPart: 64),
        .init(
          value: 2, voxels: 96, millilitres: 96 * 0.03, extents: [8, 24, 15], slices: 3,
          box: VoxelBox(lower: [0, 8, 0], upper: [4, 16, 3]),
          borders: [.right, .posterior, .inferior], parts: 1, largestPart: 96),
        .init(
          value: 3, voxels: 1, millilitres: 0.03, extents: [2, 3, 5], slices: 1, box: VoxelBox(lower: [10, 7, 5], upper: [11, 8, 6]),
          borders: [], parts: 1, largestPart: 1),
      ])
  }

  /// Only the box follows the axes of the file; its voxels are the same.
  @Test func storageOrientationDoesNotShow() throws {
    let labels = try organs()
    let image = try image(like: labels)
    let expected = try (survey: survey(labels).labels, pictures: pictures(labels, image))
    #expect(expected.pictures.count == 8)
    for orientation in AxisOrientation.all {
      let turned = try labels.reoriented(to: orientation)
      var found = try survey(turned).labels
      for (index, label) in found.enumerated() {
        #expect(try survey(turned.cropped(to: label.box)).labels.first { $0.value == label.value }?.voxels == label.voxels)
        found[index].box = expected.survey[index].box
      }
      #expect(found == expected.survey, "\(orientation)")
      let drawn = try pictures(turned, image.reoriented(to: orientation))
      #expect(drawn.map(\.png) == expected.pictures.map(\.png), "\(orientation)")
      #expect(drawn.map(\.caption) == expected.pictures.map(\.caption), "\(orientation)")
    }
  }

  @Test func threeViewsGoThroughTheLabels() throws {
    let found = try pictures(organs(), slices: 2)
    #expect(
      found.map(\.caption) == [
        "Axial, z = 130.0 mm, slice 4 of 10 from superior", "Axial, z = 105.0 mm, slice 9 of 10 from superior",
        "Coronal, y = 32.0 mm, slice 5 of 16 from anterior", "Sagittal, x = -4.0 mm, slice 4 of 20 from the right",
      ])
    #expect(found[0].alternative == "Axial slice at z = 130.0 mm, with contours of liver")
    #expect(found[3].alternative == "Sagittal slice at x = -4.0 mm, with contours of liver and spleen")
    // 40 mm across, 48 mm from front to back, 50 mm up.
    for (picture, expected) in zip(found, [(67, 80), (67, 80), (64, 80), (77, 80)]) {
      let decoded = try DecodedPNG(picture.png)
      #expect((decoded.width, decoded.height) == expected)
    }
  }

  /// A block at the right, in front and above shows where each view has it.
  @Test func sidesOfThePatient() throws {
    let found = try pictures(labels([(1, 0..<8, 0..<6, 6..<10)]), slices: 1)
    for picture in found {
      let decoded = try DecodedPNG(picture.png)
      var (sum, count) = (SIMD2(0, 0), 0)
      for y in 0..<decoded.height {
        for x in 0..<decoded.width where decoded.colour(x, y) == Colour(255, 0, 0, 255) {
          sum &+= SIMD2(x, y)
          count += 1
        }
      }
      try #require(count > 0, "\(picture.caption)")
      #expect(sum.x / count < decoded.width / 2 && sum.y / count < decoded.height / 2, "\(picture.caption)")
    }
  }

  @Test func anEmptyLabelMapShowsTheImage() throws {
    let empty = try labels([])
    #expect(try survey(empty).labels.isEmpty)
    let found = try pictures(empty)
    #expect(found.count == 8 && found.allSatisfy { $0.alternative.hasSuffix("without a label") })
    #expect(found[6].caption == "Coronal, y = 44.0 mm, slice 9 of 16 from anterior")
  }

  @Test func oneSliceHasOneView() throws {
    var slice = try labels([(1, 2..<5, 0..<4, 0..<1)], dims: [20, 16, 1])
    let spatial = try survey(slice).labels[0]
    #expect(spatial.borders == [.anterior] && spatial.extents == [6, 12, 5] && spatial.slices == 1)
    #expect(try pictures(slice).map(\.caption) == ["Axial, z = 100.0 mm, slice 1 of 1 from superior"])
    slice.isPlane = true
    let flat = try survey(slice).labels[0]
    #expect(flat.millilitres.isNaN && flat.extents[2].isNaN && flat.extents[0] == 6 && flat.voxels == 12)
    let voxel = try labels([(1, 0..<1, 0..<1, 0..<1)], dims: [1, 1, 1])
    #expect(try survey(voxel).labels[0].borders.isEmpty)
    #expect(try pictures(voxel).count == 1)
  }

  @Test func oddSpacingsAreShownOrRefused() throws {
    let large = try labels([(1, 1..<3, 1..<3, 1..<3)], dims: [6, 6, 6], spacing: [1000, 1000, 5000])
    #expect(try survey(large).labels[0].millilitres == 8 * 5e6)
    #expect(try pictures(large).count == 4)
    // A coronal picture of 1 × 80 pixels would show nothing.
    let tall = try labels([(1, 1..<3, 1..<3, 1..<3)], dims: [10, 10, 6], spacing: [0.1, 0.1, 100])
    #expect(try pictures(tall).allSatisfy { $0.caption.hasPrefix("Axial") })
    #expect(kind { _ = try survey(labels([], spacing: [1, 1, 1e7])) } == .invalid)
  }

  @Test func refusesWhatDoesNotFit() throws {
    let labels = try organs()
    var fractions = try Volume(allocating: .float32, geometry: labels.geometry, in: budget)
    fractions.mutableBase.initializeMemory(as: Float.self, repeating: 1, count: labels.geometry.voxelCount)
    #expect(try survey(fractions).labels[0].voxels == 3200)
    fractions.intercept = 0.5
    #expect(kind { _ = try survey(fractions) } == .invalid)
    let other = try image(like: self.labels([], dims: [20, 16, 9]))
    #expect(kind { _ = try pictures(labels, other) } == .shape)
    #expect(kind { _ = try pictures(labels, size: 1) } == .invalid)
    let cancellation = Cancellation()
    cancellation.request()
    let control = RunControl(cancellation: cancellation)
    #expect(kind { _ = try survey(labels, control: control) } == .cancelled)
  }

  @Test func eachFailedAllocationIsAnError() throws {
    let labels = try organs()
    let image = try image(like: labels)
    var options = OverlaySheet.Options()
    options.sliceSize = 40
    options.maximumSlices = 1
    func all(_ budget: MemoryBudget) throws {
      _ = try survey(labels, in: budget).pictures(of: image, legend: legend, options: options, in: budget)
    }
    let counting = MemoryBudget()
    try all(counting)
    for index in 0..<counting.allocationCount {
      let failing = MemoryBudget()
      failing.failAllocation(index)
      #expect(throws: MedDINOError.self) { try all(failing) }
      #expect(failing.bytesInUse == 0)
    }
  }

  @Test func theGreyWindowSuitsTheImage() throws {
    let geometry = Geometry(dims: [100, 1, 1])
    func window(_ isCT: Bool, _ value: (Int) -> Float) throws -> [Double] {
      let volume = try Volume(allocating: .float32, geometry: geometry, in: budget)
      for at in 0..<100 { volume.mutableBase.storeBytes(of: value(at), toByteOffset: 4 * at, as: Float.self) }
      let found = GreyWindow.suitable(for: volume, isCT: isCT)
      return [found.level, found.width]
    }
    #expect(try window(true) { Float($0 * 20 - 1000) } == [40, 400])
    #expect(try window(false) { Float($0 * 20 - 1000) } != [40, 400])
    // CT without its rescale intercept, and normalised already: by its own range.
    for (range, offset) in [(2000, 0), (4, -2)] {
      let found = try window(true) { Float(offset) + Float($0 * range) / 99 }
      #expect(abs(found[0] - Double(offset) - Double(range) / 2) < 0.05 * Double(range))
      #expect(found[1] > 0.85 * Double(range) && found[1] <= Double(range))
    }
    #expect(try window(true) { $0 % 2 == 0 ? .nan : 7 } == [7, 1])
    #expect(try window(true) { _ in .nan } == [40, 400])
  }
}
