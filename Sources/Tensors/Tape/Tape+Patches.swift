public import Platform

extension Tape {
  /// The patch embedding: patches of the images, then a linear layer. Surplus pixels at the bottom and right are dropped.
  ///
  /// Shapes: images [batch, channels, H, W], weight [dim, channels, size, size], bias [dim], result [batch · patches, dim].
  /// Backward: of the linear layer; an image gradient gathers the pixels of its patches, zero in dropped pixels.
  /// Throws: `.outOfMemory`. Source: model specification 1.2.
  public func patchEmbedding(
    _ images: Variable, weight: Variable, bias: Variable?, size: Int
  ) throws(MedDINOError) -> Variable {
    try linear(try patches(images, size: size), weight: weight, bias: bias)
  }

  /// [batch, channels, H, W] → [batch · patches, channels · size · size]. Only the images are kept.
  private func patches(_ images: Variable, size: Int) throws(MedDINOError) -> Variable {
    let (value, device, pool) = (images.value, device, pool)
    let (batch, channels) = (images.shape[0], images.shape[1])
    let count = batch * (images.shape[2] / size) * (images.shape[3] / size)
    let remake: Variable.Remake = { () throws(MedDINOError) in
      let output = try pool.tensor([count, channels * size * size], "patches")
      device.gatherPatches(value, size: size, into: output)
      return output
    }
    let output = try remake()
    let target = images.target
    let result = record(output, [images]) { (tape, gradient) throws(MedDINOError) in
      if let target { tape.device.scatterAddPatches(gradient, size: size, to: try tape.sum(target)) }
    }
    return Variable(output, slot: result.slot, remake: isRecording ? remake : nil)
  }

  /// One channel as several equal ones. Shapes: [batch, 1, H, W] → [batch, channels, H, W].
  /// Backward: the sum over channels. Throws: `.outOfMemory`. Source: model specification 3.2.
  public func repeatChannels(_ images: Variable, _ channels: Int) throws(MedDINOError) -> Variable {
    let (batch, plane) = (images.shape[0], images.shape[2] * images.shape[3])
    let output = try tensor([batch, channels, images.shape[2], images.shape[3]], "repeated channels")
    let from = images.value.reshaped([batch, plane])
    device.gatherImages(
      from, (0..<batch * channels).map { $0 / channels }, into: output.reshaped([batch * channels, plane]))
    let target = images.target
    return record(output, [images]) { (tape, gradient) throws(MedDINOError) in
      guard let target else { return }
      let (planes, sum) = (gradient.reshaped([batch * channels, plane]), try tape.sum(target).reshaped([batch, plane]))
      for index in 0..<batch * channels {
        let image = index / channels
        tape.device.add(planes.rows(index..<index + 1), factor: 1, to: sum.rows(image..<image + 1))
      }
    }
  }
}
