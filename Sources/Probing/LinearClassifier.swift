internal import Platform
internal import Tensors

/// A linear map from tokens to classes, by weighted ridge regression on the parts of each patch: one solution, no training loop.
///
/// Channels are centred and divided by their deviation over the patches. Patches of rare classes weigh more, by the inverse square root of
/// the class's part of all patches, so that small organs are not given up for the background. With X the standardised tokens, W the weights
/// (mean 1), Y the parts and n patches: B = (XᵀWX + ridge · n · I)⁻¹ XᵀWY with an intercept that is not shrunk. Products of float32 in pieces
/// that are summed in double precision; the system is solved by Cholesky in double precision.
/// Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 3.4.1, 4.2.
struct LinearClassifier: PatchClassifier {
  /// [classes][dim] and [classes], for tokens as they are.
  let weight: [[Double]]
  let intercept: [Double]
  private let device: any Device
  private let packed: any PackedLinear
  private let workspace: Workspace
  private static let rows = 1024
  /// Channels that vary less stand still.
  private static let leastDeviation = 1e-9

  /// Throws: `.outOfMemory`, `.cancelled`, `.invalid` for tokens that are no finite numbers.
  init(_ bank: PatchBank, ridge: Double, device: any Device, control: RunControl) throws(MedDINOError) {
    let (dim, classes) = (bank.tokens.shape[1], bank.classes)
    let scale = Self.scale(bank.tokens)
    let (moments, sides) = try Self.moments(bank, scale, device, control)
    var system = moments
    // The last row and column are those of the intercept.
    for index in 0..<dim { system[index * (dim + 1) + index] += ridge * Double(bank.count) }
    guard let solution = CholeskySolver.solve(&system, dim + 1, sides, columns: classes) else {
      throw .invalid("the patch tokens have no linear probe: they are NaN, infinite or nearly so")
    }
    var (weight, intercept): ([[Double]], [Double]) = ([], [])
    for label in 0..<classes {
      let row = (0..<dim).map { solution[$0 * classes + label] / scale.deviation[$0] }
      weight.append(row)
      intercept.append(solution[dim * classes + label] - zip(row, scale.mean).reduce(0) { $0 + $1.0 * $1.1 })
    }
    let matrix = try Tensor(weight.flatMap { $0.map { Float($0) } }, [classes, dim], in: device.budget, "linear probe")
    let bias = try Tensor(intercept.map { Float($0) }, [classes], in: device.budget, "linear probe")
    packed = try device.pack(weight: matrix, bias: bias, precision: .float32)
    (self.weight, self.intercept, self.device) = (weight, intercept, device)
    workspace = Workspace(device.budget)
  }

  func scores(_ tokens: Tensor, control: RunControl) throws(MedDINOError) -> [Float] {
    try control.check()
    let output = try workspace.tensor("scores", [tokens.shape[0], weight.count])
    try device.linear(tokens, packed, into: output, .none)
    return output.floatArray()
  }

  private struct Scale {
    var mean: [Double]
    var deviation: [Double]
  }
  private static func scale(_ tokens: Tensor) -> Scale {
    let (count, dim) = (tokens.shape[0], tokens.shape[1])
    var scale = Scale(mean: [Double](repeating: 0, count: dim), deviation: [Double](repeating: 0, count: dim))
    let x = tokens.floats
    for row in 0..<count { for j in 0..<dim { scale.mean[j] += Double(x[row * dim + j]) } }
    for j in 0..<dim { scale.mean[j] /= Double(count) }
    for row in 0..<count {
      for j in 0..<dim {
        let difference = Double(x[row * dim + j]) - scale.mean[j]
        scale.deviation[j] += difference * difference
      }
    }
    for j in 0..<dim {
      let deviation = (scale.deviation[j] / Double(count)).squareRoot()
      scale.deviation[j] = deviation > leastDeviation ? deviation : 1
    }
    withExtendedLifetime(tokens) {}
    return scale
  }

