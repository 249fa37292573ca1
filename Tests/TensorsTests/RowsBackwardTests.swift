import Platform
import TestSupport
import Testing

@testable import Tensors

@Suite struct RowsBackwardTests {
  @Test(arguments: [false, true]) func normBackwardsMatchDifferences(centred: Bool) throws {
    for device in try trainingDevices() {
      for (rows, columns) in [(1, 1), (3, 5), (2, 33), (70, 19)] {
        var random = SeededGenerator(21)
        let (x, w, g) = (random.floats(rows * columns, in: -2...3), random.floats(columns), random.floats(rows * columns))
        let start = random.floats(rows * columns)
        let b = random.floats(columns)
        func loss(_ x: [Double], _ w: [Double], _ b: [Double]) -> Double {
          var total = 0.0
          for r in 0..<rows {
            let row = x[r * columns..<(r + 1) * columns]
            let mean = centred ? row.reduce(0, +) / Double(columns) : 0
            let spread = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns)
            let scale = 1 / (spread + 1e-3).squareRoot()
            for c in 0..<columns { total += Double(g[r * columns + c]) * ((row[r * columns + c] - mean) * scale * w[c] + b[c]) }
          }
          return total
        }
        let (wide, weights, biases) = (doubles(x), doubles(w), doubles(b))
        let dx = try device.tensor(start, [rows, columns])
        let (dw, db) = (try device.zeros([columns]), try device.zeros([columns]))
        let (input, weight, gradient) = (
          try device.tensor(x, [rows, columns]), try device.tensor(w, [columns]), try device.tensor(g, [rows, columns])
        )
        if centred {
          try device.layerNormBackward(
            input, weight: weight, epsilon: 1e-3, gradient: gradient, addingTo: dx, weightGradient: dw, biasGradient: db)
          #expect(relativeError(db, differences(biases) { loss(wide, weights, $0) }) < 1e-5)
        } else {
          try device.rmsNormBackward(
            input, weight: weight, epsilon: 1e-3, gradient: gradient, addingTo: dx, weightGradient: dw)
        }
        let expected = rows * columns < 200 ? differences(wide) { loss($0, weights, biases) } : []
        if !expected.isEmpty {
          #expect(relativeError(dx, zip(expected, start).map { $0 + Double($1) }) < 1e-5, "\(device.name) \(rows)×\(columns)")
        }
        #expect(relativeError(dw, differences(weights) { loss(wide, $0, biases) }) < 1e-5, "\(device.name) \(rows)×\(columns)")
      }
    }
  }

  @Test func onlyWhatIsAskedForIsComputed() throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(22)
      let (x, w, g) = (try random.tensor([5, 9], on: device), try random.tensor([9], on: device), try random.tensor([5, 9], on: device))
      let (all, some) = (try device.zeros([9]), try device.zeros([9]))
      try device.layerNormBackward(
        x, weight: w, epsilon: 1e-6, gradient: g, addingTo: nil, weightGradient: device.zeros([9]), biasGradient: all)
      try device.layerNormBackward(x, weight: w, epsilon: 1e-6, gradient: g, addingTo: nil, weightGradient: nil, biasGradient: some)
      #expect(all.floatArray() == some.floatArray())
      #expect(all.floatArray().contains { $0 != 0 })
    }
  }

  @Test func geluAndSwiGLUMatchDifferences() throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(23)
      let count = 61
      let (x, up, g) = (random.floats(count, in: -6...6), random.floats(count), random.floats(count))
      func total(_ x: [Double], _ f: (Double, Int) -> Double) -> Double { x.indices.reduce(0) { $0 + Double(g[$1]) * f(x[$1], $1) } }
      let sigmoid: (Double) -> Double = { 1 / (1 + exponential(-$0)) }
      let y = try device.tensor(g, [count])
      try device.geluBackward(device.tensor(x, [count]), gradient: y, into: y)
      #expect(relativeError(y, differences(doubles(x)) { total($0) { x, _ in geluOf(x) } }) < 1e-6, "\(device.name)")
      let gate = try device.tensor(g, [count])
      let upGradient = try device.zeros([count])
      try device.swiGLUBackward(
        gate: device.tensor(x, [count]), up: device.tensor(up, [count]), gradient: gate, gateGradient: gate, upGradient: upGradient)
      let byGate = differences(doubles(x)) { total($0) { x, i in x * sigmoid(x) * Double(up[i]) } }
      let byUp = differences(doubles(up)) { total($0) { u, i in Double(x[i]) * sigmoid(Double(x[i])) * u } }
      #expect(relativeError(gate, byGate) < 1e-6, "\(device.name)")
      #expect(relativeError(upGradient, byUp) < 1e-6, "\(device.name)")
      try device.gelu(device.tensor(x, [count]), into: y)
      #expect(relativeError(y, doubles(x).map { geluOf($0) }) < 1e-6, "\(device.name)")
    }
  }

  @Test func residualsAndTokens() throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(24)
      let (tokens, dim) = (70, 11)
      let stream = random.floats(3 * tokens * dim)
      let branch = random.floats(2 * tokens * dim)
      let gamma = random.floats(dim)
      let indices = [2, 0]
      let target = try device.tensor(stream, [3, tokens, dim])
      let kept = try device.tensor(branch, [2, tokens, dim])
      let factor = try device.tensor(gamma, [dim])
      device.addResidual(kept, indices: indices, scale: 1.5, gamma: factor, to: target)
      var expected = doubles(stream)
      for i in 0..<2 * tokens * dim {
        expected[indices[i / (tokens * dim)] * tokens * dim + i % (tokens * dim)] += 1.5 * Double(gamma[i % dim]) * Double(branch[i])
      }
      #expect(relativeError(target, expected) < 1e-6)
      let (back, slope) = (try device.zeros([2, tokens, dim]), try device.zeros([dim]))
      try device.addResidualBackward(
        device.tensor(stream, [3, tokens, dim]), branch: kept, indices: indices, scale: 1.5, gamma: factor, branchGradient: back,
        gammaGradient: slope)
      var (byBranch, byGamma) = (expected, [Double](repeating: 0, count: dim))
      byBranch.removeLast(tokens * dim)
      for i in 0..<2 * tokens * dim {
        let g = 1.5 * Double(stream[indices[i / (tokens * dim)] * tokens * dim + i % (tokens * dim)])
        byBranch[i] = g * Double(gamma[i % dim])
        byGamma[i % dim] += g * Double(branch[i])
      }
      #expect(relativeError(back, byBranch) < 1e-6)
      #expect(relativeError(slope, byGamma) < 1e-6)
      let scattered = try device.tensor(stream, [3, tokens, dim])
      device.scatterAddImages(kept, indices, to: scattered)
      #expect(scattered.floatArray()[2 * tokens * dim] == stream[2 * tokens * dim] + branch[0])
      #expect(scattered.floatArray()[tokens * dim] == stream[tokens * dim])
    }
  }

  @Test func assembledTokensGoBackToWhereTheyCameFrom() throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(25)
      let g = random.floats(2 * 5 * 3)
      let mask = try Tensor([2, 3], .uint8, in: device.budget)
      for (i, flag) in [0, 1, 0, 1, 1, 0].enumerated() { mask.elements(UInt8.self)[i] = UInt8(flag) }
      let (prefix, token, patches) = (try device.tensor([1, 0, 0, 0, 0, 0], [2, 3]), try device.zeros([3]), try device.zeros([6, 3]))
      let gradient = try device.tensor(g, [2, 5, 3])
      device.assembleTokensBackward(
        gradient, mask: mask, prefixGradient: prefix, maskTokenGradient: token, patchGradient: patches)
      #expect(prefix.floatArray()[0] == 1 + g[0] + g[15])
      #expect(token.floatArray()[1] == g[3 * 3 + 1] + g[15 + 2 * 3 + 1] + g[15 + 3 * 3 + 1])
      var expected = [Float](repeating: 0, count: 18)
      for (patch, row) in [(0, 2), (2, 4), (5, 9)] { for i in 0..<3 { expected[3 * patch + i] = g[3 * row + i] } }
      #expect(patches.floatArray() == expected)
    }
  }
}

private func geluOf(_ x: Double) -> Double { 0.5 * x * complementaryError(-x / 2.0.squareRoot()) }
