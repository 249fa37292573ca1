package import Platform
package import Tensors

/// The planes of an image that is augmented in place. Holds its tensor, so the pointers stay good.
package struct ImagePlanes {
  package let image: Tensor
  package let base: UnsafeMutablePointer<Float>
  package let channels: Int
  package let rows: Int
  package let columns: Int
  package var count: Int { rows * columns }

  /// Throws: `.shape` unless float32 [channels, rows, columns] with at least one element.
  package init(_ image: Tensor) throws(MedDINOError) {
    guard image.shape.rank == 3, image.dtype == .float32, image.count > 0, let base = image.floats.baseAddress else {
      throw .shape("image is \(image.dtype) \(image.shape), expected float32 [channels, rows, columns]")
    }
    self.image = image
    self.base = base
    channels = image.shape[0]
    rows = image.shape[1]
    columns = image.shape[2]
  }

  package func plane(_ channel: Int) -> UnsafeMutablePointer<Float> { base + channel * count }

  /// Throws: `.invalid` unless there is one parameter for each channel.
  package func check(parameters: Int, of transform: String) throws(MedDINOError) {
    guard parameters == channels else {
      throw .invalid("\(transform) has parameters for \(parameters) channels, expected \(channels)")
    }
  }
}
