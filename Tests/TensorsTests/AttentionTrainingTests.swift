import Platform
import TestSupport
import Testing

@testable import Tensors

@Suite struct AttentionTrainingTests {
  struct Form: CustomStringConvertible, Sendable {
    let tokens, heads, dim, prefix: Int
    var rope = false
    var rounds = false
    var precision = Precision.float32
    var description: String { "\(tokens) tokens, \(heads) × \(dim / heads), rope \(rope)/\(rounds), \(precision)" }
  }
  static let forms = [
    Form(tokens: 1, heads: 1, dim: 4, prefix: 0), Form(tokens: 12, heads: 2, dim: 16, prefix: 3, rope: true),
    Form(tokens: 131, heads: 2, dim: 128, prefix: 1, rope: true), Form(tokens: 97, heads: 1, dim: 20, prefix: 0),
    Form(tokens: 200, heads: 1, dim: 96, prefix: 5, rope: true, precision: .bfloat16),
    Form(tokens: 100, heads: 1, dim: 16, prefix: 5, rope: true, rounds: true),
    Form(tokens: 30, heads: 1, dim: 16, prefix: 2, rope: true, rounds: true, precision: .bfloat16),
  ]

  @Test(arguments: forms) func backwardMatchesDoublePrecision(form: Form) throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(31)
      let d = form.dim / form.heads
      let rotated = form.tokens - form.prefix
      let table: (Float) -> Float = { form.rounds ? roundedToBFloat16($0) : $0 }
      let rope =
        try !form.rope
        ? nil
        : RopeTable(
          sine: device.tensor(random.floats(rotated * d).map(table), [rotated, d]),
          cosine: device.tensor(random.floats(rotated * d).map(table), [rotated, d]), roundsToBFloat16: form.rounds)
      let qkv = try random.tensor([2, form.tokens, 3 * form.dim], in: -1.5...1.5, on: device)
      let g = try random.tensor([2, form.tokens, form.dim], on: device)
      let (out, result) = (try device.zeros([2, form.tokens, form.dim]), try device.zeros([2, form.tokens, 3 * form.dim]))
      let sums = try device.zeros([2, form.heads, form.tokens])
      let workspace = Workspace(device.budget)
      try device.attention(
        qkv, heads: form.heads, prefixTokens: form.prefix, rope: rope, precision: form.precision, into: out, logSumExp: sums,
        workspace: workspace, control: RunControl())
      try device.attentionBackward(
        g, qkv: qkv, output: out, logSumExp: sums, heads: form.heads, prefixTokens: form.prefix, rope: rope,
        precision: form.precision, into: result, workspace: workspace, control: RunControl())
      let expected = PlainAttention(form: form, rope: rope).backward(qkv.floatArray(), g.floatArray())
      // bf16 probabilities and slopes err by up to half a unit each; a rounded gradient by a whole one
      let tolerance = form.precision == .bfloat16 || form.rounds ? 5e-2 : 1e-5
      #expect(relativeError(result, expected) < tolerance, "\(device.name) \(form): \(relativeError(result, expected))")
      if form.rounds { #expect(rotatedGradientsAreBFloat16(result, form)) }
    }
  }

  private func rotatedGradientsAreBFloat16(_ gradient: Tensor, _ form: Form) -> Bool {
    gradient.floatArray().enumerated().allSatisfy { i, value in
      i % (3 * form.dim) >= 2 * form.dim || value == roundedToBFloat16(value)
    }
  }

  @Test(arguments: [Precision.float32, .bfloat16]) func sameBitsForAnyNumberOfThreads(precision: Precision) throws {
    var first: [Float]?
    for threads in 1...3 {
      guard let device = try trainingDevices(threads: threads).last else { return }
      var random = SeededGenerator(32)
      let qkv = try random.tensor([1, 300, 3 * 64], on: device)
      let g = try random.tensor([1, 300, 64], on: device)
      let (out, sums, result) = (try device.zeros([1, 300, 64]), try device.zeros([1, 2, 300]), try device.zeros([1, 300, 3 * 64]))
      let workspace = Workspace(device.budget)
      try device.attention(
        qkv, heads: 2, prefixTokens: 0, rope: nil, precision: precision, into: out, logSumExp: sums, workspace: workspace,
        control: RunControl())
      try device.attentionBackward(
        g, qkv: qkv, output: out, logSumExp: sums, heads: 2, prefixTokens: 0, rope: nil, precision: precision, into: result,
        workspace: workspace, control: RunControl())
      if let first { #expect(first == result.floatArray()) } else { first = result.floatArray() }
    }
  }

  /// Threads that take whole images give what they give together, for any number of images.
  @Test func manyImagesAreTheSameAsEachAlone() throws {
    guard let device = try trainingDevices(threads: 2).last else { return }
    for (batch, tokens, heads) in [(8, 3, 2), (21, 100, 1)] {
      var random = SeededGenerator(33)
      let (dim, workspace) = (16 * heads, Workspace(device.budget))
      let qkv = try random.tensor([batch, tokens, 3 * dim], on: device)
      let g = try random.tensor([batch, tokens, dim], on: device)
      func run(_ images: Range<Int>) throws -> [[Float]] {
        let out = try device.zeros([images.count, tokens, dim])
        let (sums, result) = (try device.zeros([images.count, heads, tokens]), try device.zeros([images.count, tokens, 3 * dim]))
        try device.attention(
          qkv.rows(images), heads: heads, prefixTokens: 0, rope: nil, precision: .float32, into: out, logSumExp: sums,
          workspace: workspace, control: RunControl())
        try device.attentionBackward(
          g.rows(images), qkv: qkv.rows(images), output: out, logSumExp: sums, heads: heads, prefixTokens: 0, rope: nil,
          precision: .float32, into: result, workspace: workspace, control: RunControl())
        return [out.floatArray(), sums.floatArray(), result.floatArray()]
      }
      let (whole, alone) = (try run(0..<batch), try (0..<batch).map { try run($0..<$0 + 1) })
      for index in whole.indices { #expect(whole[index] == alone.flatMap { $0[index] }, "\(batch) images") }
    }
  }

  @Test func aCancelledBackwardStops() throws {
    guard let device = try trainingDevices().last else { return }
    let (qkv, out, sums) = (try device.zeros([1, 4, 12]), try device.zeros([1, 4, 4]), try device.zeros([1, 1, 4]))
    let cancellation = Cancellation()
    cancellation.request()
    #expect(throws: MedDINOError.cancelled) {
      try device.attentionBackward(
        out, qkv: qkv, output: out, logSumExp: sums, heads: 1, prefixTokens: 0, rope: nil, precision: .float32, into: qkv,
        workspace: Workspace(device.budget), control: RunControl(cancellation: cancellation))
    }
  }
}

