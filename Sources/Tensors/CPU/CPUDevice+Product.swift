internal import CKernels

/// One serial product: the calling thread multiplies the rows and columns it was given.
extension CPUDevice {
  /// The arguments of output[rows, columns] = input[rows, inputs] · weightᵀ + bias for a range of the layer's columns
  /// that begins at a multiple of `ProductTiling.columnUnit`. The caller adds its pointers and what follows the product.
  func productArguments(_ layer: CPUPackedLinear, rows: Int, columns: Range<Int>) -> ck_gemm_args {
    var args = ck_gemm_args()
    args.m = Int64(rows)
    args.n = Int64(columns.count)
    args.k = Int64(layer.inputs)
    args.lda = args.k
    args.a_type = Int32(CK_F32)
    args.packed = UnsafeRawPointer(layer.weight.pointer) + packedBytes(columns.lowerBound, layer.inputs, layer.precision)
    args.ldc = Int64(layer.outputs)
    args.c_type = Int32(CK_F32)
    args.bias = layer.bias.flatMap { $0.floats.baseAddress.map { UnsafePointer($0 + columns.lowerBound) } }
    return args
  }

  func multiply(_ args: inout ck_gemm_args, _ precision: Precision, scratch: UnsafeMutableRawPointer) {
    switch precision {
    case .float32: kernels.gemm_f32(&args, scratch)
    case .bfloat16: kernels.gemm_bf16(&args, scratch)
    }
  }

  /// How a [rows, columns] product is cut into tasks for this device's kernels.
  func tiling(rows: Int, columns: Int, narrowest: Int = ProductTiling.narrowest) -> ProductTiling {
    ProductTiling(rows: rows, columns: columns, rowLimit: Int(kernels.gemm_rows), narrowest: narrowest)
  }

  /// Bytes that the panels of `outputs` columns take.
  func packedBytes(_ outputs: Int, _ inputs: Int, _ precision: Precision) -> Int {
    switch precision {
    case .float32: kernels.packed_f32_bytes(Int64(outputs), Int64(inputs))
    case .bfloat16: kernels.packed_bf16_bytes(Int64(outputs), Int64(inputs))
    }
  }

  /// Bytes of scratch that one thread multiplies this layer with, a multiple of 64.
  func productScratch(_ layer: CPUPackedLinear) -> Int {
    productScratch(depth: layer.inputs, layer.precision)
  }
}

/// How a [rows, columns] product is cut into tasks: by shape alone.
///
/// Rows in even blocks of at most `rowLimit`, the row group of the instruction set's kernels. Columns in ranges of at most `columnLimit`, all row
/// blocks of one range after the other, so that a range of a large weight is read from memory once; narrower ranges for
/// few rows, so that there is work for every thread.
struct ProductTiling {
  static let columnLimit = 768
  /// The kernels address columns by whole panels; a multiple of every instruction set's panel width.
  static let columnUnit = 64
  private static let taskGoal = 24
  static let narrowest = 384

  private let rows: Int
  private let columns: Int
  private let rowBlocks: Int
  private let columnRanges: Int

  init(rows: Int, columns: Int, rowLimit: Int, narrowest: Int = Self.narrowest) {
    self.rows = rows
    self.columns = columns
    rowBlocks = max(1, (rows + rowLimit - 1) / rowLimit)
    let needed = (columns + Self.columnLimit - 1) / Self.columnLimit
    let wanted = min((Self.taskGoal + rowBlocks - 1) / rowBlocks, columns / narrowest)
    columnRanges = max(1, needed, wanted)
  }

  var count: Int { rows > 0 && columns > 0 ? rowBlocks * columnRanges : 0 }

  subscript(task: Int) -> (rows: Range<Int>, columns: Range<Int>) {
    let (range, block) = (task / rowBlocks, task % rowBlocks)
    return (rows * block / rowBlocks..<rows * (block + 1) / rowBlocks, columnStart(range)..<columnStart(range + 1))
  }
  private func columnStart(_ range: Int) -> Int {
    if range == columnRanges { return columns }
    return columns * range / columnRanges / Self.columnUnit * Self.columnUnit
  }
}
