public import Imaging
public import Platform

/// One line of a sheet's legend.
public typealias LegendEntry = (value: Int, name: String, rgba: Colour)

/// A contact sheet of axial slices with label contours, slice positions and a legend with volumes, as one PNG.
///
/// Shown as radiologists look at it (the patient's right on the left, anterior on top, from superior to inferior)
/// whatever the orientation of the file, and with true proportions whatever the spacing.
public enum OverlaySheet {
  public struct Options: Sendable {
    public var title = ""
    /// Grey window in the image's units (HU for CT): the middle and the whole width.
    public var window: (level: Double, width: Double) = (40, 400)
    /// At most so many slices are shown, evenly spaced, among the slices with labels when there are any.
    public var maximumSlices = 12
    /// Longer side of one slice in pixels.
    public var sliceSize = 340
    /// How much of the label colour covers the inside, 0 to 255.
    public var fill: UInt8 = 60
    public init() {}

    /// Throws: `.invalid`.
    func check() throws(MedDINOError) {
      guard window.width > 0, window.width.isFinite, window.level.isFinite else {
        throw .invalid("window is \(window), expected a finite level and a positive width")
      }
      guard (1...100).contains(maximumSlices), (16...2048).contains(sliceSize) else {
        throw .invalid("maximumSlices is \(maximumSlices) and sliceSize \(sliceSize), expected 1 to 100 and 16 to 2048")
      }
    }
  }

  /// Writes the sheet.
  ///
  /// `labels` lies on the image's grid (own strides, any integer type). Labels that `legend` does not name are shown
  /// with a palette colour as "label <value>". Units: volumes in ml from voxel counts and spacing.
  /// Throws: `.shape` when the grids differ, `.invalid` for geometry, options or label values, `.outOfMemory`, `.io`,
  /// `.cancelled`.
  public static func write(
    image: Volume, labels: Volume, legend: [LegendEntry], options: Options = Options(), to path: String,
    in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) {
    let axes = try commonAxes(image, labels)
    try options.check()
    let renderer = try SliceRenderer(image.geometry, axes: axes, options: options, in: budget)
    let census = try LabelCensus(labels, axes: axes, plane: renderer.plane, control: control)
    let all = Array(0..<image.geometry.dims[axes.sliceAxis])
    let shown = evenlySpaced(census.slices.isEmpty ? all : census.slices, count: options.maximumSlices)
    let entries = legendEntries(legend, census)
    let lines = legendLines(entries, census, image.geometry)
    let layout = SheetLayout(
      slices: shown.count, sliceWidth: renderer.width, sliceHeight: renderer.height,
      legend: lines.map { ($0.name, $0.detail) },
      title: options.title)
    let canvas = try Canvas(width: layout.width, height: layout.height, background: SheetLayout.background, in: budget)
    layout.drawFrame(on: canvas, title: options.title, subtitle: subtitle(image.geometry, axes, options), legend: lines)
    renderer.colours = Dictionary(entries.map { ($0.value, $0.rgba) }, uniquingKeysWith: { first, _ in first })
    for (place, slice) in shown.enumerated() {
      try control?.update(Double(place) / Double(shown.count))
      let corner = layout.corner(ofSlice: place)
      renderer.draw(image, labels, slice: slice, on: canvas, x: corner.x, y: corner.y)
      let z = DecimalText.fixed(axes.position(ofSlice: slice, image.geometry), digits: 1)
      layout.drawCaption("z \(z) mm", slice: place, on: canvas)
    }
    try canvas.writePNG(to: path, in: budget)
  }

  /// How both lie in axial pictures. Throws: `.shape` when the grids differ, `.invalid`.
  static func commonAxes(_ image: Volume, _ labels: Volume) throws(MedDINOError) -> DisplayAxes {
    let axes = try DisplayAxes(image.geometry)
    guard image.geometry.dims == labels.geometry.dims, axes == (try DisplayAxes(labels.geometry)) else {
      throw .shape("labels is \(labels.geometry.dims), expected the image's grid \(image.geometry.dims) and orientation")
    }
    return axes
  }

  /// `count` members of the list at equal steps, or all when there are fewer.
  static func evenlySpaced(_ list: [Int], count: Int) -> [Int] {
    guard list.count > count else { return list }
    return (0..<count).map { list[min(list.count - 1, (2 * $0 + 1) * list.count / (2 * count))] }
  }

  /// The caller's entries in their order (only those present when there are many), then the labels they do not name.
  static func legendEntries(_ legend: [LegendEntry], _ census: LabelCensus) -> [LegendEntry] {
    var named = Set<Int>()
    var entries: [LegendEntry] = []
    for entry in legend where entry.value > 0 && named.insert(entry.value).inserted {
      if legend.count <= 24 || census.labels[entry.value] != nil { entries.append(entry) }
    }
    for value in census.labels.keys.sorted() where !named.contains(value) {
      entries.append((value, "label \(value)", LabelPalette.colour(of: value)))
    }
    return entries
  }

  private static func legendLines(
    _ entries: [LegendEntry], _ census: LabelCensus, _ geometry: Geometry
  ) -> [SheetLayout.LegendLine] {
    let listed = entries.prefix(SheetLayout.maximumLegendLines)
    var lines = listed.map { entry in
      let count = census.labels[entry.value]?.voxels ?? 0
      let millilitres = Double(count) * geometry.voxelMillilitres
      let detail = count == 0 ? "absent" : DecimalText.fixed(millilitres, digits: millilitres < 10 ? 1 : 0) + " ml"
      return SheetLayout.LegendLine(name: entry.name, detail: detail, colour: entry.rgba, present: count > 0)
    }
    if entries.count > listed.count {
      lines.append(
        .init(name: "and \(entries.count - listed.count) more", detail: "", colour: Colour(0, 0, 0, 0), present: false))
    }
    return lines
  }

  private static func subtitle(_ geometry: Geometry, _ axes: DisplayAxes, _ options: Options) -> String {
    let order = [axes.columnAxis, axes.rowAxis, axes.sliceAxis]
    let size = order.map { String(geometry.dims[$0]) }.joined(separator: " x ")
    let spacing = order.map { DecimalText.fixed(geometry.spacing[$0], digits: 2) }.joined(separator: " x ")
    let level = DecimalText.fixed(options.window.level, digits: 0)
    return "\(size) voxels   \(spacing) mm   window \(level) / \(DecimalText.fixed(options.window.width, digits: 0))"
  }
}
