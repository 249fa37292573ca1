import Platform
import TestSupport
import Testing

@testable import Tensors

@Suite struct LinearTrainingTests {
  private static let shapes = [(1, 8, 5), (37, 70, 33), (300, 40, 200), (3, 1, 1), (1500, 12, 20), (3200, 5, 7)]

  @Test(arguments: [Precision.float32, .bfloat16]) func backwardIsTheTransposedProducts(precision: Precision) throws {
    let seen: (Float) -> Double = { Double(precision == .float32 ? $0 : roundedToBFloat16($0)) }
    for device in try trainingDevices() {
      for (rows, inputs, outputs) in Self.shapes {
        var random = SeededGenerator(11)
        let x = random.floats(rows * inputs)
        let w = random.floats(outputs * inputs)
        let g = random.floats(rows * outputs)
        let start = random.floats(max(rows, outputs) * inputs + outputs)
        let weight = try device.tensor(Array(start[0..<outputs * inputs]), [outputs, inputs])
        let bias = try device.tensor(Array(start[0..<outputs]), [outputs])
        let input = try device.tensor(Array(start[0..<rows * inputs]), [rows, inputs])
        try device.linearBackward(
          device.tensor(g, [rows, outputs]), input: device.tensor(x, [rows, inputs]), weight: device.tensor(w, [outputs, inputs]),
          precision: precision, into: LinearGradients(input: input, addsToInput: true, weight: weight, bias: bias))
        var dx = doubles(Array(start[0..<rows * inputs]))
        var dw = doubles(Array(start[0..<outputs * inputs]))
        var db = doubles(Array(start[0..<outputs]))
        for r in 0..<rows {
          for o in 0..<outputs {
            let slope = seen(g[r * outputs + o])
            db[o] += Double(g[r * outputs + o])
            for i in 0..<inputs {
              dx[r * inputs + i] += slope * seen(w[o * inputs + i])
              dw[o * inputs + i] += slope * seen(x[r * inputs + i])
            }
          }
        }
        let worst = [relativeError(input, dx), relativeError(weight, dw), relativeError(bias, db)]
        #expect(worst.allSatisfy { $0 < 4e-6 }, "\(device.name) \(rows)×\(inputs)×\(outputs): \(worst)")
        try device.linearBackward(
          device.tensor(g, [rows, outputs]), input: device.tensor(x, [rows, inputs]), weight: device.tensor(w, [outputs, inputs]),
          precision: precision, into: LinearGradients(input: input))
        for i in 0..<rows * inputs { dx[i] -= Double(start[i]) }
        #expect(relativeError(input, dx) < 4e-6, "\(device.name): written")
        let written = try device.tensor([Float](repeating: .nan, count: outputs * inputs), [outputs, inputs])
        try device.linearBackward(
          device.tensor(g, [rows, outputs]), input: device.tensor(x, [rows, inputs]), weight: device.tensor(w, [outputs, inputs]),
          precision: precision, into: LinearGradients(weight: written, addsToWeight: false))
        for i in 0..<outputs * inputs { dw[i] -= Double(start[i]) }
        #expect(relativeError(written, dw) < 4e-6, "\(device.name): weight gradient written")
      }
    }
  }

  @Test(arguments: [Precision.float32, .bfloat16]) func forwardIsThatOfPackedWeights(precision: Precision) throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(12)
      let (rows, inputs, outputs) = (150, 70, 130)
      let x = try random.tensor([rows, inputs], on: device)
      let w = try random.tensor([outputs, inputs], on: device)
      let b = try random.tensor([outputs], on: device)
      let (plain, packed) = (try device.zeros([rows, outputs]), try device.zeros([rows, outputs]))
      try device.linear(x, weight: w, bias: b, precision: precision, into: plain)
      try device.linear(x, device.pack(weight: w, bias: b, precision: precision), into: packed, .none)
      #expect(plain.floatArray() == packed.floatArray())
    }
  }

  /// A weight that is packed in pieces gives what its halves give, which are packed whole.
  @Test(arguments: [Precision.float32, .bfloat16]) func largeWeightsGoInPieces(precision: Precision) throws {
    guard let device = try trainingDevices().last else { return }
    var random = SeededGenerator(13)
    let (rows, inputs, outputs) = (5, 129, 33000)
    let (x, g) = (try random.tensor([rows, inputs], on: device), try random.tensor([rows, outputs], on: device))
    let (w, b) = (try random.tensor([outputs, inputs], on: device), try random.tensor([outputs], on: device))
    let whole = try device.zeros([rows, outputs])
    try device.linear(x, weight: w, bias: b, precision: precision, into: whole)
    let (toInput, toWeight) = (try device.zeros([rows, inputs]), try device.zeros([outputs, inputs]))
    try device.linearBackward(
      g, input: x, weight: w, precision: precision, into: LinearGradients(input: toInput, weight: toWeight, addsToWeight: false))
    let sum = try device.zeros([rows, inputs])
    for half in [0..<outputs / 2, outputs / 2..<outputs] {
      let part = try device.zeros([rows, half.count])
      try device.linear(x, weight: w.rows(half), bias: b.rows(half), precision: precision, into: part)
      let gradient = try device.zeros([rows, half.count])
      for row in 0..<rows {
        let of = row * outputs + half.lowerBound..<row * outputs + half.upperBound
        #expect(Array(whole.floats[of]) == part.rows(row..<row + 1).floatArray())
        for (index, place) in of.enumerated() { gradient.floats[row * half.count + index] = g.floats[place] }
      }
      let toPart = try device.zeros([half.count, inputs])
      try device.linearBackward(
        gradient, input: x, weight: w.rows(half), precision: precision,
        into: LinearGradients(input: sum, addsToInput: true, weight: toPart))
      #expect(toWeight.rows(half).floatArray() == toPart.floatArray())
    }
    // Long sums in another order.
    #expect(relativeError(toInput, doubles(sum)) < 5e-5)
  }

  @Test func noRowsAreNoGradient() throws {
    guard let device = try trainingDevices().last else { return }
    let weight = try device.tensor([1, 2, 3, 4], [2, 2])
    let (gradient, other) = (try device.tensor([5, 6, 7, 8], [2, 2]), try device.tensor([5, 6, 7, 8], [2, 2]))
    let (input, above) = (try device.zeros([0, 2]), try device.zeros([0, 2]))
    try device.linearBackward(above, input: input, weight: weight, precision: .float32, into: LinearGradients(weight: other))
    try device.linearBackward(
      above, input: input, weight: weight, precision: .float32, into: LinearGradients(weight: gradient, addsToWeight: false))
    #expect(gradient.floatArray() == [0, 0, 0, 0] && other.floatArray() == [5, 6, 7, 8])
  }
}
