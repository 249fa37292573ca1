internal import CKernels
internal import Glibc
public import Platform

/// Rows of prototypes: normalisation, assignment, cross entropy. Source: model specification 6.1, 8.1 to 8.3.
extension CPUDevice {
  private static let rowGrain = 16
  /// Prototypes that one task sums over all samples.
  private static let columnGrain = 2048

  public func normalizeRows(_ input: Tensor, epsilon: Float, into output: Tensor) {
    let columns = input.shape[input.shape.rank - 1]
    guard columns > 0, let x = input.floats.baseAddress, let y = output.floats.baseAddress else { return }
    let kernels = kernels
    pool.forBlocks(of: input.count / columns, grain: Self.rowGrain) { block in
      let at = block.lowerBound * columns
      kernels.normalize_rows(x + at, y + at, Int64(block.count), Int64(columns), epsilon)
    }
    withExtendedLifetime((input, output)) {}
  }

  public func normalizeRowsBackward(_ input: Tensor, epsilon: Float, gradient: Tensor, addingTo inputGradient: Tensor) {
    let columns = input.shape[input.shape.rank - 1]
    guard columns > 0, let x = input.floats.baseAddress, let g = gradient.floats.baseAddress,
      let dx = inputGradient.floats.baseAddress
    else { return }
    let kernels = kernels
    pool.forBlocks(of: input.count / columns, grain: Self.rowGrain) { block in
      let at = block.lowerBound * columns
      kernels.normalize_rows_backward(x + at, g + at, dx + at, Int64(block.count), Int64(columns), epsilon)
    }
    withExtendedLifetime((input, gradient, inputGradient)) {}
  }

  public func sinkhorn(
    _ logits: Tensor, temperature: Float, iterations: Int, into output: Tensor, ranks: any Communicator
  ) throws(MedDINOError) {
    let (samples, prototypes) = (logits.shape[0], logits.shape[1])
    guard prototypes > 0, samples > 0 || !ranks.isSolo, let z = logits.floats.baseAddress, let q = output.floats.baseAddress else { return }
    let kernels = kernels
    // Q = diag(sampleScale) · E · diag(prototypeScale) with a fixed E: only the two diagonals change.
    let scales = try scratch.buffer((samples + prototypes) * MemoryLayout<Float>.size, "Sinkhorn scales")
    guard let sampleScale = scales.elements(Float.self).baseAddress else { return }
    let prototypeScale = sampleScale + samples
    let inverse = 1 / temperature
    let top = try ranks.gather(
      rowValues(samples) { Double(kernels.largest(z + $0 * prototypes, Int64(prototypes))) }.reduce(-.infinity, max)
    )
    .reduce(-.infinity, max)
    // Counted from the largest logit, so that large ones keep their differences.
    let (centre, exponent) = (top.isFinite ? Float(top) : 0, Float(top) * inverse)
    let shift = top.isFinite ? min(max(exponent, -Self.largestExponent), Self.largestExponent) : 0
    kernels.fill(prototypeScale, 1, Int64(prototypes))
    pool.forEach(samples) { row in
      kernels.exp_scaled(z + row * prototypes, q + row * prototypes, centre, inverse, shift, Int64(prototypes))
    }
    let own = rowValues(samples) { kernels.dot(q + $0 * prototypes, prototypeScale, Int64(prototypes)) }.reduce(0, +)
    let whole = try ranks.sums([own, Double(samples)])
    let (sum, count) = (whole[0], whole[1])
    kernels.fill(sampleScale, Float(1 / sum), Int64(samples))
    for _ in 0..<iterations {
      pool.forBlocks(of: prototypes, grain: Self.columnGrain) { block in
        let own = prototypeScale + block.lowerBound
        kernels.fill(own, 0, Int64(block.count))
        for row in 0..<samples { kernels.add_scaled(own, q + row * prototypes + block.lowerBound, sampleScale[row], Int64(block.count)) }
      }
      try ranks.sum(UnsafeMutableBufferPointer(start: prototypeScale, count: prototypes))
      for index in 0..<prototypes {
        prototypeScale[index] = prototypeScale[index] == 0 ? 0 : 1 / (prototypeScale[index] * Float(prototypes))
      }
      pool.forEach(samples) { row in
        let sum = kernels.dot(q + row * prototypes, prototypeScale, Int64(prototypes))
        sampleScale[row] = Float(1 / (sum * count))
      }
    }
    pool.forEach(samples) { row in
      kernels.multiply_scaled(q + row * prototypes, prototypeScale, sampleScale[row] * Float(count), Int64(prototypes))
    }
    withExtendedLifetime((logits, output, scales)) {}
  }
  /// e^60 leaves room for sums over samples and prototypes in float32.
  private static let largestExponent: Float = 60

  public func meanEntropy(_ rows: Tensor, limit: Int) -> Double {
    let (samples, prototypes) = (rows.shape[0], rows.shape[1])
    let count = min(samples, limit)
    guard count > 0, prototypes > 0, let p = rows.floats.baseAddress else { return 0 }
    let sums = rowValues(count) { place in
      let row = p + place * samples / count * prototypes
      var sum = 0.0
      for index in 0..<prototypes where row[index] > 1e-12 { sum -= Double(row[index]) * Double(log(row[index])) }
      return sum
    }
    withExtendedLifetime(rows) {}
    return sums.reduce(0, +) / Double(count)
  }

  public func softCrossEntropy(
    _ logits: Tensor, targets: Tensor, pairs: TargetPairs, temperature: Float, scale: Float, gradient: Tensor?
  ) throws(MedDINOError) -> Double {
    let (rows, prototypes) = (logits.shape[0], logits.shape[1])
    precondition(pairs.targets.count == rows && targets.count / max(prototypes, 1) == targets.shape[0])
    guard rows > 0, prototypes > 0, let z = logits.floats.baseAddress, let probabilities = targets.floats.baseAddress else { return 0 }
    let to = gradient?.floats.baseAddress
    var pointers: [UnsafePointer<Float>?] = []
    var first: [Int] = []
    for list in pairs.targets {
      first.append(pointers.count)
      for row in list {
        precondition((0..<targets.shape[0]).contains(row))
        pointers.append(UnsafePointer(probabilities + row * prototypes))
      }
    }
    pointers.append(nil)  // so that there is an address even without pairs
    let kernels = kernels
    let losses = pointers.withUnsafeBufferPointer { pointers in
      rowValues(rows) { row in
        let weight = pairs.weights[row]
        return weight
          * kernels.soft_cross_entropy(
            z + row * prototypes, pointers.baseAddress.map { $0 + first[row] }, Int64(pairs.targets[row].count), Int64(prototypes),
            1 / temperature, Float(weight * Double(scale)), to.map { $0 + row * prototypes })
      }
    }
    withExtendedLifetime((logits, targets, gradient)) {}
    return losses.reduce(0, +)
  }

  /// One number per row, made by any thread, in the order of the rows.
  func rowValues(_ rows: Int, _ body: (Int) -> Double) -> [Double] {
    var values = [Double](repeating: 0, count: rows)
    values.withUnsafeMutableBufferPointer { values in
      guard let to = values.baseAddress else { return }
      pool.forEach(rows) { to[$0] = body($0) }
    }
    return values
  }
}
