internal import CKernels

/// One serial product of the decoder: the calling thread multiplies the rows it was given.
extension CPUDevice {
  /// output[rows, columns of the layer] (+)= input[rows, inputs] · weightᵀ, for the columns of the range.
  /// bfloat16 panels are always multiplied whole: `columns` is then the full range.
  func product(
    _ layer: CPUPackedLinear, _ input: UnsafePointer<Float>, rows: Int, columns: Range<Int>, accumulate: Bool,
    into output: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer?
  ) {
    let (k, n) = (Int64(layer.inputs), Int64(layer.outputs))
    switch layer.precision {
    case .float32:
      guard let weights = layer.weight.elements(Float.self).baseAddress else { return }
      ck_sgemm(
        0, 1, Int64(rows), Int64(columns.count), k, input, k, weights + columns.lowerBound * layer.inputs, k,
        accumulate ? 1 : 0, output + columns.lowerBound, n)
    case .bfloat16:
      var args = ck_gemm_args()
      args.m = Int64(rows)
      args.n = n
      args.k = k
      args.a = UnsafeRawPointer(input)
      args.lda = k
      args.a_type = Int32(CK_F32)
      args.packed = UnsafeRawPointer(layer.weight.pointer)
      args.accumulate = accumulate ? 1 : 0
      args.c = UnsafeMutableRawPointer(output)
      args.ldc = n
      args.c_type = Int32(CK_F32)
      kernels.gemm_bf16(&args, scratch)
    }
  }

  func productScratch(_ layer: CPUPackedLinear) -> Int {
    layer.precision == .float32 ? 0 : kernels.gemm_bf16_scratch(Int64(layer.inputs))
  }
}
