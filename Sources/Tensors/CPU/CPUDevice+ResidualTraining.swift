internal import CKernels
internal import Glibc
public import Platform

/// Residuals of some images, and tokens.
extension CPUDevice {
  public func addResidual(_ branch: Tensor, indices: [Int]?, scale: Float, gamma: Tensor?, to stream: Tensor) {
    let (kept, tokens, dim) = (branch.shape[0], branch.shape[1], branch.shape[2])
    guard let from = branch.floats.baseAddress, let onto = stream.floats.baseAddress else { return }
    let kernels = kernels
    let factors = gamma?.floats.map { $0 * scale } ?? [Float](repeating: scale, count: dim)
    factors.withUnsafeBufferPointer { factors in
      forRowBlocks(images: kept, tokens: tokens) { image, rows in
        let target = ((indices?[image] ?? image) * tokens + rows.lowerBound) * dim
        let source = (image * tokens + rows.lowerBound) * dim
        kernels.residual(onto + target, from + source, nil, factors.baseAddress, Int64(rows.count), Int64(dim))
      }
    }
    withExtendedLifetime((branch, stream)) {}
  }

  public func addResidualBackward(
    _ gradient: Tensor, branch: Tensor, indices: [Int]?, scale: Float, gamma: Tensor?, branchGradient: Tensor, gammaGradient: Tensor?
  ) throws(MedDINOError) {
    let (kept, tokens, dim) = (branch.shape[0], branch.shape[1], branch.shape[2])
    guard let g = gradient.floats.baseAddress, let x = branch.floats.baseAddress, let to = branchGradient.floats.baseAddress else {
      return
    }
    let kernels = kernels
    let target = gammaGradient?.floats.baseAddress
    try addPartialSums(rows: kept * tokens, columns: dim, to: target, count: target == nil ? 0 : dim) { block, partial in
      var row = block.lowerBound
      while row < block.upperBound {
        let image = row / tokens
        let count = min(block.upperBound, (image + 1) * tokens) - row
        let from = ((indices?[image] ?? image) * tokens + row % tokens) * dim
        kernels.residual_backward(
          g + from, x + row * dim, gamma?.floats.baseAddress, scale, to + row * dim, target == nil ? nil : partial, Int64(count),
          Int64(dim))
        row += count
      }
    }
    withExtendedLifetime((gradient, branch, gamma, branchGradient, gammaGradient)) {}
  }

  public func scatterAddImages(_ gradient: Tensor, _ indices: [Int], to target: Tensor) {
    guard let from = gradient.floats.baseAddress, let onto = target.floats.baseAddress, !indices.isEmpty else { return }
    let perImage = gradient.count / indices.count
    let kernels = kernels
    let grain = Self.elementGrain
    let pieces = (perImage + grain - 1) / grain
    pool.forEach(indices.count * pieces) { task in
      let (image, first) = (task / pieces, task % pieces * grain)
      kernels.add(
        onto + indices[image] * perImage + first, from + image * perImage + first, Int64(min(grain, perImage - first)))
    }
    withExtendedLifetime((gradient, target)) {}
  }

  public func assembleTokensBackward(
    _ gradient: Tensor, mask: Tensor?, prefixGradient: Tensor?, maskTokenGradient: Tensor?, patchGradient: Tensor?
  ) {
    let (batch, count, dim) = (gradient.shape[0], gradient.shape[1], gradient.shape[2])
    let patches = (patchGradient.map { $0.count / max(batch * dim, 1) }) ?? (mask.map { $0.count / max(batch, 1) })
    let prefix = prefixGradient.map { $0.count / dim } ?? count - (patches ?? count)
    let perImage = count - prefix
    guard let g = gradient.floats.baseAddress else { return }
    let flags = mask?.elements(UInt8.self)
    let kernels = kernels
    if let to = patchGradient?.floats.baseAddress {
      forRowBlocks(images: batch, tokens: perImage) { image, rows in
        for patch in rows {
          let target = to + (image * perImage + patch) * dim
          if let flags, flags[image * perImage + patch] != 0 {
            kernels.fill(target, 0, Int64(dim))
          } else {
            memcpy(target, g + (image * count + prefix + patch) * dim, dim * MemoryLayout<Float>.size)
          }
        }
      }
    }
    for image in 0..<batch {
      if let to = prefixGradient?.floats.baseAddress { kernels.add(to, g + image * count * dim, Int64(prefix * dim)) }
      guard let flags, let to = maskTokenGradient?.floats.baseAddress else { continue }
      for patch in 0..<perImage where flags[image * perImage + patch] != 0 {
        kernels.add(to, g + (image * count + prefix + patch) * dim, Int64(dim))
      }
    }
    withExtendedLifetime((gradient, mask, prefixGradient, maskTokenGradient, patchGradient)) {}
  }

  /// Blocks of the rows of every image.
  private func forRowBlocks(images: Int, tokens: Int, _ body: (_ image: Int, _ rows: Range<Int>) -> Void) {
    let grain = 64
    let blocks = (tokens + grain - 1) / grain
    pool.forEach(images * blocks) { task in
      let first = task % blocks * grain
      body(task / blocks, first..<min(tokens, first + grain))
    }
  }
}
