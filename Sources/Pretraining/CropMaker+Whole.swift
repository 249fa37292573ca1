internal import Imaging
internal import Platform
internal import Tensors

extension CropMaker {
  /// An image [channels, rows, columns] at another size: bicubic, antialiased. Throws: `.outOfMemory`.
  static func resized(_ image: Tensor, rows: Int, columns: Int, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    if image.shape[1] == rows, image.shape[2] == columns { return image }
    let resizer = AntialiasedResizer(rows: image.shape[1], columns: image.shape[2], toRows: rows, toColumns: columns, filter: .cubic)
    let result = try Tensor([image.shape[0], rows, columns], in: budget, "crop")
    let scratch = try Tensor([resizer.scratchCount], in: budget, "resizing")
    guard let from = image.floats.baseAddress, let to = result.floats.baseAddress, let room = scratch.floats.baseAddress else {
      return result
    }
    for channel in 0..<image.shape[0] {
      resizer.resize(from + channel * image.shape[1] * image.shape[2], into: to + channel * rows * columns, scratch: room)
    }
    withExtendedLifetime((image, scratch)) {}
    return result
  }

  /// A whole slice as the networks see it, without changes: normalised, resized, [1, channels, rows, columns].
  /// Throws: as `batch`.
  func whole(_ slice: PretrainingSlice, rows: Int, columns: Int, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard slice.channels == channels || slice.channels == 1 else {
      throw .shape("a slice has \(slice.channels) channels, expected 1 or the encoder's \(channels)")
    }
    let prepared = try PreparedSlice(slice, pixels, channels: channels, in: budget)
    let image = try Self.resized(prepared.image, rows: rows, columns: columns, in: budget)
    prepared.complete(image)
    let result = try Tensor([1, channels, rows, columns], in: budget, "slice")
    store(image, at: 0, in: result)
    return result
  }
}
