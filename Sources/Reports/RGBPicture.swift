public import Platform
public import Tensors

/// Three planes as a colour picture: the first three principal components of patch features, for example.
public enum RGBPicture {
  /// Writes the planes as a PNG, each value as a square of `pixelSize` pixels.
  ///
  /// Shapes: `planes` is float32 [3, rows, columns]; 0 is dark and 1 is bright, values outside and NaN are clamped.
  /// Throws: `.shape`, `.invalid` when the picture has a side outside 1...65535, `.outOfMemory`, `.io`.
  public static func write(
    _ planes: Tensor, pixelSize: Int = 1, to path: String, in budget: MemoryBudget
  ) throws(MedDINOError) {
    guard planes.shape.rank == 3, planes.shape[0] == 3, planes.dtype == .float32 else {
      throw .shape("planes is \(planes.dtype) \(planes.shape), expected float32 [3, rows, columns]")
    }
    let (rows, columns) = (planes.shape[1], planes.shape[2])
    guard (1...1024).contains(pixelSize) else { throw .invalid("pixelSize is \(pixelSize), expected 1 to 1024") }
    let canvas = try Canvas(
      width: try Checked.product([columns, pixelSize], "picture width", kind: .invalid),
      height: try Checked.product([rows, pixelSize], "picture height", kind: .invalid), in: budget)
    let values = planes.floats
    func byte(_ plane: Int, _ at: Int) -> UInt8 {
      let value = values[plane * rows * columns + at]
      return value > 0 ? UInt8((min(value, 1) * 255).rounded()) : 0
    }
    for row in 0..<rows {
      for column in 0..<columns {
        let at = row * columns + column
        canvas.fill(
          x: column * pixelSize, y: row * pixelSize, width: pixelSize, height: pixelSize,
          Colour(byte(0, at), byte(1, at), byte(2, at), 255))
      }
    }
    try canvas.writePNG(to: path, in: budget)
  }
}
