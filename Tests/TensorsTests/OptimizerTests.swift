import Platform
import TestSupport
import Testing

@testable import Tensors

@Suite struct OptimizerTests {
  @Test func adamWFollowsTheFormula() throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(61)
      let count = 77
      let parameter = try random.tensor([count], on: device)
      let (first, second) = (try device.zeros([count]), try device.zeros([count]))
      var (p, m, v) = (doubles(parameter), [Double](repeating: 0, count: count), [Double](repeating: 0, count: count))
      for step in 1...5 {
        let gradient = try random.tensor([count], on: device)
        let update = AdamWUpdate(
          learningRate: 1e-2, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.05, step: step, gradientScale: 0.5)
        device.adamW(parameter, gradient: gradient, firstMoment: first, secondMoment: second, update)
        let slopes = gradient.floatArray()
        let (one, two) = (1 - power(0.9, step), 1 - power(0.98, step))
        for i in 0..<count {
          let g = Double(slopes[i]) * 0.5
          p[i] *= 1 - 1e-2 * 0.05
          m[i] = 0.9 * m[i] + 0.1 * g
          v[i] = 0.98 * v[i] + 0.02 * g * g
          p[i] -= 1e-2 / one * m[i] / ((v[i] / two).squareRoot() + 1e-8)
        }
      }
      #expect(relativeError(parameter, p) < 1e-6 && relativeError(first, m) < 1e-6 && relativeError(second, v) < 1e-6, "\(device.name)")
    }
  }
  private func power(_ base: Double, _ exponent: Int) -> Double { (0..<exponent).reduce(1) { result, _ in result * base } }

  @Test func elementWiseOperations() throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(62)
      let (x, y) = (random.floats(70_001), random.floats(70_001))
      let target = try device.tensor(x, [70_001])
      let source = try device.tensor(y, [70_001])
      device.add(source, factor: -0.25, to: target)
      let summed = zip(x, y).map { a, b -> Double in Double(a) - 0.25 * Double(b) }
      #expect(relativeError(target, summed) < 1e-6)
      device.scale(target, 3)
      device.interpolate(source, momentum: 0.75, into: target)
      let expected = zip(summed, y).map { sum, b -> Double in 2.25 * sum + 0.25 * Double(b) }
      #expect(relativeError(target, expected) < 1e-6)
      let squares = doubles(y).reduce(0) { $0 + $1 * $1 }
      #expect(abs(device.sumOfSquares(source) - squares) < 1e-9 * squares)
      device.fill(target, -2)
      #expect(target.floatArray().allSatisfy { $0 == -2 })
    }
  }

  @Test func sumsDoNotDependOnThreads() throws {
    var first: ([Float], Double)?
    for threads in 1...3 {
      guard let device = try trainingDevices(threads: threads).last else { return }
      var random = SeededGenerator(63)
      let (rows, columns) = (3000, 40)
      let x = try random.tensor([rows, columns], on: device)
      let g = try random.tensor([rows, columns], on: device)
      let w = try random.tensor([columns], on: device)
      let (dw, db, weight) = (try device.zeros([columns]), try device.zeros([columns]), try device.zeros([columns, columns]))
      try device.layerNormBackward(x, weight: w, epsilon: 1e-6, gradient: g, addingTo: nil, weightGradient: dw, biasGradient: db)
      try device.linearBackward(g, input: x, weight: weight, precision: .float32, into: LinearGradients(weight: weight, bias: db))
      let all = dw.floatArray() + db.floatArray() + weight.floatArray()
      let squares = device.sumOfSquares(x)
      if let first { #expect(first == (all, squares)) } else { first = (all, squares) }
    }
  }
}
