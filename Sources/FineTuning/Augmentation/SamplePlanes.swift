internal import Platform
internal import Tensors

/// The planes of an image that is augmented in place. Holds its tensor, so the pointers stay good.
struct ImagePlanes {
  let image: Tensor
  let base: UnsafeMutablePointer<Float>
  let channels: Int
  let rows: Int
  let columns: Int
  var count: Int { rows * columns }

  /// Throws: `.shape` unless float32 [channels, rows, columns] with at least one element.
  init(_ image: Tensor) throws(MedDINOError) {
    guard image.shape.rank == 3, image.dtype == .float32, image.count > 0, let base = image.floats.baseAddress else {
      throw .shape("image is \(image.dtype) \(image.shape), expected float32 [channels, rows, columns]")
    }
    self.image = image
    self.base = base
    channels = image.shape[0]
    rows = image.shape[1]
    columns = image.shape[2]
  }

  func plane(_ channel: Int) -> UnsafeMutablePointer<Float> { base + channel * count }

  /// Throws: `.invalid` unless there is one parameter for each channel.
  func check(parameters: Int, of transform: String) throws(MedDINOError) {
    guard parameters == channels else {
      throw .invalid("\(transform) has parameters for \(parameters) channels, expected \(channels)")
    }
  }
}

/// The label plane of a sample.
struct LabelPlane {
  let labels: Tensor
  let values: UnsafeMutablePointer<Int16>
  let rows: Int
  let columns: Int
  var count: Int { rows * columns }

  /// Throws: `.shape` unless int16 [1, rows, columns] with at least one element.
  init(_ labels: Tensor) throws(MedDINOError) {
    guard labels.shape.rank == 3, labels.shape[0] == 1, labels.dtype == .int16, labels.count > 0,
      let values = labels.elements(Int16.self).baseAddress
    else { throw .shape("labels are \(labels.dtype) \(labels.shape), expected int16 [1, rows, columns]") }
    self.labels = labels
    self.values = values
    rows = labels.shape[1]
    columns = labels.shape[2]
  }
}
