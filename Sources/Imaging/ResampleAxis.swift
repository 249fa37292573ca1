internal import Platform

/// Where the samples of one resized axis come from: indices and weights, computed once.
///
/// Coordinates: `x_k = (k + 0.5) * (n / m) - 0.5`. Order 3 works on cubic B-spline coefficients of the axis extended by
/// 12 replicated samples on each side; orders 0 and 1 clamp the coordinate. All arithmetic is in Double, because
/// coordinates in Float flip exact ties of label votes.
/// Source: pipeline specification 4.5 (`resize`).
final class ResampleAxis: @unchecked Sendable {
  static let longest = 1 << 20

  let length: Int
  let newLength: Int
  let order: Int
  /// Replicated samples before and after the axis that the spline sees.
  let padding: Int
  let isIdentity: Bool
  /// First sample of each output; for order 3 in the extended axis.
  let first: UnsafeMutablePointer<Int32>
  /// Second sample of each output (order 1).
  let second: UnsafeMutablePointer<Int32>
  /// 1, 2 or 4 weights per output.
  let weights: UnsafeMutablePointer<Double>
  /// Weights of the first samples in the spline's first causal coefficient.
  private let startWeights: [Double]
  private static let pole = 3.0.squareRoot() - 2

  var filterLength: Int { length + 2 * padding }
  private var taps: Int { order == 3 ? 4 : order + 1 }

  init(_ length: Int, to newLength: Int, order: Int, _ name: String) throws(MedDINOError) {
    guard (1...Self.longest).contains(length), (1...Self.longest).contains(newLength) else {
      throw .invalid("\(name): resizing \(length) samples to \(newLength), expected 1...\(Self.longest)")
    }
    guard order == 0 || order == 1 || order == 3 else { throw .invalid("order is \(order), expected 0, 1 or 3") }
    self.length = length
    self.newLength = newLength
    self.order = order
    padding = order == 3 ? 12 : 0
    isIdentity = length == newLength
    let taps = order == 3 ? 4 : order + 1
    first = .allocate(capacity: newLength)
    second = .allocate(capacity: newLength)
    weights = .allocate(capacity: newLength * taps)
    startWeights = order == 3 ? Self.startWeights(length + 24) : []
    fill()
  }
  deinit {
    first.deallocate()
    second.deallocate()
    weights.deallocate()
  }

  private func fill() {
    let ratio = Double(length) / Double(newLength)
    let last = length - 1
    for k in 0..<newLength {
      let x = (Double(k) + 0.5) * ratio - 0.5
      let clamped = min(max(x, 0), Double(last))
      switch order {
      case 0:
        let index = min(Int((clamped + 0.5).rounded(.down)), last)
        (first[k], second[k]) = (Int32(index), Int32(index))
        weights[k] = 1
      case 1:
        let index = Int(clamped.rounded(.down))
        let t = clamped - Double(index)
        (first[k], second[k]) = (Int32(index), Int32(min(index + 1, last)))
        (weights[2 * k], weights[2 * k + 1]) = (1 - t, t)
      default:
        let shifted = x + Double(padding)
        let index = Int(shifted.rounded(.down))
        (first[k], second[k]) = (Int32(index - 1), Int32(index))
        Self.cubicWeights(shifted - Double(index), weights + 4 * k)
      }
    }
  }

  private static func cubicWeights(_ t: Double, _ out: UnsafeMutablePointer<Double>) {
    let u = 1 - t
    let t2 = t * t
    let t3 = t2 * t
    out[0] = u * u * u / 6
    out[1] = (3 * t3 - 6 * t2 + 4) / 6
    out[2] = (-3 * t3 + 3 * t2 + 3 * t + 1) / 6
    out[3] = t3 / 6
  }

  /// Half-sample symmetric boundary. Terms beyond 64 samples are below 1e-36 of the first and left out.
  private static func startWeights(_ count: Int) -> [Double] {
    func power(_ exponent: Int) -> Double {
      var result = 1.0
      for _ in 0..<min(exponent, 600) { result *= pole }
      return result
    }
    let factor = pole / (1 - power(2 * count))
    return (0..<min(count, 64)).map { factor * (power($0) + power(2 * count - 1 - $0)) }
  }

