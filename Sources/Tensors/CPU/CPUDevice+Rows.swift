internal import CKernels
internal import Glibc

/// Operations on rows of tokens. Blocks of rows are spread over the pool.
extension CPUDevice {
  private static let rowGrain = 64

  public func layerNorm(_ input: Tensor, weight: Tensor, bias: Tensor?, epsilon: Float, into output: Tensor) {
    let columns = weight.count
    let rows = input.count / columns
    let kernels = kernels
    pool.forBlocks(of: rows, grain: Self.rowGrain) { block in
      kernels.layer_norm(
        input.floats.baseAddress.map { $0 + block.lowerBound * columns }, Int64(columns),
        output.pointer + block.lowerBound * columns * output.dtype.byteCount, Int64(columns), output.dtype.kernelCode,
        weight.floats.baseAddress, bias?.floats.baseAddress, Int64(block.count), Int64(columns), epsilon)
    }
  }

  public func rmsNorm(_ input: Tensor, weight: Tensor, epsilon: Float, into output: Tensor) {
    let columns = weight.count
    let rows = input.count / columns
    let kernels = kernels
    pool.forBlocks(of: rows, grain: Self.rowGrain) { block in
      kernels.rms_norm(
        input.floats.baseAddress.map { $0 + block.lowerBound * columns }, Int64(columns),
        output.pointer + block.lowerBound * columns * output.dtype.byteCount, Int64(columns), output.dtype.kernelCode,
        weight.floats.baseAddress, Int64(block.count), Int64(columns), epsilon)
    }
  }

  public func swiGLU(gate: Tensor, up: Tensor, into output: Tensor) {
    let kernels = kernels
    pool.forBlocks(of: gate.count, grain: 1 << 16) { block in
      let at = block.lowerBound
      kernels.swiglu(
        gate.floats.baseAddress.map { $0 + at }, up.floats.baseAddress.map { $0 + at },
        output.floats.baseAddress.map { $0 + at }, Int64(block.count))
    }
  }

  public func gatherImages(_ input: Tensor, _ indices: [Int], into output: Tensor) {
    let bytes = input.byteCount / input.shape[0]
    pool.forEach(indices.count) { i in
      memcpy(output.pointer + i * bytes, input.pointer + indices[i] * bytes, bytes)
    }
  }

  public func scatterResidual(_ branch: Tensor, _ indices: [Int], scale: Float, gamma: Tensor?, onto output: Tensor) {
    let columns = branch.shape[branch.shape.rank - 1]
    let perImage = output.count / output.shape[0]
    let scaled = branch.floats
    let target = output.floats
    let kernels = kernels
    pool.forEach(indices.count) { i in
      guard let from = scaled.baseAddress, let onto = target.baseAddress else { return }
      kernels.scale(from + i * perImage, scale, Int64(perImage))
      kernels.residual(
        onto + indices[i] * perImage, from + i * perImage, nil, gamma?.floats.baseAddress, Int64(perImage / columns), Int64(columns))
    }
  }

  public func gatherPatches(_ images: Tensor, size: Int, into patches: Tensor) {
    let (batch, channels, height, width) = (images.shape[0], images.shape[1], images.shape[2], images.shape[3])
    let (rows, columns) = (height / size, width / size)
    let length = channels * size * size
    guard let source = images.floats.baseAddress, let target = patches.floats.baseAddress else { return }
    pool.forEach(batch * rows) { index in
      let (image, row) = (index / rows, index % rows)
      for column in 0..<columns {
        let patch = target + ((image * rows + row) * columns + column) * length
        for channel in 0..<channels {
          for y in 0..<size {
            let line = source + ((image * channels + channel) * height + row * size + y) * width + column * size
            memcpy(patch + (channel * size + y) * size, line, size * MemoryLayout<Float>.size)
          }
        }
      }
    }
  }

  public func assembleTokens(prefix: Tensor, patches: Tensor, mask: Tensor?, maskToken: Tensor, into tokens: Tensor) {
    let (batch, count, dim) = (tokens.shape[0], tokens.shape[1], tokens.shape[2])
    let prefixCount = prefix.count / dim
    let patchCount = count - prefixCount
    let row = dim * MemoryLayout<Float>.size
    let flags = mask?.elements(UInt8.self)
    pool.forEach(batch) { image in
      let base = tokens.pointer + image * count * row
      memcpy(base, prefix.pointer, prefixCount * row)
      memcpy(base + prefixCount * row, patches.pointer + image * patchCount * row, patchCount * row)
      guard let flags else { return }
      for patch in 0..<patchCount where flags[image * patchCount + patch] != 0 {
        memcpy(base + (prefixCount + patch) * row, maskToken.pointer, row)
      }
    }
  }
}
