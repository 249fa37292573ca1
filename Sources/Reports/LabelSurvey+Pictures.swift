public import Imaging
public import Platform

extension LabelSurvey {
  /// Thinner pictures than this show nothing. Units: pixels.
  private static let thinnest = 12

  /// The image with the labels' contours: axial slices as `OverlaySheet` chooses them, then the coronal and the sagittal slice that hold
  /// most of the labels, all with true proportions.
  ///
  /// Views along an axis of one voxel, and coronal and sagittal ones of a few pixels, are left out. `image` lies on the labels' grid; labels
  /// that `legend` does not name are called "label <value>". The title of `options` is not used.
  /// Throws: `.shape` when the grids differ, `.invalid`, `.outOfMemory`, `.cancelled`.
  public func pictures(
    of image: Volume, legend: [LegendEntry], options: OverlaySheet.Options = OverlaySheet.Options(), in budget: MemoryBudget,
    control: RunControl? = nil
  ) throws(MedDINOError) -> [PagePicture] {
    let axes = try OverlaySheet.commonAxes(image, volume)
    try options.check()
    let entries = OverlaySheet.legendEntries(legend, census)
    let all = Array(0..<image.geometry.dims[axes.sliceAxis])
    let slices = OverlaySheet.evenlySpaced(census.slices.isEmpty ? all : census.slices, count: options.maximumSlices)
    var result: [PagePicture] = []
    for plane in Self.planes(image.geometry, axes) {
      let view = try DisplayAxes(image.geometry, plane: plane)
      let renderer = try SliceRenderer(image.geometry, axes: view, options: options, in: budget)
      if plane != .axial, min(renderer.width, renderer.height) < Self.thinnest { continue }
      renderer.colours = Dictionary(entries.map { ($0.value, $0.rgba) }, uniquingKeysWith: { first, _ in first })
      // Columns and rows of axial pictures are the slices of the other two.
      let chosen =
        switch plane {
        case .axial: slices
        case .coronal: [LabelCensus.fullest(census.rows)]
        case .sagittal: [LabelCensus.fullest(census.columns)]
        }
      for slice in chosen {
        try control?.check()
        result.append(try picture(of: image, slice, view, renderer, entries, in: budget))
      }
    }
    return result
  }

  /// The planes whose pictures have two axes; the axial one when there is none.
  private static func planes(_ geometry: Geometry, _ axes: DisplayAxes) -> [DisplayAxes.Plane] {
    let extents = [axes.columnAxis, axes.rowAxis, axes.sliceAxis].map { geometry.dims[$0] }
    let flat = DisplayAxes.Plane.allCases.filter { plane in
      plane.patientAxes.prefix(2).allSatisfy { extents[$0] > 1 }
    }
    return flat.isEmpty ? [.axial] : flat
  }

  private func picture(
    of image: Volume, _ slice: Int, _ view: DisplayAxes, _ renderer: SliceRenderer, _ entries: [LegendEntry], in budget: MemoryBudget
  ) throws(MedDINOError) -> PagePicture {
    let canvas = try Canvas(width: renderer.width, height: renderer.height, background: SheetLayout.background, in: budget)
    renderer.draw(image, volume, slice: slice, on: canvas, x: 0, y: 0)
    SheetLayout.drawEdges(view.plane, x: 0, y: 0, width: renderer.width, height: renderer.height, on: canvas)
    let (name, from) =
      switch view.plane {
      case .axial: ("z", "superior")
      case .coronal: ("y", "anterior")
      case .sagittal: ("x", "the right")
      }
    let position = "\(name) = \(HTMLText.number(view.position(ofSlice: slice, image.geometry), 1)) mm"
    let plane = view.plane.rawValue.prefix(1).uppercased() + view.plane.rawValue.dropFirst()
    let count = image.geometry.dims[view.sliceAxis]
    return PagePicture(
      title: "", caption: "\(plane), \(position), slice \(slice + 1) of \(count) from \(from)",
      alternative: "\(plane) slice at \(position), " + contents(slice, view, renderer, entries), png: try canvas.pngBytes(in: budget))
  }

  /// "with contours of liver and spleen".
  private func contents(_ slice: Int, _ view: DisplayAxes, _ renderer: SliceRenderer, _ entries: [LegendEntry]) -> String {
    guard let start = renderer.plane.baseAddress else { return "" }
    view.read(volume, slice: slice, into: start)
    let values = Set(renderer.plane)
    let names = entries.filter { values.contains(Float($0.value)) }.map { $0.name }
    return names.isEmpty ? "without a label" : "with contours of " + SegmentationPage.listed(names)
  }
}
