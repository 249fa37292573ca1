import Platform
import TestSupport
import Testing
@testable import Tensors

/// Small graphs whose gradients are known.
@Suite struct TapeTests {
  let device: CPUDevice
  let tape: Tape
  init() throws {
    device = try CPUDevice(pool: ThreadPool(threads: 2), budget: MemoryBudget())
    tape = Tape(device)
  }
  private func tensor(_ shape: Shape, seed: UInt64) throws -> Tensor {
    var generator = SeededGenerator(seed)
    return try Tensor(generator.floats(shape.count), shape, in: device.budget)
  }
  private func close(_ a: [Float]?, _ b: [Float]) -> Bool {
    guard let a, a.count == b.count else { return false }
    return zip(a, b).allSatisfy { abs($0 - $1) <= 1e-5 * max(1, abs($1)) }
  }

  @Test func sharedWeightsSum() throws {
    let weight = Parameter("w", try tensor([3, 3], seed: 1))
    let input = tape.leaf(try tensor([2, 3], seed: 2))
    let middle = try tape.linear(input, weight: tape.variable(weight))
    let output = try tape.linear(middle, weight: tape.variable(weight))
    let above = try tensor([2, 3], seed: 3)
    let (w, x, g) = (weight.value.floatArray(), input.value.floatArray(), above.floatArray())
    try tape.backward(from: output, gradient: above)
    var (toWeight, toInput) = ([Float](repeating: 0, count: 9), [Float](repeating: 0, count: 6))
    for r in 0..<2 {
      let h = (0..<3).map { o in (0..<3).reduce(Float(0)) { $0 + w[o * 3 + $1] * x[r * 3 + $1] } }
      let toMiddle = (0..<3).map { i in (0..<3).reduce(Float(0)) { $0 + g[r * 3 + $1] * w[$1 * 3 + i] } }
      for o in 0..<3 {
        for i in 0..<3 {
          toWeight[o * 3 + i] += g[r * 3 + o] * h[i] + toMiddle[o] * x[r * 3 + i]
          toInput[r * 3 + i] += toMiddle[o] * w[o * 3 + i]
        }
      }
    }
    #expect(close(weight.gradient?.floatArray(), toWeight) && close(input.gradient?.floatArray(), toInput))
    // A second step adds; after zeroing there is none, which is not the same as zeros.
    let again = try tape.linear(try tape.linear(Variable(input.value), weight: tape.variable(weight)), weight: tape.variable(weight))
    try tape.backward(from: again, gradient: tensor([2, 3], seed: 3))
    #expect(close(weight.gradient?.floatArray(), toWeight.map { 2 * $0 }))
    weight.zeroGradient()
    #expect(weight.gradient == nil && weight.gradientByteCount == 36)
    #expect(try weight.gradientSum(device).floatArray() == [Float](repeating: 0, count: 9))
  }

