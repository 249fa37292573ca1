extension CPUDevice {
  public func scatterAddPatches(_ gradient: Tensor, size: Int, to images: Tensor) {
    let (batch, channels, height, width) = (images.shape[0], images.shape[1], images.shape[2], images.shape[3])
    let (rows, columns) = (height / size, width / size)
    let length = channels * size * size
    let (source, target) = (gradient.floats, images.floats)
    pool.forEach(batch * rows) { index in
      let (image, row) = (index / rows, index % rows)
      for column in 0..<columns {
        let patch = ((image * rows + row) * columns + column) * length
        for channel in 0..<channels {
          for y in 0..<size {
            let line = ((image * channels + channel) * height + row * size + y) * width + column * size
            for x in 0..<size { target[line + x] += source[patch + (channel * size + y) * size + x] }
          }
        }
      }
    }
  }
}
