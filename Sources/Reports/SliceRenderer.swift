internal import Imaging
internal import Platform

/// Draws one slice with its label contours, scaled to true proportions.
final class SliceRenderer {
  /// Size of a drawn slice in pixels.
  let width: Int
  let height: Int
  /// One slice of voxels, also lent to the label census.
  let plane: UnsafeMutableBufferPointer<Float>
  var colours: [Int: Colour] = [:]

  private let axes: DisplayAxes
  private let window: (level: Double, width: Double)
  private let fill: UInt8
  private let scaler: PlaneScaler
  private let buffers: [Buffer]
  private let grey: UnsafeMutablePointer<Float>
  private let labelled: UnsafeMutablePointer<Float>

  init(_ geometry: Geometry, axes: DisplayAxes, options: OverlaySheet.Options, in budget: MemoryBudget)
    throws(MedDINOError)
  {
    let (rows, columns) = (geometry.dims[axes.rowAxis], geometry.dims[axes.columnAxis])
    let across = Double(columns) * geometry.spacing[axes.columnAxis]
    let down = Double(rows) * geometry.spacing[axes.rowAxis]
    let scale = Double(options.sliceSize) / max(across, down)
    width = max(1, Int((across * scale).rounded()))
    height = max(1, Int((down * scale).rounded()))
    self.axes = axes
    window = options.window
    fill = options.fill
    scaler = try PlaneScaler(rows: rows, columns: columns, toRows: height, toColumns: width, in: budget)
    let voxels = try Checked.product([rows, columns, MemoryLayout<Float>.size], "picture slice")
    let pixels = width * height * MemoryLayout<Float>.size
    buffers = [
      try budget.allocate(voxels, "picture slice"), try budget.allocate(pixels, "picture slice"),
      try budget.allocate(pixels, "picture slice"),
    ]
    plane = UnsafeMutableBufferPointer(rebasing: buffers[0].elements(Float.self)[0..<rows * columns])
    grey = buffers[1].pointer.bindMemory(to: Float.self, capacity: width * height)
    labelled = buffers[2].pointer.bindMemory(to: Float.self, capacity: width * height)
  }

  func draw(_ image: Volume, _ labels: Volume, slice: Int, on canvas: Canvas, x: Int, y: Int) {
    guard let start = plane.baseAddress else { return }
    axes.read(image, slice: slice, into: start)
    scaler.scaleGrey(start, into: grey)
    axes.read(labels, slice: slice, into: start)
    scaler.scaleLabels(start, into: labelled)
    for row in 0..<height {
      for column in 0..<width {
        let at = row * width + column
        let level = greyLevel(grey[at])
        canvas.plot(x + column, y + row, Colour(level, level, level, 255))
        if labelled[at] > 0 { drawLabel(at, row, column, on: canvas, x: x, y: y) }
      }
    }
  }

  /// The labels of a slice at the size of its picture: height × width values.
  func scaleLabels(_ labels: Volume, slice: Int, into out: UnsafeMutablePointer<Float>) {
    guard let start = plane.baseAddress else { return }
    axes.read(labels, slice: slice, into: start)
    scaler.scaleLabels(start, into: out)
  }

  private func drawLabel(_ at: Int, _ row: Int, _ column: Int, on canvas: Canvas, x: Int, y: Int) {
    guard var colour = colours[Int(labelled[at])], colour.w > 0 else { return }
    let edge = Self.isContour(labelled, rows: height, columns: width, row: row, column: column)
    if !edge { colour.w = UInt8(Int(colour.w) * Int(fill) / 255) }
    canvas.plot(x + column, y + row, colour)
  }

  /// A labelled pixel with a different label above, below, left or right; the picture's edge is no difference.
  static func isContour(_ labels: UnsafePointer<Float>, rows: Int, columns: Int, row: Int, column: Int) -> Bool {
    let at = row * columns + column
    let label = labels[at]
    return label > 0
      && (row > 0 && labels[at - columns] != label || row < rows - 1 && labels[at + columns] != label
        || column > 0 && labels[at - 1] != label || column < columns - 1 && labels[at + 1] != label)
  }

  private func greyLevel(_ value: Float) -> UInt8 {
    let part = (Double(value) - window.level) / window.width + 0.5
    return part > 0 ? UInt8((min(part, 1) * 255).rounded()) : 0
  }
}
