internal import Platform
internal import Tensors

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
