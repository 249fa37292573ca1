internal import CKernels
internal import Platform

/// A float32 matrix in memory: row-major with a row stride.
struct Matrix {
  var pointer: UnsafePointer<Float>
  var stride: Int
  init(_ pointer: UnsafePointer<Float>, stride: Int) {
    self.pointer = pointer
    self.stride = stride
  }
  /// nil for a tensor without elements.
  init?(_ tensor: Tensor, columns: Int) {
    guard let base = tensor.floats.baseAddress else { return nil }
    self.init(base, stride: columns)
  }
  func advanced(row: Int, column: Int = 0) -> Matrix { Matrix(pointer + row * stride + column, stride: stride) }
}

/// The right factor of a product, packed for one call: `columns` of `depth` values each.
struct ProductPanels {
  let buffer: Buffer
  let columns: Int
  let depth: Int
  let precision: Precision
}

/// Products of plain matrices, packed for the length of one call and spread over the pool.
extension CPUDevice {
  /// Panels for columns · rows: `weight` is [columns, depth], or [depth, columns] when `turned`.
  func panels(_ weight: Matrix, columns: Int, depth: Int, turned: Bool, _ precision: Precision) throws(MedDINOError) -> ProductPanels {
    let buffer = try scratch.buffer(packedBytes(columns, depth, precision), "packed factor")
    fill(buffer, with: weight, columns: columns, depth: depth, turned: turned, precision)
    return ProductPanels(buffer: buffer, columns: columns, depth: depth, precision: precision)
  }

  func fill(_ buffer: Buffer, with weight: Matrix, columns: Int, depth: Int, turned: Bool, _ precision: Precision) {
    let kernels = kernels
    pool.forBlocks(of: columns, grain: ProductTiling.columnUnit) { block in
      let target = buffer.pointer + packedBytes(block.lowerBound, depth, precision)
      let from = weight.pointer + block.lowerBound * (turned ? 1 : weight.stride)
      let (stride, n, k) = (Int64(weight.stride), Int64(block.count), Int64(depth))
      switch (precision, turned) {
      case (.float32, false): kernels.pack_f32(from, stride, n, k, target)
      case (.float32, true): kernels.pack_f32_columns(from, stride, n, k, target)
      case (.bfloat16, false): kernels.pack_bf16(from, stride, n, k, target)
      case (.bfloat16, true): kernels.pack_bf16_columns(from, stride, n, k, target)
      }
    }
  }

  /// target [rows, columns] = (or +=) left [rows, depth] · panels + bias; left is [depth, rows] when `turned`.
  func multiply(
    _ left: Matrix, turned: Bool = false, rows: Int, _ panels: ProductPanels, bias: UnsafePointer<Float>? = nil,
    into target: UnsafeMutablePointer<Float>, stride: Int, adds: Bool = false, narrowest: Int = ProductTiling.narrowest
  ) throws(MedDINOError) {
    let tiling = tiling(rows: rows, columns: panels.columns, narrowest: narrowest)
    let scratchBytes = productScratch(depth: panels.depth, panels.precision)
    let own = try scratch.buffer(scratchBytes * laneCount(tiling.count), "product scratch")
    forEachLane(tiling.count) { lane, task in
      let tile = tiling[task]
      var args = arguments(left, turned: turned, panels, tile, bias: bias)
      args.c = UnsafeMutableRawPointer(target + tile.rows.lowerBound * stride + tile.columns.lowerBound)
      args.ldc = Int64(stride)
      args.accumulate = adds ? 1 : 0
      multiply(&args, panels.precision, scratch: own.pointer + lane * scratchBytes)
    }
  }

  private func arguments(
    _ left: Matrix, turned: Bool, _ panels: ProductPanels, _ tile: (rows: Range<Int>, columns: Range<Int>), bias: UnsafePointer<Float>?
  ) -> ck_gemm_args {
    var args = ck_gemm_args()
    args.m = Int64(tile.rows.count)
    args.n = Int64(tile.columns.count)
    args.k = Int64(panels.depth)
    args.a = UnsafeRawPointer(left.pointer + tile.rows.lowerBound * (turned ? 1 : left.stride))
    args.lda = Int64(left.stride)
    args.a_transposed = turned ? 1 : 0
    args.a_type = Int32(CK_F32)
    args.c_type = Int32(CK_F32)
    args.packed = UnsafeRawPointer(panels.buffer.pointer) + packedBytes(tile.columns.lowerBound, panels.depth, panels.precision)
    args.bias = bias.map { $0 + tile.columns.lowerBound }
    return args
  }

