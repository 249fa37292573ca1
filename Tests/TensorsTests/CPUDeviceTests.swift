import Platform
import TestSupport
import Testing

@testable import Tensors

/// Every instruction set that runs here, or the one that MEDDINO_SIMD forces.
private func devices(threads: Int = 2) throws -> [CPUDevice] {
  let forced = try environment("MEDDINO_SIMD").map { try InstructionSet.named($0) }
  let sets = forced.map { [$0] } ?? InstructionSet.allCases.filter(\.isSupported)
  return try sets.map { try CPUDevice(pool: ThreadPool(threads: threads), budget: MemoryBudget(), instructionSet: $0) }
}

@Suite struct CPUDeviceTests {
  @Test func precisionsHaveNames() {
    for name in ["f32", "fp32", "float32"] { #expect(Precision(named: name) == .float32) }
    for name in ["bf16", "bfloat16"] { #expect(Precision(named: name) == .bfloat16) }
    for name in ["", "F32", "half", "f64"] { #expect(Precision(named: name) == nil) }
  }

  @Test(arguments: [Precision.float32, .bfloat16]) func linearMatchesAPlainLoop(precision: Precision) throws {
    for device in try devices() {
      for (rows, inputs, outputs) in [(1, 8, 5), (37, 70, 33), (3, 40, 1000), (700, 64, 1000)] {
        var random = SeededGenerator(1)
        let x = random.floats(rows * inputs)
        let w = random.floats(outputs * inputs)
        let b = random.floats(outputs)
        let layer = try device.pack(
          weight: Tensor(w, [outputs, inputs], in: device.budget), bias: Tensor(b, [outputs], in: device.budget),
          precision: precision)
        let y = try Tensor([rows, outputs], in: device.budget)
        try device.linear(Tensor(x, [rows, inputs], in: device.budget), layer, into: y, .none)
        let seen: (Float) -> Double = { Double(precision == .float32 ? $0 : roundedToBFloat16($0)) }
        var worst = 0.0
        for r in stride(from: 0, to: rows, by: 7) {
          for o in 0..<outputs {
            var sum = Double(b[o])
            for i in 0..<inputs { sum += seen(x[r * inputs + i]) * seen(w[o * inputs + i]) }
            worst = max(worst, abs(sum - Double(y.floats[r * outputs + o])))
          }
        }
        #expect(worst < 2e-5, "\(device.name) \(rows)×\(inputs)×\(outputs): \(worst)")
      }
    }
  }

  /// The residual's offsets of every tile: rows and columns in several pieces, the output's own values, gamma per column.
  @Test(arguments: [Precision.float32, .bfloat16]) func residualIsAddedOntoTheOutput(precision: Precision) throws {
    for device in try devices() {
      let (rows, inputs, outputs) = (290, 24, 900)
      var random = SeededGenerator(4)
      let x = try Tensor(random.floats(rows * inputs), [rows, inputs], in: device.budget)
      let gamma = random.floats(outputs)
      let start = random.floats(rows * outputs)
      let layer = try device.pack(
        weight: Tensor(random.floats(outputs * inputs), [outputs, inputs], in: device.budget),
        bias: Tensor(random.floats(outputs), [outputs], in: device.budget), precision: precision)
      let plain = try Tensor([rows, outputs], in: device.budget)
      try device.linear(x, layer, into: plain, .none)
      let y = try Tensor(start, [rows, outputs], in: device.budget)
      try device.linear(x, layer, into: y, .residual(gamma: Tensor(gamma, [outputs], in: device.budget)))
      var worst: Float = 0
      for i in 0..<rows * outputs { worst = max(worst, abs(y.floats[i] - (start[i] + gamma[i % outputs] * plain.floats[i]))) }
      #expect(worst < 2e-6, "\(device.name): \(worst)")
    }
  }

  @Test func tilesCoverEveryElementOnce() {
    for (rows, columns) in [(1, 1), (1, 5000), (139, 16), (141, 768), (448, 6144), (1029, 2304), (3141, 769), (0, 7)] {
      let tiling = ProductTiling(rows: rows, columns: columns, rowLimit: 96)
      var hits = [UInt8](repeating: 0, count: rows * columns)
      for task in 0..<tiling.count {
        let tile = tiling[task]
        #expect(tile.rows.count <= 96 && tile.columns.lowerBound % ProductTiling.columnUnit == 0)
        #expect(!tile.rows.isEmpty && !tile.columns.isEmpty)
        for r in tile.rows { for c in tile.columns { hits[r * columns + c] += 1 } }
      }
      #expect(hits.allSatisfy { $0 == 1 }, "\(rows)×\(columns)")
    }
  }

  @Test func attentionMatchesAPlainSoftmax() throws {
    for device in try devices() {
      for (tokens, heads, dim, prefix) in [(12, 2, 16, 3), (40, 3, 96, 5), (131, 2, 128, 1)] {
        var random = SeededGenerator(2)
        let qkv = try Tensor(random.floats(2 * tokens * 3 * dim), [2, tokens, 3 * dim], in: device.budget)
        let out = try Tensor([2, tokens, dim], in: device.budget)
        try device.attention(
          qkv, heads: heads, prefixTokens: prefix, rope: nil, precision: .float32, into: out, workspace: Workspace(device.budget),
          control: RunControl())
        let expected = plainAttention(Array(qkv.floats), tokens: tokens, heads: heads, dim: dim)
        let worst = zip(out.floats, expected).reduce(0.0) { max($0, abs(Double($1.0) - $1.1)) }
        #expect(worst < 3e-6, "\(device.name) \(tokens) tokens: \(worst)")
      }
    }
  }

  @Test(arguments: [Precision.float32, .bfloat16]) func sameBitsForAnyNumberOfThreads(precision: Precision) throws {
    var first: [Float]?
    for threads in 1...3 {
      guard let device = try devices(threads: threads).last else { return }
      var random = SeededGenerator(3)
      let qkv = try Tensor(random.floats(300 * 3 * 64), [1, 300, 3 * 64], in: device.budget)
      let out = try Tensor([1, 300, 64], in: device.budget)
      try device.attention(
        qkv, heads: 2, prefixTokens: 0, rope: nil, precision: precision, into: out, workspace: Workspace(device.budget),
        control: RunControl())
      let layer = try device.pack(
        weight: Tensor(random.floats(200 * 64), [200, 64], in: device.budget), bias: nil, precision: precision)
      let y = try Tensor([300, 200], in: device.budget)
      try device.linear(out.reshaped([300, 64]), layer, into: y, .gelu)
      if let first { #expect(first == Array(y.floats)) } else { first = Array(y.floats) }
    }
  }
}

private func plainAttention(_ qkv: [Float], tokens: Int, heads: Int, dim: Int) -> [Double] {
  let d = dim / heads
  var out = [Double](repeating: 0, count: 2 * tokens * dim)
  for image in 0..<2 {
    for h in 0..<heads {
      for q in 0..<tokens {
        func at(_ part: Int, _ token: Int, _ j: Int) -> Double { Double(qkv[(image * tokens + token) * 3 * dim + part * dim + h * d + j]) }
        var scores = (0..<tokens).map { k in (0..<d).reduce(0.0) { $0 + at(0, q, $1) * at(1, k, $1) } / Double(d).squareRoot() }
        let top = scores.max() ?? 0
        scores = scores.map { exponential($0 - top) }
        let sum = scores.reduce(0, +)
        for j in 0..<d {
          out[(image * tokens + q) * dim + h * d + j] = (0..<tokens).reduce(0.0) { $0 + scores[$1] * at(2, $1, j) } / sum
        }
      }
    }
  }
  return out
}
