internal import Imaging
public import Platform
public import Tensors

/// Reads a box of a slice; what lies outside the slice is 0 in the images and -1 in the labels.
///
/// Source: pipeline specification 6.
public enum PatchReader {
  /// Shapes: `image` float32 [channels, rows, columns] of the box.
  /// Throws: `.shape` for another image; what the case throws.
  public static func readImage(
    _ box: PatchBox, slice: Int, of source: any TrainingCase, into image: Tensor
  ) throws(MedDINOError) {
    let planes = try ImagePlanes(image)
    guard image.shape.extents == [source.shape[0], box.rows.count, box.columns.count] else {
      throw .shape("image is \(image.shape), expected [\(source.shape[0]), \(box.rows.count), \(box.columns.count)]")
    }
    let inside = Self.inside(box, source)
    for channel in 0..<planes.channels {
      let plane = planes.plane(channel)
      if let inside {
        try source.readImage(channel: channel, slice: slice, rows: inside.rows, columns: inside.columns, into: plane)
      }
      spread(plane, inside, in: box, padding: 0)
    }
    withExtendedLifetime(image) {}
  }

  /// Shapes: `labels` int16 [1, rows, columns] of the box.
  /// Throws: as `readImage`.
  public static func readLabels(
    _ box: PatchBox, slice: Int, of source: any TrainingCase, into labels: Tensor
  ) throws(MedDINOError) {
    let plane = try LabelPlane(labels)
    guard plane.rows == box.rows.count, plane.columns == box.columns.count else {
      throw .shape("labels are \(labels.shape), expected [1, \(box.rows.count), \(box.columns.count)]")
    }
    let inside = Self.inside(box, source)
    if let inside { try source.readLabels(slice: slice, rows: inside.rows, columns: inside.columns, into: plane.values) }
    spread(plane.values, inside, in: box, padding: -1)
    withExtendedLifetime(labels) {}
  }

  /// nil when nothing of the box is in the slice.
  private static func inside(_ box: PatchBox, _ source: any TrainingCase) -> PatchBox? {
    let rows = box.rows.clamped(to: 0..<source.shape[2])
    let columns = box.columns.clamped(to: 0..<source.shape[3])
    return rows.isEmpty || columns.isEmpty ? nil : PatchBox(rows: rows, columns: columns)
  }

  /// Moves the dense rows of the inner part, which lie at the start of the plane, to their places and pads around them. From the last
  /// row upwards: a row's place never lies before its source.
  private static func spread<Value>(_ plane: UnsafeMutablePointer<Value>, _ inside: PatchBox?, in box: PatchBox, padding: Value) {
    let width = box.columns.count
    guard let inside else { return plane.update(repeating: padding, count: box.rows.count * width) }
    let top = inside.rows.lowerBound - box.rows.lowerBound
    let left = inside.columns.lowerBound - box.columns.lowerBound
    let (rows, columns) = (inside.rows.count, inside.columns.count)
    if rows == box.rows.count, columns == width { return }
    for row in (0..<rows).reversed() {
      let line = plane + (top + row) * width
      (line + left).update(from: plane + row * columns, count: columns)
      line.update(repeating: padding, count: left)
      (line + left + columns).update(repeating: padding, count: width - left - columns)
    }
    plane.update(repeating: padding, count: top * width)
    (plane + (top + rows) * width).update(repeating: padding, count: (box.rows.count - top - rows) * width)
  }
}
