internal import CKernels
public import Platform

extension CPUDevice: TrainingDevice {
  public func linear(
    _ input: Tensor, weight: Tensor, bias: Tensor?, precision: Precision, into output: Tensor
  ) throws(MedDINOError) {
    let outputs = weight.shape[0]
    let inputs = weight.count / max(outputs, 1)
    guard let matrix = Matrix(weight, columns: inputs) else { return }
    let packed = try panels(matrix, columns: outputs, depth: inputs, turned: false, precision)
    let layer = CPUPackedLinear(outputs: outputs, inputs: inputs, precision: precision, weight: packed.buffer, bias: bias)
    try linear(input, layer, into: output, .none)
    withExtendedLifetime(weight) {}
  }

  public func linearBackward(
    _ gradient: Tensor, input: Tensor, weight: Tensor, precision: Precision, into result: LinearGradients
  ) throws(MedDINOError) {
    let outputs = weight.shape[0]
    let inputs = weight.count / max(outputs, 1)
    let rows = gradient.count / max(outputs, 1)
    precondition(gradient.count == rows * outputs && (result.weight == nil || input.count == rows * inputs))
    guard let outer = Matrix(gradient, columns: outputs), rows > 0 else { return }
    if let target = result.input?.floats.baseAddress, let weight = Matrix(weight, columns: inputs) {
      let packed = try panels(weight, columns: inputs, depth: outputs, turned: true, precision)
      try multiply(outer, rows: rows, packed, into: target, stride: inputs, adds: result.addsToInput)
    }
    if let target = result.weight?.floats.baseAddress, let inner = Matrix(input, columns: inputs) {
      try addTurnedProduct(
        outer, rows: outputs, inner, columns: inputs, depth: rows, precision, to: target, stride: inputs)
    }
    if let target = result.bias?.floats.baseAddress { try addColumnSums(outer, rows: rows, columns: outputs, to: target) }
    withExtendedLifetime((gradient, input, weight, result)) {}
  }

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
