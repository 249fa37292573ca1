public import Imaging
public import Platform

/// Reference, prediction and their difference beside each other, in the axial slice where they differ most.
public struct ComparisonPicture: Sendable {
  public struct Options: Sendable {
    /// Grey window in the image's units (HU for CT): the middle and the whole width.
    public var window: (level: Double, width: Double) = (40, 400)
    /// Longer side of one slice in pixels.
    public var sliceSize = 420
    /// Colours of label values; others come from the palette.
    public var colours: [Int: Colour] = [:]
    public init() {}
  }
  /// How the difference is coloured.
  public static let marks: [(name: String, colour: Colour)] = [
    ("missed", Colour(64, 156, 255, 255)), ("false alarm", Colour(255, 138, 0, 255)), ("another label", Colour(255, 64, 200, 255)),
    ("outline of the reference", Colour(245, 245, 245, 255)),
  ]

  public let png: [UInt8]
  /// Patient z of the slice. Units: mm.
  public let z: Double
  /// Voxels of the slice with different labels.
  public let differing: Int

  /// `prediction` and `image` lie on the reference's grid and are taken voxel by voxel, wherever their own geometry puts them.
  /// `image`: nil leaves the background dark.
  /// Throws: `.shape` when the grids differ, `.invalid` for geometry or options, `.outOfMemory`, `.cancelled`.
  public init(
    reference: Volume, prediction: Volume, image: Volume? = nil, options: Options = Options(), in budget: MemoryBudget,
    control: RunControl? = nil
  ) throws(MedDINOError) {
    let geometry = reference.geometry
    for (name, volume) in [("prediction", prediction), ("image", image ?? reference)] where volume.geometry.dims != geometry.dims {
      throw .shape("the \(name) has dims \(volume.geometry.dims), the reference \(geometry.dims)")
    }
    guard (16...2048).contains(options.sliceSize) else { throw .invalid("sliceSize is \(options.sliceSize), expected 16 to 2048") }
    let axes = try DisplayAxes(geometry)
    var (prediction, background) = (prediction, image ?? reference)
    prediction.geometry = geometry
    background.geometry = geometry
    var sheet = OverlaySheet.Options()
    // Without an image all values lie below the window: black.
    sheet.window = image == nil ? (1e30, 1) : options.window
    sheet.sliceSize = options.sliceSize
    sheet.fill = image == nil ? 150 : 80
    let renderer = try SliceRenderer(geometry, axes: axes, options: sheet, in: budget)
    let census = try DifferenceCensus(reference, prediction, axes, budget, control)
    renderer.colours = Dictionary(uniqueKeysWithValues: census.labels.map { ($0, options.colours[$0] ?? LabelPalette.colour(of: $0)) })
    let (gap, head) = (10, 26)
    let canvas = try Canvas(
      width: 3 * renderer.width + 2 * gap, height: renderer.height + head, background: SheetLayout.background, in: budget)
    for (place, name) in ["Reference", "Prediction", "Difference"].enumerated() {
      canvas.text(name, x: place * (renderer.width + gap) + 4, y: 6, scale: 2, Colour(200, 205, 214, 255))
    }
    renderer.draw(background, reference, slice: census.slice, on: canvas, x: 0, y: head)
    renderer.draw(background, prediction, slice: census.slice, on: canvas, x: renderer.width + gap, y: head)
    let difference = try DifferenceOverlay(renderer, axes, census.slice, in: budget)
    difference.draw(background, reference, prediction, on: canvas, x: 2 * (renderer.width + gap), y: head)
    png = try canvas.pngBytes(in: budget)
    z = axes.position(ofSlice: census.slice, geometry)
    differing = census.differing
  }
}

/// Which slice differs most (or else holds most of the reference), and the labels that occur.
private struct DifferenceCensus {
  private(set) var slice = 0
  private(set) var differing = 0
  private(set) var labels: Set<Int> = []

  init(
    _ reference: Volume, _ prediction: Volume, _ axes: DisplayAxes, _ budget: MemoryBudget, _ control: RunControl?
  ) throws(MedDINOError) {
    let dims = reference.geometry.dims
    let count = dims[axes.rowAxis] * dims[axes.columnAxis]
    let buffer = try budget.allocate(try Checked.product([count, 2, MemoryLayout<Float>.size], "picture slices"), "picture slices")
    let first = buffer.pointer.bindMemory(to: Float.self, capacity: 2 * count)
    let second = first + count
    var best = (differing: -1, filled: -1)
    for index in 0..<dims[axes.sliceAxis] {
      try control?.check()
      axes.read(reference, slice: index, into: first)
      axes.read(prediction, slice: index, into: second)
      var found = (differing: 0, filled: 0)
      var last = (Float(0), Float(0))
      for at in 0..<count {
        if first[at] != second[at] { found.differing += 1 }
        if first[at] > 0 { found.filled += 1 }
        if first[at] != last.0 || second[at] != last.1 {
          last = (first[at], second[at])
          for value in [last.0, last.1] where value > 0 && value <= Float(LabelCensus.maximumValue) { labels.insert(Int(value)) }
          guard labels.count <= LabelCensus.maximumLabels else {
            throw .invalid("labels hold more than \(LabelCensus.maximumLabels) different values")
          }
        }
      }
      if found > best {
        best = found
        slice = index
      }
    }
    differing = best.differing
    withExtendedLifetime(buffer) {}
  }
}

/// The grey slice with the pixels whose labels differ.
private struct DifferenceOverlay {
  private let renderer: SliceRenderer
  private let axes: DisplayAxes
  private let slice: Int
  private let buffer: Buffer

  init(_ renderer: SliceRenderer, _ axes: DisplayAxes, _ slice: Int, in budget: MemoryBudget) throws(MedDINOError) {
    self.renderer = renderer
    self.axes = axes
    self.slice = slice
    let pixels = renderer.width * renderer.height
    buffer = try budget.allocate(2 * pixels * MemoryLayout<Float>.size, "difference picture")
  }

  func draw(_ image: Volume, _ reference: Volume, _ prediction: Volume, on canvas: Canvas, x: Int, y: Int) {
    let (width, height) = (renderer.width, renderer.height)
    let expected = buffer.pointer.bindMemory(to: Float.self, capacity: 2 * width * height)
    let predicted = expected + width * height
    let colours = renderer.colours
    renderer.colours = [:]
    renderer.draw(image, reference, slice: slice, on: canvas, x: x, y: y)
    renderer.colours = colours
    renderer.scaleLabels(reference, slice: slice, into: expected)
    renderer.scaleLabels(prediction, slice: slice, into: predicted)
    let marks = ComparisonPicture.marks.map(\.colour)
    for row in 0..<height {
      for column in 0..<width {
        let at = row * width + column
        let (a, b) = (expected[at], predicted[at])
        if a != b {
          var colour = b == 0 ? marks[0] : a == 0 ? marks[1] : marks[2]
          colour.w = 200
          canvas.plot(x + column, y + row, colour)
        }
        if SliceRenderer.isContour(expected, rows: height, columns: width, row: row, column: column) {
          canvas.plot(x + column, y + row, Colour(marks[3].x, marks[3].y, marks[3].z, a == b ? 230 : 120))
        }
      }
    }
    withExtendedLifetime(buffer) {}
  }
}
