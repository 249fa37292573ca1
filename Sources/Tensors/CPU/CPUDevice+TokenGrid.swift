internal import CKernels

/// Bicubic resizing of token grids. Source: model specification 8.4.
extension CPUDevice {
  public func resizeTokens(_ tokens: Tensor, rows: Int, columns: Int, toRows: Int, toColumns: Int, into output: Tensor) {
    let images = tokens.shape[0]
    let dim = tokens.count / max(images * rows * columns, 1)
    guard let from = tokens.floats.baseAddress, let to = output.floats.baseAddress, dim > 0 else { return }
    let (down, across) = (CubicTaps(rows, to: toRows), CubicTaps(columns, to: toColumns))
    let kernels = kernels
    pool.forEach(images * toRows) { task in
      let (image, row) = (task / toRows, task % toRows)
      for column in 0..<toColumns {
        let target = to + ((image * toRows + row) * toColumns + column) * dim
        kernels.fill(target, 0, Int64(dim))
        for (y, weight) in down.taps[row] {
          for (x, factor) in across.taps[column] {
            kernels.add_scaled(target, from + ((image * rows + y) * columns + x) * dim, Float(weight * factor), Int64(dim))
          }
        }
      }
    }
    withExtendedLifetime((tokens, output)) {}
  }
}

/// Taps of cubic convolution with a = −0.75 along one axis of n samples. Source: Keys, "Cubic convolution interpolation for digital image
/// processing" (1981); model specification 8.4.
struct CubicTaps {
  let taps: [[(index: Int, weight: Double)]]

  init(_ n: Int, to m: Int) {
    taps = (0..<m).map { i in
      let position = (Double(i) + 0.5) * Double(n) / Double(m) - 0.5
      let first = position.rounded(.down)
      return (-1...2).map { offset in
        (min(max(Int(first) + offset, 0), n - 1), Self.kernel(abs(position - first - Double(offset))))
      }
    }
  }

  private static func kernel(_ t: Double) -> Double {
    let a = -0.75
    if t <= 1 { return ((a + 2) * t - (a + 3)) * t * t + 1 }
    if t < 2 { return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a }
    return 0
  }
}
