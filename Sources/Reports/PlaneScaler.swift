internal import Platform

/// Resizes picture planes: grey values smoothly (linear when enlarging, averaging when shrinking), labels by the
/// largest share.
struct PlaneScaler {
  let columns: Axis
  let rows: Axis
  private let between: Buffer

  /// One direction: which input samples make an output sample, and how much each counts.
  struct Axis {
    let from: Int
    let to: Int
    let taps: Int
    fileprivate let first: Buffer
    fileprivate let weights: Buffer

    init(from: Int, to: Int, in budget: MemoryBudget) throws(MedDINOError) {
      self.from = from
      self.to = to
      let step = Double(from) / Double(to)
      let support = max(1, step)
      taps = Int(support.rounded(.up)) * 2 + 1
      first = try budget.allocate(to * MemoryLayout<Int>.size, "picture scaling")
      weights = try budget.allocate(
        try Checked.product([to, taps, MemoryLayout<Float>.size], "picture scaling"), "picture scaling")
      let (starts, values) = (first.elements(Int.self), weights.elements(Float.self))
      for index in 0..<to {
        let centre = (Double(index) + 0.5) * step - 0.5
        let start = Int((centre - support).rounded(.up))
        starts[index] = start
        let shares = (0..<taps).map { max(0, 1 - (Double(start + $0) - centre).magnitude / support) }
        let sum = shares.reduce(0, +)
        for tap in 0..<taps { values[index * taps + tap] = Float(shares[tap] / sum) }
      }
    }
  }

  init(rows: Int, columns: Int, toRows: Int, toColumns: Int, in budget: MemoryBudget) throws(MedDINOError) {
    self.columns = try Axis(from: columns, to: toColumns, in: budget)
    self.rows = try Axis(from: rows, to: toRows, in: budget)
    between = try budget.allocate(
      try Checked.product([rows, toColumns, MemoryLayout<Float>.size], "picture scaling"), "picture scaling")
  }

  func scaleGrey(_ plane: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>) {
    let middle = between.pointer.assumingMemoryBound(to: Float.self)
    for row in 0..<rows.from {
      scale(plane + row * columns.from, stride: 1, columns, into: middle + row * columns.to, outStride: 1)
    }
    for column in 0..<columns.to {
      scale(middle + column, stride: columns.to, rows, into: out + column, outStride: columns.to)
    }
  }

  private func scale(
    _ line: UnsafePointer<Float>, stride: Int, _ axis: Axis, into out: UnsafeMutablePointer<Float>, outStride: Int
  ) {
    let (starts, weights) = (axis.first.elements(Int.self), axis.weights.elements(Float.self))
    for index in 0..<axis.to {
      var sum: Float = 0
      for tap in 0..<axis.taps {
        let weight = weights[index * axis.taps + tap]
        if weight == 0 { continue }
        sum += weight * line[min(max(starts[index] + tap, 0), axis.from - 1) * stride]
      }
      out[index * outStride] = sum
    }
  }

  /// Each output pixel takes the label that has most weight among the four input pixels around it.
  func scaleLabels(_ plane: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>) {
    for row in 0..<rows.to {
      let (upper, lower, down) = neighbours(row, rows)
      for column in 0..<columns.to {
        let (left, right, across) = neighbours(column, columns)
        let labels = (
          plane[upper * columns.from + left], plane[upper * columns.from + right],
          plane[lower * columns.from + left], plane[lower * columns.from + right]
        )
        out[row * columns.to + column] = heaviest(labels, down: down, across: across)
      }
    }
  }

  private func neighbours(_ index: Int, _ axis: Axis) -> (Int, Int, Float) {
    let centre = (Double(index) + 0.5) * Double(axis.from) / Double(axis.to) - 0.5
    let lower = centre.rounded(.down)
    let last = axis.from - 1
    return (min(max(Int(lower), 0), last), min(max(Int(lower) + 1, 0), last), Float(centre - lower))
  }

  private func heaviest(_ labels: (Float, Float, Float, Float), down: Float, across: Float) -> Float {
    let (a, b, c, d) = labels
    if a == b, b == c, c == d { return a }
    let shares = (
      (1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across
    )
    func share(_ label: Float) -> Float {
      (a == label ? shares.0 : 0) + (b == label ? shares.1 : 0) + (c == label ? shares.2 : 0)
        + (d == label ? shares.3 : 0)
    }
    var best = a
    var most = share(a)
    for label in [b, c, d] where share(label) > most {
      best = label
      most = share(label)
    }
    return best
  }
}