  /// One weight per patch, mean 1.
  private static func weights(_ bank: PatchBank) -> [Double] {
    var mass = [Double](repeating: 0, count: bank.classes)
    for (index, share) in bank.shares.enumerated() { mass[index % bank.classes] += Double(share) }
    let factors = mass.map { $0 > 0 ? (Double(bank.count) / $0).squareRoot() : 0 }
    let raw = (0..<bank.count).map { row in
      (0..<bank.classes).reduce(0) { $0 + Double(bank.shares[row * bank.classes + $1]) * factors[$1] }
    }
    let mean = raw.reduce(0, +) / Double(bank.count)
    return raw.map { mean > 0 ? $0 / mean : 1 }
  }

  /// XᵀWX [dim + 1, dim + 1] and XᵀWY [dim + 1, classes], X with a column of ones at its end.
  private static func moments(
    _ bank: PatchBank, _ scale: Scale, _ device: any Device, _ control: RunControl
  ) throws(MedDINOError) -> (moments: [Double], sides: [Double]) {
    let (dim, classes) = (bank.tokens.shape[1], bank.classes)
    let (known, all) = (dim + 1, dim + 1 + classes)
    var moments = [Double](repeating: 0, count: known * known)
    var sides = [Double](repeating: 0, count: known * classes)
    let weights = weights(bank).map { $0.squareRoot() }
    let x = bank.tokens.floats
    for begin in stride(from: 0, to: bank.count, by: rows) {
      try control.check()
      let count = min(rows, bank.count - begin)
      // One under the other the channels, the ones and the classes, each along the patches.
      let columns = try Tensor([all, count], in: device.budget, "moments of patches")
      let to = columns.floats
      for row in 0..<count {
        let (place, root) = (begin + row, weights[begin + row])
        for j in 0..<dim { to[j * count + row] = Float(root * (Double(x[place * dim + j]) - scale.mean[j]) / scale.deviation[j]) }
        to[dim * count + row] = Float(root)
        for label in 0..<classes { to[(known + label) * count + row] = Float(root * Double(bank.shares[place * classes + label])) }
      }
      let product = try Tensor([known, all], in: device.budget, "moments of patches")
      let packed = try device.pack(weight: columns, bias: nil, precision: .float32)
      try device.linear(columns.rows(0..<known), packed, into: product, .none)
      let values = product.floats
      for i in 0..<known {
        for j in 0..<known { moments[i * known + j] += Double(values[i * all + j]) }
        for label in 0..<classes { sides[i * classes + label] += Double(values[i * all + known + label]) }
      }
      withExtendedLifetime((columns, product)) {}
    }
    withExtendedLifetime(bank.tokens) {}
    return (moments, sides)
  }
}

/// Linear systems with a symmetric positive definite matrix. Source: Golub & Van Loan, Matrix Computations, 4.2.
enum CholeskySolver {
  /// The solution [n, columns] of a · x = b, b [n, columns]; nil when the matrix is not positive definite. Only the lower triangle of `a`
  /// [n, n] is read, and its factor is left there.
  static func solve(_ a: inout [Double], _ n: Int, _ b: [Double], columns: Int) -> [Double]? {
    for j in 0..<n {
      for i in j..<n {
        var sum = a[i * n + j]
        for k in 0..<j { sum -= a[i * n + k] * a[j * n + k] }
        if i == j {
          guard sum > 0, sum.isFinite else { return nil }
          a[j * n + j] = sum.squareRoot()
        } else {
          a[i * n + j] = sum / a[j * n + j]
        }
      }
    }
    var x = b
    for column in 0..<columns {
      for i in 0..<n {
        var sum = x[i * columns + column]
        for k in 0..<i { sum -= a[i * n + k] * x[k * columns + column] }
        x[i * columns + column] = sum / a[i * n + i]
      }
      for i in (0..<n).reversed() {
        var sum = x[i * columns + column]
        for k in (i + 1)..<max(n, i + 1) { sum -= a[k * n + i] * x[k * columns + column] }
        x[i * columns + column] = sum / a[i * n + i]
      }
    }
    return x.allSatisfy(\.isFinite) ? x : nil
  }
}