  /// Fills the replicated ends of a line whose samples lie at `padding..<padding + length`, and turns it into
  /// coefficients.
  func filterLine(_ line: UnsafeMutablePointer<Double>) {
    let count = filterLength
    let (head, tail) = (line[padding], line[padding + length - 1])
    for k in 0..<padding {
      line[k] = head
      line[count - 1 - k] = tail
    }
    let q = Self.pole
    var start = 6 * line[0]
    for (k, weight) in startWeights.enumerated() { start += weight * (6 * line[k]) }
    var previous = start
    line[0] = start
    for k in 1..<count {
      previous = 6 * line[k] + q * previous
      line[k] = previous
    }
    previous *= q / (q - 1)
    line[count - 1] = previous
    var k = count - 2
    while k >= 0 {
      previous = q * (previous - line[k])
      line[k] = previous
      k -= 1
    }
  }

  /// Resizes one prepared line (`filterLine` done for order 3).
  func interpolateLine(_ line: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
    switch order {
    case 0: for k in 0..<newLength { out[k] = line[Int(first[k])] }
    case 1:
      for k in 0..<newLength {
        out[k] = weights[2 * k] * line[Int(first[k])] + weights[2 * k + 1] * line[Int(second[k])]
      }
    default:
      for k in 0..<newLength {
        let (w, c) = (weights + 4 * k, line + Int(first[k]))
        let low = w[0] * c[0] + w[1] * c[1]
        let high = w[2] * c[2] + w[3] * c[3]
        out[k] = low + high
      }
    }
  }

  /// The same as `filterLine` for `width` lines side by side: row k of `block` holds sample k of every line.
  func filterRows(_ block: UnsafeMutablePointer<Double>, width: Int, temporary: UnsafeMutablePointer<Double>) {
    guard order == 3 else { return }
    let count = filterLength
    let q = Self.pole
    for k in 0..<length { Self.scale(block + (padding + k) * width, 6, width) }
    for k in 0..<padding {
      (block + k * width).update(from: block + padding * width, count: width)
      (block + (count - 1 - k) * width).update(from: block + (padding + length - 1) * width, count: width)
    }
    temporary.update(from: block, count: width)
    for (k, weight) in startWeights.enumerated() { Self.addScaled(temporary, block + k * width, weight, width) }
    block.update(from: temporary, count: width)
    for k in 1..<count { Self.addScaled(block + k * width, block + (k - 1) * width, q, width) }
    Self.scale(block + (count - 1) * width, q / (q - 1), width)
    var k = count - 2
    while k >= 0 {
      Self.anticausal(block + k * width, block + (k + 1) * width, q, width)
      k -= 1
    }
  }

  /// Row `k` of the resized block from a block of prepared rows.
  func interpolateRow(_ k: Int, of block: UnsafePointer<Double>, width: Int, into out: UnsafeMutablePointer<Double>) {
    let a = block + Int(first[k]) * width
    switch order {
    case 0: out.update(from: a, count: width)
    case 1: Self.mix(a, block + Int(second[k]) * width, weights[2 * k], weights[2 * k + 1], width, into: out)
    default:
      let w = weights + 4 * k
      let (w0, w1, w2, w3) = (w[0], w[1], w[2], w[3])
      let (b, c, d) = (a + width, a + 2 * width, a + 3 * width)
      for j in 0..<width {
        let low = w0 * a[j] + w1 * b[j]
        let high = w2 * c[j] + w3 * d[j]
        out[j] = low + high
      }
    }
  }

  static func mix(
    _ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ wa: Double, _ wb: Double, _ count: Int,
    into out: UnsafeMutablePointer<Double>
  ) {
    for j in 0..<count { out[j] = wa * a[j] + wb * b[j] }
  }
  private static func scale(_ row: UnsafeMutablePointer<Double>, _ factor: Double, _ count: Int) {
    for j in 0..<count { row[j] *= factor }
  }
  private static func addScaled(
    _ row: UnsafeMutablePointer<Double>, _ other: UnsafePointer<Double>, _ factor: Double, _ count: Int
  ) {
    for j in 0..<count { row[j] += factor * other[j] }
  }
  private static func anticausal(
    _ row: UnsafeMutablePointer<Double>, _ next: UnsafePointer<Double>, _ q: Double, _ count: Int
  ) {
    for j in 0..<count { row[j] = q * (next[j] - row[j]) }
  }
}
