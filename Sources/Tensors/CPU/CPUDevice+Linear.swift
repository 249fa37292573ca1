internal import CKernels
public import Platform

/// The CPU's packed weights: panels of float32 or bfloat16 for our kernels.
final class CPUPackedLinear: PackedLinear {
  let outputs: Int
  let inputs: Int
  let precision: Precision
  let weight: Buffer
  let bias: Tensor?
  var byteCount: Int { weight.byteCount + (bias?.byteCount ?? 0) }

  init(outputs: Int, inputs: Int, precision: Precision, weight: Buffer, bias: Tensor?) {
    self.outputs = outputs
    self.inputs = inputs
    self.precision = precision
    self.weight = weight
    self.bias = bias
  }
}

extension CPUDevice {
  public func pack(weight: Tensor, bias: Tensor?, precision: Precision) throws(MedDINOError) -> any PackedLinear {
    let n = weight.shape[0]
    let k = weight.count / max(n, 1)
    let packed = try budget.allocate(packedBytes(n, k, precision), "packed weight")
    if let source = Matrix(weight, columns: k) { fill(packed, with: source, columns: n, depth: k, turned: false, precision) }
    return CPUPackedLinear(outputs: n, inputs: k, precision: precision, weight: packed, bias: bias)
  }

  public func linear(
    _ input: Tensor, _ layer: any PackedLinear, into output: Tensor, _ epilogue: LinearEpilogue
  ) throws(MedDINOError) {
    guard let layer = layer as? CPUPackedLinear else { throw MedDINOError(.internal, "a weight packed for another device") }
    let rows = input.count / layer.inputs
    precondition(input.count == rows * layer.inputs && output.count == rows * layer.outputs)
    let tiling = tiling(rows: rows, columns: layer.outputs)
    let scratchBytes = productScratch(layer)
    let scratch = try budget.allocate(scratchBytes * laneCount(tiling.count), "linear scratch")
    forEachLane(tiling.count) { lane, task in
      let (rows, columns) = tiling[task]
      let corner = rows.lowerBound * layer.outputs + columns.lowerBound
      var args = productArguments(layer, rows: rows.count, columns: columns)
      args.a = UnsafeRawPointer(input.pointer + rows.lowerBound * layer.inputs * input.dtype.byteCount)
      args.a_type = input.dtype.kernelCode
      args.c = output.pointer + corner * output.dtype.byteCount
      args.c_type = output.dtype.kernelCode
      switch epilogue {
      case .none: break
      case .gelu: args.epilogue = Int32(CK_EPILOGUE_GELU)
      case .residual(let gamma):
        args.residual = UnsafePointer(output.floats.baseAddress.map { $0 + corner })
        args.ldr = args.ldc
        args.gamma = gamma.flatMap { $0.floats.baseAddress.map { UnsafePointer($0 + columns.lowerBound) } }
      }
      multiply(&args, layer.precision, scratch: scratch.pointer + lane * scratchBytes)
    }
  }
}
