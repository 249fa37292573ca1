internal import CKernels
public import Platform

/// The CPU's packed weights: plain [outputs, inputs] float32 for OpenBLAS, or bfloat16 panels for our kernels.
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
    let source = weight.floats
    switch precision {
    case .float32:
      // The tensor's own memory is used when it is exactly this weight; a slice of a larger one is copied.
      if weight.byteOffset == 0, weight.byteCount == weight.buffer.byteCount {
        return CPUPackedLinear(outputs: n, inputs: k, precision: precision, weight: weight.buffer, bias: bias)
      }
      let copy = try budget.allocate(weight.byteCount, "weight")
      copy.bytes.copyMemory(from: UnsafeRawBufferPointer(weight.bytes))
      return CPUPackedLinear(outputs: n, inputs: k, precision: precision, weight: copy, bias: bias)
    case .bfloat16:
      let packed = try budget.allocate(kernels.packed_bf16_bytes(Int64(n), Int64(k)), "packed weight")
      kernels.pack_bf16(source.baseAddress, Int64(k), Int64(n), Int64(k), packed.pointer)
      return CPUPackedLinear(outputs: n, inputs: k, precision: precision, weight: packed, bias: bias)
    }
  }

  public func linear(
    _ input: Tensor, _ layer: any PackedLinear, into output: Tensor, _ epilogue: LinearEpilogue
  ) throws(MedDINOError) {
    guard let layer = layer as? CPUPackedLinear else { throw MedDINOError(.internal, "a weight packed for another device") }
    let rows = input.count / layer.inputs
    precondition(input.count == rows * layer.inputs && output.count == rows * layer.outputs)
    switch layer.precision {
    case .float32: try floatLinear(input.floats, layer, rows, output.floats, epilogue)
    case .bfloat16: try bfloatLinear(input, layer, rows, output, epilogue)
    }
  }

  private func floatLinear(
    _ input: UnsafeMutableBufferPointer<Float>, _ layer: CPUPackedLinear, _ rows: Int,
    _ output: UnsafeMutableBufferPointer<Float>, _ epilogue: LinearEpilogue
  ) throws(MedDINOError) {
    let tiling = Tiling(rows: rows, columns: layer.outputs)
    let (k, n) = (layer.inputs, layer.outputs)
    guard let x = input.baseAddress, let y = output.baseAddress, rows > 0 else { return }
    let w = layer.weight.elements(Float.self).baseAddress
    let bias = layer.bias?.floats.baseAddress
    let kernels = kernels
    // The residual is added to what the output holds, so its product needs a place of its own.
    var scratch: Tensor?
    if case .residual = epilogue {
      scratch = try Tensor([laneCount(tiling.count), tiling.rowsPerTile * tiling.columnsPerTile], in: budget, "linear tile")
    }
    defer { withExtendedLifetime(scratch) {} }
    let scratchBase = scratch?.floats.baseAddress
    forEachLane(tiling.count) { lane, index in
      let tile = tiling[index]
      let (r0, c0) = (tile.rows.lowerBound, tile.columns.lowerBound)
      let (m, width) = (tile.rows.count, tile.columns.count)
      let target = y + r0 * n + c0
      guard let weights = w.map({ $0 + c0 * k }) else { return }
      switch epilogue {
      case .none, .gelu:
        ck_sgemm(0, 1, Int64(m), Int64(width), Int64(k), x + r0 * k, Int64(k), weights, Int64(k), 0, target, Int64(n))
        if case .gelu = epilogue {
          kernels.bias_gelu(target, Int64(n), bias.map { $0 + c0 }, Int64(m), Int64(width))
        } else if let bias {
          kernels.bias_add(target, Int64(n), bias + c0, Int64(m), Int64(width))
        }
      case .residual(let gamma):
        guard let scratchBase else { return }
        let product = scratchBase + lane * tiling.rowsPerTile * tiling.columnsPerTile
        ck_sgemm(0, 1, Int64(m), Int64(width), Int64(k), x + r0 * k, Int64(k), weights, Int64(k), 0, product, Int64(width))
        let scale = gamma?.floats.baseAddress.map { $0 + c0 }
        for r in 0..<m {
          kernels.residual(target + r * n, product + r * width, bias.map { $0 + c0 }, scale, 1, Int64(width))
        }
      }
    }
  }

  private func bfloatLinear(
    _ input: Tensor, _ layer: CPUPackedLinear, _ rows: Int, _ output: Tensor, _ epilogue: LinearEpilogue
  ) throws(MedDINOError) {
    let grain = 112  // rows per task: a multiple of the kernels' register blocks
    let tasks = (rows + grain - 1) / grain
    let kernels = kernels
    let scratchBytes = (kernels.gemm_bf16_scratch(Int64(layer.inputs)) + 63) / 64 * 64
    let scratch = try budget.allocate(scratchBytes * laneCount(tasks), "linear scratch")
    forEachLane(tasks) { lane, task in
      let first = task * grain
      var args = ck_gemm_args()
      args.m = Int64(min(grain, rows - first))
      args.n = Int64(layer.outputs)
      args.k = Int64(layer.inputs)
      args.a = UnsafeRawPointer(input.pointer + first * layer.inputs * input.dtype.byteCount)
      args.lda = args.k
      args.a_type = input.dtype.kernelCode
      args.packed = UnsafeRawPointer(layer.weight.pointer)
      args.bias = layer.bias.flatMap { UnsafePointer($0.floats.baseAddress) }
      args.c = output.pointer + first * layer.outputs * output.dtype.byteCount
      args.ldc = args.n
      args.c_type = output.dtype.kernelCode
      switch epilogue {
      case .none: break
      case .gelu: args.epilogue = Int32(CK_EPILOGUE_GELU)
      case .residual(let gamma):
        args.residual = UnsafePointer(output.floats.baseAddress.map { $0 + first * layer.outputs })
        args.ldr = args.n
        args.gamma = gamma.flatMap { UnsafePointer($0.floats.baseAddress) }
      }
      kernels.gemm_bf16(&args, scratch.pointer + lane * scratchBytes)
    }
  }
}

/// How a [rows, columns] product is cut into tiles: by shape alone, large enough that OpenBLAS's packing is a small part,
/// small enough that several threads share the work evenly.
struct Tiling {
  let rowsPerTile: Int
  let columnsPerTile: Int
  private let rows: Int
  private let columns: Int
  private let rowTiles: Int
  private let columnTiles: Int

  init(rows: Int, columns: Int) {
    self.rows = rows
    self.columns = columns
    rowTiles = max(1, (rows + 511) / 512)
    columnTiles = max(1, (columns + 767) / 768)
    rowsPerTile = Tiling.even(rows, rowTiles, 16)
    columnsPerTile = Tiling.even(columns, columnTiles, 32)
  }
  private static func even(_ extent: Int, _ parts: Int, _ multiple: Int) -> Int {
    ((extent + parts - 1) / parts + multiple - 1) / multiple * multiple
  }
  var count: Int { rowTiles * columnTiles }
  subscript(index: Int) -> (rows: Range<Int>, columns: Range<Int>) {
    let r = index / columnTiles * rowsPerTile
    let c = index % columnTiles * columnsPerTile
    return (min(r, rows)..<min(r + rowsPerTile, rows), min(c, columns)..<min(c + columnsPerTile, columns))
  }
}
