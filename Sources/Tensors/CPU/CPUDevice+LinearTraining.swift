internal import CKernels
public import Platform

extension CPUDevice: TrainingDevice {
  public func linear(
    _ input: Tensor, weight: Tensor, bias: Tensor?, precision: Precision, into output: Tensor
  ) throws(MedDINOError) {
    let outputs = weight.shape[0]
    let inputs = weight.count / max(outputs, 1)
    let rows = input.count / max(inputs, 1)
    guard let left = Matrix(input, columns: inputs), let right = Matrix(weight, columns: inputs), let target = output.floats.baseAddress
    else { return }
    precondition(output.count == rows * outputs)
    let offsets = bias?.floats
    for piece in factorPieces(of: outputs, width: inputs, unit: ProductTiling.columnUnit) {
      let packed = try panels(right.advanced(row: piece.lowerBound), columns: piece.count, depth: inputs, turned: false, precision)
      try multiply(
        left, rows: rows, packed, bias: offsets?.baseAddress.map { UnsafePointer($0 + piece.lowerBound) }, into: target + piece.lowerBound,
        stride: outputs)
    }
    withExtendedLifetime((input, weight, bias, output)) {}
  }

  public func linearBackward(
    _ gradient: Tensor, input: Tensor, weight: Tensor, precision: Precision, into result: LinearGradients
  ) throws(MedDINOError) {
    let outputs = weight.shape[0]
    let inputs = weight.count / max(outputs, 1)
    let rows = gradient.count / max(outputs, 1)
    precondition(gradient.count == rows * outputs && (result.weight == nil || input.count == rows * inputs))
    guard let outer = Matrix(gradient, columns: outputs), rows > 0 else {
      if let target = result.weight, !result.addsToWeight { fill(target, 0) }
      return
    }
    if let target = result.input?.floats.baseAddress, let weight = Matrix(weight, columns: inputs) {
      for piece in factorPieces(of: outputs, width: inputs, unit: Self.depthUnit) {
        let packed = try panels(weight.advanced(row: piece.lowerBound), columns: inputs, depth: piece.count, turned: true, precision)
        try multiply(
          outer.advanced(row: 0, column: piece.lowerBound), rows: rows, packed, into: target, stride: inputs,
          adds: result.addsToInput || piece.lowerBound > 0, narrowest: rows > Self.fewRows ? ProductTiling.narrowest : 128)
      }
    }
    if let target = result.weight?.floats.baseAddress, let inner = Matrix(input, columns: inputs) {
      try addTurnedProduct(
        outer, rows: outputs, inner, columns: inputs, depth: rows, precision, to: target, stride: inputs, adds: result.addsToWeight)
    }
    if let target = result.bias?.floats.baseAddress { try addColumnSums(outer, rows: rows, columns: outputs, to: target) }
    withExtendedLifetime((gradient, input, weight, result)) {}
  }

  /// The rows of a weight that are packed at once: all of them, or pieces of a large one that are multiplied while they are in the cache,
  /// so that a copy of the whole never exists. They begin at multiples of `unit`.
  private func factorPieces(of count: Int, width: Int, unit: Int) -> [Range<Int>] {
    if count * width <= Self.largestFactor || count <= unit { return [0..<count] }
    let step = max(Self.factorPiece / width / unit, 1) * unit
    return stride(from: 0, to: count, by: step).map { $0..<min($0 + step, count) }
  }
  private static let largestFactor = 1 << 22
  /// So many are one task for each range of columns.
  private static let fewRows = 96
  private static let factorPiece = 1 << 20
  /// Pieces of a sum hold whole blocks of the kernels.
  private static let depthUnit = 768

  /// target [columns] += the sum of the rows.
  func addColumnSums(_ matrix: Matrix, rows: Int, columns: Int, to target: UnsafeMutablePointer<Float>) throws(MedDINOError) {
    let kernels = kernels
    try addPartialSums(rows: rows, columns: columns, to: target, count: columns) { block, partial in
      kernels.column_sums(matrix.advanced(row: block.lowerBound).pointer, Int64(matrix.stride), Int64(block.count), Int64(columns), partial)
    }
  }

  /// Sums over rows that several threads make: `body` adds a block of rows to `count` zeroed floats of its own; the blocks' sums are
  /// then added to the target in order. Blocks depend on the number of rows and columns alone.
  func addPartialSums(
    rows: Int, columns: Int, to target: UnsafeMutablePointer<Float>?, count: Int,
    _ body: (_ rows: Range<Int>, _ partial: UnsafeMutablePointer<Float>) -> Void
  ) throws(MedDINOError) {
    let grain = max(Self.partialWork / max(columns, 1), (rows + Self.mostPartials - 1) / Self.mostPartials, 1)
    let blocks = (rows + grain - 1) / grain
    let sums = try scratch.buffer(blocks * count * MemoryLayout<Float>.size, "partial sums")
    guard let partial = sums.elements(Float.self).baseAddress else { return }
    let kernels = kernels
    pool.forEach(blocks) { block in
      kernels.fill(partial + block * count, 0, Int64(count))
      body(block * grain..<min(rows, (block + 1) * grain), partial + block * count)
    }
    if let target {
      pool.forBlocks(of: count, grain: 256) { range in
        for block in 0..<blocks {
          kernels.add(target + range.lowerBound, partial + block * count + range.lowerBound, Int64(range.count))
        }
      }
    }
    withExtendedLifetime(sums) {}
  }
  /// Elements that a block has at least, and blocks there are at most.
  private static let partialWork = 1 << 15
  private static let mostPartials = 128
}