/// Attention and its backward by the definition, in double precision, with the roundings of a bf16 rotation.
private struct PlainAttention {
  let form: AttentionTrainingTests.Form
  let sine, cosine: [Float]
  init(form: AttentionTrainingTests.Form, rope: RopeTable?) {
    self.form = form
    sine = rope?.sine.floatArray() ?? []
    cosine = rope?.cosine.floatArray() ?? []
  }
  private var d: Int { form.dim / form.heads }
  private func round(_ x: Double) -> Double { Double(roundedToBFloat16(Float(x))) }

  private func rotate(_ x: [Double], _ token: Int) -> [Double] {
    let x = form.rounds ? x.map(round) : x
    guard form.rope, token >= form.prefix else { return x }
    let at = (token - form.prefix) * d
    return (0..<d).map { i in
      let turned = i < d / 2 ? -x[i + d / 2] : x[i - d / 2]
      let (a, b) = (x[i] * Double(cosine[at + i]), turned * Double(sine[at + i]))
      return form.rounds ? round(round(a) + round(b)) : a + b
    }
  }
  private func rotateBack(_ g: [Double], _ token: Int) -> [Double] {
    let g = form.rounds ? g.map(round) : g
    guard form.rope, token >= form.prefix else { return g }
    let at = (token - form.prefix) * d
    return (0..<d).map { i in
      let j = i < d / 2 ? i + d / 2 : i - d / 2
      let (a, b) = (g[i] * Double(cosine[at + i]), (i < d / 2 ? 1 : -1) * g[j] * Double(sine[at + j]))
      return form.rounds ? round(round(a) + round(b)) : a + b
    }
  }

  func backward(_ qkv: [Float], _ g: [Float]) -> [Double] {
    var result = [Double](repeating: 0, count: qkv.count)
    let n = form.tokens
    for image in 0..<2 {
      for head in 0..<form.heads {
        func row(_ part: Int, _ token: Int) -> [Double] {
          let at = ((image * n + token) * 3 + part) * form.dim + head * d
          return doubles(Array(qkv[at..<at + d]))
        }
        let q = (0..<n).map { rotate(row(0, $0), $0) }
        let k = (0..<n).map { rotate(row(1, $0), $0) }
        let v = (0..<n).map { row(2, $0) }
        let outer = (0..<n).map { t in doubles(Array(g[((image * n + t) * form.dim + head * d)...].prefix(d))) }
        let (dq, dk, dv) = slopes(q, k, v, outer)
        for t in 0..<n {
          for (part, values) in [(0, rotateBack(dq[t], t)), (1, rotateBack(dk[t], t)), (2, dv[t])] {
            let at = ((image * n + t) * 3 + part) * form.dim + head * d
            for i in 0..<d { result[at + i] = values[i] }
          }
        }
      }
    }
    return result
  }

  private func slopes(_ q: [[Double]], _ k: [[Double]], _ v: [[Double]], _ g: [[Double]]) -> ([[Double]], [[Double]], [[Double]]) {
    let n = form.tokens
    let scale = 1 / Double(d).squareRoot()
    func dot(_ a: [Double], _ b: [Double]) -> Double {
      var sum = 0.0
      for i in 0..<d { sum += a[i] * b[i] }
      return sum
    }
    let zero = [[Double]](repeating: [Double](repeating: 0, count: d), count: n)
    var (dq, dk, dv) = (zero, zero, zero)
    for t in 0..<n {
      var p = (0..<n).map { dot(q[t], k[$0]) * scale }
      let top = p.max() ?? 0
      p = p.map { exponential($0 - top) }
      let sum = p.reduce(0, +)
      p = p.map { $0 / sum }
      let dp = (0..<n).map { dot(g[t], v[$0]) }
      let mean = (0..<n).reduce(0.0) { $0 + p[$1] * dp[$1] }
      for s in 0..<n {
        let ds = p[s] * (dp[s] - mean) * scale
        for i in 0..<d {
          dv[s][i] += p[s] * g[t][i]
          dq[t][i] += ds * k[s][i]
          dk[s][i] += ds * q[t][i]
        }
      }
    }
    return (dq, dk, dv)
  }
}