  @Test func rowsAndConcatenation() throws {
    let a = tape.leaf(try tensor([4, 2], seed: 1))
    let b = tape.leaf(try tensor([1, 2], seed: 2))
    let joined = try tape.concatenate([try tape.gather(a, [3, 1]), b, try tape.gather(a, [0, 1])])
    #expect(joined.shape == [5, 2])
    let (av, bv) = (a.value.floatArray(), b.value.floatArray())
    let expected: [Float] = [av[6], av[7], av[2], av[3], bv[0], bv[1], av[0], av[1], av[2], av[3]]
    #expect(joined.value.floatArray() == expected)
    try tape.backward(from: joined, gradient: Tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [5, 2], in: device.budget))
    #expect(a.gradient?.floatArray() == [7, 8, 12, 14, 0, 0, 1, 2])
    #expect(b.gradient?.floatArray() == [5, 6])
    #expect(throws: MedDINOError.self) { _ = try tape.concatenate([]) }
  }

  @Test func residualOfSomeImages() throws {
    let stream = tape.leaf(try tensor([3, 1, 2], seed: 1))
    let branch = tape.leaf(try tensor([2, 1, 2], seed: 2))
    let gamma = Parameter("g", try tensor([2], seed: 3))
    let sum = try tape.residual(stream, branch, indices: [2, 0], scale: 1.5, gamma: tape.variable(gamma))
    let (s, b, c) = (stream.value.floatArray(), branch.value.floatArray(), gamma.value.floatArray())
    let kept = [b[2], b[3], 0, 0, b[0], b[1]]
    #expect(close(sum.value.floatArray(), (0..<6).map { s[$0] + 1.5 * c[$0 % 2] * kept[$0] }))
    let g: [Float] = [1, 2, 3, 4, 5, 6]
    try tape.backward(from: sum, gradient: Tensor(g, [3, 1, 2], in: device.budget))
    #expect(stream.gradient?.floatArray() == g)
    #expect(close(branch.gradient?.floatArray(), [7.5 * c[0], 9 * c[1], 1.5 * c[0], 3 * c[1]]))
    #expect(close(gamma.gradient?.floatArray(), [7.5 * b[0] + 1.5 * b[2], 9 * b[1] + 3 * b[3]]))
  }

  @Test func imagesGetTheGradientOfTheirPatches() throws {
    let images = tape.leaf(try tensor([2, 1, 5, 7], seed: 1))
    let weight = Parameter("w", try tensor([3, 2, 2, 2], seed: 2), isTrainable: false)
    let doubled = try tape.repeatChannels(images, 2)
    let output = try tape.patchEmbedding(doubled, weight: tape.variable(weight), bias: nil, size: 2)
    #expect(output.shape == [12, 3])
    let above = try tensor([12, 3], seed: 3)
    let (g, w) = (above.floatArray(), weight.value.floatArray())
    try tape.backward(from: output, gradient: above)
    var expected = [Float](repeating: 0, count: 70)
    for patch in 0..<12 {
      let (image, row, column) = (patch / 6, patch / 3 % 2, patch % 3)
      for o in 0..<3 {
        for place in 0..<8 {
          let pixel = (image * 5 + row * 2 + place / 2 % 2) * 7 + column * 2 + place % 2
          expected[pixel] += g[patch * 3 + o] * w[o * 8 + place]
        }
      }
    }
    #expect(close(images.gradient?.floatArray(), expected))
    #expect(weight.gradient == nil)
  }

  @Test func constantsOfABias() throws {
    let bias = Parameter("b", try tensor([3], seed: 1))
    let masked = try tape.scaled(tape.variable(bias), by: Tensor([1, 0, 2], [3], in: device.budget))
    let b = bias.value.floatArray()
    #expect(masked.value.floatArray() == [b[0], 0, 2 * b[2]])
    try tape.backward(from: masked, gradient: Tensor([3, 4, 5], [3], in: device.budget))
    #expect(bias.gradient?.floatArray() == [3, 0, 10])
  }

  @Test func nothingIsRecordedForConstants() throws {
    let frozen = Parameter("w", try tensor([3, 3], seed: 1), isTrainable: false)
    let output = try tape.gelu(try tape.linear(Variable(try tensor([2, 3], seed: 2)), weight: tape.variable(frozen)))
    #expect(!output.needsGradient && tape.recordedCount == 0)
    try tape.backward(from: output, gradient: tensor([2, 3], seed: 3))
    #expect(frozen.gradient == nil && frozen.gradientByteCount == 0)
    let trained = Parameter("v", try tensor([3, 3], seed: 1))
    let unused = try tape.linear(output, weight: tape.variable(trained))
    let silent = try tape.withoutRecording { () throws(MedDINOError) in try tape.gelu(unused) }
    #expect(silent.needsGradient && tape.recordedCount == 1)
    // A result that nobody seeded brings nothing.
    try tape.backward()
    #expect(trained.gradient == nil && tape.recordedCount == 0)
  }

  @Test func nestedCheckpointsGiveTheSameBits() throws {
    let weights = try (0..<4).map { Parameter("w\($0)", try tensor([8, 8], seed: UInt64(10 + $0))) }
    let start = try tensor([5, 8], seed: 2)
    func run(_ depth: Int) throws -> ([Float]?, [[Float]?]) {
      for weight in weights { weight.zeroGradient() }
      let input = tape.leaf(start)
      func layers(_ tape: Tape, _ x: Variable, _ range: Range<Int>) throws(MedDINOError) -> Variable {
        var x = x
        for index in range { x = try tape.gelu(try tape.linear(x, weight: tape.variable(weights[index]))) }
        return x
      }
      let output: Variable
      switch depth {
      case 0: output = try layers(tape, input, 0..<4)
      case 1:
        output = try tape.checkpoint(input) { (tape, x) throws(MedDINOError) in try layers(tape, x, 0..<4) }
      default:
        output = try tape.checkpoint(input) { (tape, x) throws(MedDINOError) in
          let middle = try tape.checkpoint(x) { (tape, x) throws(MedDINOError) in try layers(tape, x, 0..<3) }
          return try layers(tape, middle, 3..<4)
        }
      }
      #expect(tape.recordedCount == (depth == 0 ? 8 : 1))
      try tape.backward(from: output, gradient: tensor([5, 8], seed: 3))
      return (input.gradient?.floatArray(), weights.map { $0.gradient?.floatArray() })
    }
    let plain = try run(0)
    for depth in [1, 2] {
      let again = try run(depth)
      #expect(again.0 == plain.0 && again.1 == plain.1)
    }
    #expect(plain.0 != nil && plain.1.allSatisfy { $0 != nil })
  }

  @Test func memoryIsUsedAgainAndGivenBack() throws {
    let weight = Parameter("w", try tensor([64, 64], seed: 1))
    let input = try tensor([256, 64], seed: 2)
    func step() throws {
      var x = Variable(input)
      for _ in 0..<6 { x = try tape.gelu(try tape.linear(x, weight: tape.variable(weight))) }
      let above = try tape.tensor(x.shape, "gradient")
      above.copy(from: input)
      try tape.backward(from: x, gradient: above)
    }
    // The first step makes what is kept; scratch that outlives it counts from the second on.
    for _ in 0..<2 { try step() }
    let (held, peak) = (device.budget.bytesInUse, device.budget.peakBytes)
    for _ in 0..<3 { try step() }
    #expect(device.budget.bytesInUse == held && device.budget.peakBytes == peak)
    tape.trim()
    #expect(device.budget.bytesInUse < held - 6 * input.byteCount)
  }

  /// Tensors of nearly the same size take turns in one piece of memory, whichever comes first.
  @Test(arguments: [[300, 250], [250, 300], [200, 220, 240, 260, 280]]) func similarSizesShareMemory(sizes: [Int]) throws {
    let before = device.budget.bytesInUse
    for _ in 0..<3 {
      for size in sizes {
        let pair = (try tape.tensor([size, 64], "a"), try tape.tensor([size, 64], "b"))
        #expect(pair.0.pointer != pair.1.pointer)
      }
    }
    #expect(device.budget.bytesInUse - before == 2 * (sizes.max() ?? 0) * 64 * 4)
    let (large, small) = (try tape.tensor([1000, 64], "large"), try tape.tensor([500, 64], "small"))
    #expect(large.pointer != small.pointer)
    withExtendedLifetime((large, small)) {}
  }
}
