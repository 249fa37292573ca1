internal import CKernels
public import Platform

/// Backwards of the operations on rows.
extension CPUDevice {
  static let elementGrain = 1 << 16

  public func gelu(_ input: Tensor, into output: Tensor) {
    guard let from = input.floats.baseAddress, let to = output.floats.baseAddress else { return }
    let kernels = kernels
    pool.forBlocks(of: input.count, grain: Self.elementGrain) { block in
      kernels.gelu(from + block.lowerBound, to + block.lowerBound, Int64(block.count))
    }
    withExtendedLifetime((input, output)) {}
  }

  public func geluBackward(_ input: Tensor, gradient: Tensor, into output: Tensor) {
    guard let x = input.floats.baseAddress, let g = gradient.floats.baseAddress, let to = output.floats.baseAddress else { return }
    let kernels = kernels
    pool.forBlocks(of: input.count, grain: Self.elementGrain) { block in
      let at = block.lowerBound
      kernels.gelu_backward(x + at, g + at, to + at, Int64(block.count))
    }
    withExtendedLifetime((input, gradient, output)) {}
  }

  public func swiGLUBackward(gate: Tensor, up: Tensor, gradient: Tensor, gateGradient: Tensor, upGradient: Tensor) {
    guard let gates = gate.floats.baseAddress, let ups = up.floats.baseAddress, let g = gradient.floats.baseAddress,
      let toGate = gateGradient.floats.baseAddress, let toUp = upGradient.floats.baseAddress
    else { return }
    let kernels = kernels
    pool.forBlocks(of: gate.count, grain: Self.elementGrain) { block in
      let at = block.lowerBound
      kernels.swiglu_backward(gates + at, ups + at, g + at, toGate + at, toUp + at, Int64(block.count))
    }
    withExtendedLifetime((gate, up, gradient, gateGradient, upGradient)) {}
  }

  public func layerNormBackward(
    _ input: Tensor, weight: Tensor, epsilon: Float, gradient: Tensor, addingTo inputGradient: Tensor?, weightGradient: Tensor?,
    biasGradient: Tensor?
  ) throws(MedDINOError) {
    let kernels = kernels
    try normBackward(input, gradient, inputGradient, columns: weight.count, weightGradient, biasGradient) { x, g, dx, dw, db, rows in
      kernels.layer_norm_backward(
        x, weight.floats.baseAddress, g, dx, 1, dw, db, Int64(rows), Int64(weight.count), epsilon)
    }
  }

  public func rmsNormBackward(
    _ input: Tensor, weight: Tensor, epsilon: Float, gradient: Tensor, addingTo inputGradient: Tensor?, weightGradient: Tensor?
  ) throws(MedDINOError) {
    let kernels = kernels
    try normBackward(input, gradient, inputGradient, columns: weight.count, weightGradient, nil) { x, g, dx, dw, _, rows in
      kernels.rms_norm_backward(x, weight.floats.baseAddress, g, dx, 1, dw, Int64(rows), Int64(weight.count), epsilon)
    }
  }

  private typealias NormBlock = (
    _ x: UnsafePointer<Float>, _ g: UnsafePointer<Float>, _ dx: UnsafeMutablePointer<Float>?, _ dw: UnsafeMutablePointer<Float>?,
    _ db: UnsafeMutablePointer<Float>?, _ rows: Int
  ) -> Void

  private func normBackward(
    _ input: Tensor, _ gradient: Tensor, _ inputGradient: Tensor?, columns: Int, _ weightGradient: Tensor?, _ biasGradient: Tensor?,
    _ body: NormBlock
  ) throws(MedDINOError) {
    let rows = input.count / columns
    guard let x = input.floats.baseAddress, let g = gradient.floats.baseAddress else { return }
    let dx = inputGradient?.floats.baseAddress
    let count = (weightGradient == nil ? 0 : columns) + (biasGradient == nil ? 0 : columns)
    let sums = try budget.allocateZeroed(max(count, 1) * MemoryLayout<Float>.size, "norm gradients")
    guard let total = sums.elements(Float.self).baseAddress else { return }
    try addPartialSums(rows: rows, columns: columns, to: total, count: count) { block, partial in
      let at = block.lowerBound * columns
      let forBias = weightGradient == nil ? partial : partial + columns
      body(
        x + at, g + at, dx.map { $0 + at }, weightGradient == nil ? nil : partial, biasGradient == nil ? nil : forBias, block.count)
    }
    if let target = weightGradient?.floats.baseAddress { kernels.add(target, total, Int64(columns)) }
    if let target = biasGradient?.floats.baseAddress {
      kernels.add(target, weightGradient == nil ? total : total + columns, Int64(columns))
    }
    withExtendedLifetime((input, gradient, inputGradient, weightGradient, biasGradient, sums)) {}
  }
}
