internal import CKernels
internal import Glibc
public import Platform

/// Regularisers on tokens: Gram anchoring and the spread of class tokens. Source: model specification 8.4, 8.6.
extension CPUDevice {
  /// Rows of a Gram matrix that exist at once.
  private static let gramRows = 512
  /// Shorter tokens are divided by this. Source: model specification 8.4.
  private static let shortestToken: Float = 1e-12

  public func gramLoss(
    _ student: Tensor, teacher: Tensor, _ options: GramOptions, scale: Float, gradient: Tensor?
  ) throws(MedDINOError) -> Double {
    let dim = student.shape[student.shape.rank - 1]
    let sets = options.imageLevel ? student.shape[0] : 1
    let count = student.count / max(sets * dim, 1)
    guard sets > 0, count > 0, dim > 0 else { return 0 }
    let (x, y) = (try gramTokens(student, options), try gramTokens(teacher, options))
    let entries = Double(sets) * Double(count) * Double(count)
    // Of a normalised token first the gradient of its direction.
    var directions = gradient
    if gradient != nil, options.normalized { directions = try scratch.tensor(student.shape, "Gram gradient") }
    var total = 0.0
    for set in 0..<sets {
      total += try gramSet(
        x.reshaped([sets * count, dim]).rows(set * count..<(set + 1) * count),
        y.reshaped([sets * count, dim]).rows(set * count..<(set + 1) * count), options, factor: Float(4 * Double(scale) / entries),
        into: directions?.reshaped([sets * count, dim]).rows(set * count..<(set + 1) * count))
    }
    if let gradient, let directions, options.normalized {
      fill(gradient, 0)
      normalizeRowsBackward(student, epsilon: Self.shortestToken, gradient: directions, addingTo: gradient)
    }
    return total / entries
  }

  private func gramTokens(_ tokens: Tensor, _ options: GramOptions) throws(MedDINOError) -> Tensor {
    guard options.normalized else { return tokens }
    let result = try scratch.tensor(tokens.shape, "Gram tokens")
    normalizeRows(tokens, epsilon: Self.shortestToken, into: result)
    return result
  }

  /// Σ (X Xᵀ − Y Yᵀ)² of one set of tokens [count, dim], block by block of rows. The difference D is symmetric, so the gradient
  /// of a row of X is 4 · D · X, and needs only this block of D.
  private func gramSet(
    _ x: Tensor, _ y: Tensor, _ options: GramOptions, factor: Float, into gradient: Tensor?
  ) throws(MedDINOError) -> Double {
    let (count, dim) = (x.shape[0], x.shape[1])
    guard let left = Matrix(x, columns: dim), let right = Matrix(y, columns: dim) else { return 0 }
    let student = try panels(left, columns: count, depth: dim, turned: false, .float32)
    let teacher = try panels(right, columns: count, depth: dim, turned: false, .float32)
    let back = gradient == nil ? nil : try panels(left, columns: dim, depth: count, turned: true, .float32)
    let block = min(count, Self.gramRows)
    let (s, t) = (try scratch.tensor([block, count], "Gram rows"), try scratch.tensor([block, count], "Gram rows"))
    guard let first = s.floats.baseAddress, let second = t.floats.baseAddress else { return 0 }
    let kernels = kernels
    let cuts: (Int32, Int32) = (options.removeNegative ? 1 : 0, options.removeNegative || options.removeTeacherNegative ? 1 : 0)
    var total = 0.0
    for begin in stride(from: 0, to: count, by: block) {
      let rows = min(block, count - begin)
      try multiply(left.advanced(row: begin), rows: rows, student, into: first, stride: count)
      try multiply(right.advanced(row: begin), rows: rows, teacher, into: second, stride: count)
      total += rowValues(rows) { row in
        kernels.gram_difference(first + row * count, second + row * count, Int64(count), cuts.0, cuts.1)
      }.reduce(0, +)
      guard let back, let to = gradient?.floats.baseAddress else { continue }
      try multiply(Matrix(first, stride: count), rows: rows, back, into: to + begin * dim, stride: dim)
      pool.forEach(rows) { row in kernels.scale(to + (begin + row) * dim, factor, Int64(dim)) }
    }
    withExtendedLifetime((x, y, gradient, s, t)) {}
    return total
  }

  // MARK: spread of class tokens

  /// Stands in three places: the shortest token, each component of a difference, the logarithm. Source: model specification 8.6.
  private static let koLeoEpsilon = 1e-8

  public func koLeo(_ rows: Tensor, _ options: KoLeoOptions, scale: Float, gradient: Tensor?) throws(MedDINOError) -> Double {
    let (count, dim) = (rows.shape[0], rows.shape[1])
    guard count > 0, dim > 0 else { return 0 }
    let epsilon = Float(Self.koLeoEpsilon)
    let y = try scratch.tensor(rows.shape, "directions of class tokens")
    normalizeRows(rows, epsilon: epsilon, into: y)
    let dots = try scratch.tensor([count, count], "products of class tokens")
    try linear(y, weight: y, bias: nil, precision: .float32, into: dots)
    let pairs = Self.nearest(dots.floats, count, options)
    let terms = Double(max(pairs.count, 1))
    let directions = try scratch.tensor(rows.shape, "gradient of directions")
    fill(directions, 0)
    var total = 0.0
    let (values, slopes) = (y.floats, directions.floats)
    for pair in pairs {
      let (a, b) = (pair.row * dim, pair.neighbour * dim)
      var square = 0.0
      for index in 0..<dim {
        let difference = Double(values[a + index]) - Double(values[b + index]) + Self.koLeoEpsilon
        square += difference * difference
      }
      let distance = square.squareRoot()
      total -= Glibc.log(distance + Self.koLeoEpsilon)
      guard gradient != nil else { continue }
      let slope = distance > 0 ? -Double(scale) / (terms * (distance + Self.koLeoEpsilon) * distance) : 0
      for index in 0..<dim {
        let part = Float(slope * (Double(values[a + index]) - Double(values[b + index]) + Self.koLeoEpsilon))
        slopes[a + index] += part
        slopes[b + index] -= part
      }
    }
    if let gradient {
      fill(gradient, 0)
      normalizeRowsBackward(rows, epsilon: epsilon, gradient: directions, addingTo: gradient)
    }
    withExtendedLifetime((rows, y, dots, directions, gradient)) {}
    return total / terms
  }

  /// The rows with the largest products within each group, the row itself counting as −1; of equal ones the first.
  private static func nearest(
    _ dots: UnsafeMutableBufferPointer<Float>, _ count: Int, _ options: KoLeoOptions
  ) -> [(row: Int, neighbour: Int)] {
    let size = min(max(options.groupSize ?? count, 1), count)
    var pairs: [(row: Int, neighbour: Int)] = []
    for row in 0..<count {
      let group = row / size * size..<min(count, (row / size + 1) * size)
      var taken: [Int] = []
      for _ in 0..<min(options.neighbours, group.count) {
        var best: (index: Int, value: Float)?
        for other in group where !taken.contains(other) {
          let value = other == row ? -1 : dots[row * count + other]
          if best.map({ value > $0.value }) ?? true { best = (other, value) }
        }
        guard let best else { break }
        taken.append(best.index)
        pairs.append((row, best.index))
      }
    }
    return pairs
  }
}