  func productScratch(depth: Int, _ precision: Precision) -> Int {
    let bytes = precision == .float32 ? kernels.gemm_f32_scratch(Int64(depth)) : kernels.gemm_bf16_scratch(Int64(depth))
    return (bytes + 63) / 64 * 64
  }

  /// target [rows, columns] += (or =) leftᵀ · right, summed over `depth` rows: the gradient of a weight. Long sums go in pieces one after
  /// the other; where the target has few tiles, pieces are summed side by side and added in order.
  func addTurnedProduct(
    _ left: Matrix, rows: Int, _ right: Matrix, columns: Int, depth: Int, _ precision: Precision,
    to target: UnsafeMutablePointer<Float>, stride: Int, adds: Bool = true
  ) throws(MedDINOError) {
    if rows * columns <= Self.smallProduct, depth > Self.smallDepth {
      return try addSmallTurnedProduct(
        left, rows: rows, right, columns: columns, depth: depth, precision, to: target, stride: stride, adds: adds)
    }
    var begin = 0
    while begin < depth {
      let count = min(Self.longestSum, depth - begin)
      let packed = try panels(right.advanced(row: begin), columns: columns, depth: count, turned: true, precision)
      try multiply(
        left.advanced(row: begin), turned: true, rows: rows, packed, into: target, stride: stride, adds: adds || begin > 0, narrowest: 192)
      begin += count
    }
  }
  /// Rows of a sum that are packed at once: a multiple of the kernels' blocks.
  private static let longestSum = 3072
  private static let smallProduct = 1 << 15
  private static let smallDepth = 1024

  private func addSmallTurnedProduct(
    _ left: Matrix, rows: Int, _ right: Matrix, columns: Int, depth: Int, _ precision: Precision,
    to target: UnsafeMutablePointer<Float>, stride: Int, adds: Bool
  ) throws(MedDINOError) {
    let pieces = (depth + Self.smallDepth - 1) / Self.smallDepth
    let scratchBytes = productScratch(depth: Self.smallDepth, precision)
    let packedSize = packedBytes(columns, Self.smallDepth, precision)
    let laneBytes = scratchBytes + (packedSize + 63) / 64 * 64
    let lanes = try scratch.buffer(laneBytes * laneCount(pieces), "product scratch")
    let sums = try scratch.buffer(pieces * rows * columns * MemoryLayout<Float>.size, "partial sums")
    guard let partial = sums.elements(Float.self).baseAddress else { return }
    let kernels = kernels
    forEachLane(pieces) { lane, piece in
      let from = piece * Self.smallDepth
      let count = min(Self.smallDepth, depth - from)
      let own = lanes.pointer + lane * laneBytes
      let packed = own + scratchBytes
      let source = right.advanced(row: from)
      let pack = precision == .float32 ? kernels.pack_f32_columns : kernels.pack_bf16_columns
      pack(source.pointer, Int64(right.stride), Int64(columns), Int64(count), packed)
      var args = ck_gemm_args()
      (args.m, args.n, args.k) = (Int64(rows), Int64(columns), Int64(count))
      args.a = UnsafeRawPointer(left.advanced(row: from).pointer)
      (args.lda, args.a_transposed, args.a_type) = (Int64(left.stride), 1, Int32(CK_F32))
      args.packed = UnsafeRawPointer(packed)
      args.c = UnsafeMutableRawPointer(partial + piece * rows * columns)
      (args.ldc, args.c_type) = (Int64(columns), Int32(CK_F32))
      multiply(&args, precision, scratch: own)
    }
    pool.forEach(rows) { row in
      if !adds { kernels.fill(target + row * stride, 0, Int64(columns)) }
      for piece in 0..<pieces { kernels.add(target + row * stride, partial + (piece * rows + row) * columns, Int64(columns)) }
    }
    withExtendedLifetime(sums) {}
  }
}
