internal import Platform
internal import Tensors

/// A linear layer that is trained: its parameters, the constants of a masked bias, low-rank factors beside it.
struct TrainableLinear {
  let weight: Parameter
  let bias: Parameter?
  /// Factors of the bias: 0 for the key third of `mask_k_bias`. Source: model specification 1.6.
  var biasMask: Tensor?
  var factors: LowRankFactors?

  func callAsFunction(_ input: Variable, _ tape: Tape) throws(MedDINOError) -> Variable {
    var bias = bias.map(tape.variable)
    if let whole = bias, let biasMask { bias = try tape.scaled(whole, by: biasMask) }
    let output = try tape.linear(input, weight: tape.variable(weight), bias: bias)
    guard let factors else { return output }
    let low = try tape.linear(input, weight: tape.variable(factors.down))
    let high = try tape.linear(low, weight: tape.variable(factors.up))
    return try tape.residual(output, high, scale: factors.scale, inPlace: true)
  }

  /// The weight that acts, in memory of its own where factors are merged. Throws: `.outOfMemory`.
  func merged(_ device: any TrainingDevice) throws(MedDINOError) -> Tensor {
    guard let factors else { return weight.value }
    let result = try Tensor(weight.shape, in: device.budget, weight.name)
    result.copy(from: weight.value)
    let up = try Tensor(factors.up.shape, in: device.budget, factors.up.name)
    up.copy(from: factors.up.value)
    device.scale(up, factors.scale)
    // B · A as the input gradient of a linear layer whose weight is A.
    try device.linearBackward(
      up, input: result, weight: factors.down.value, precision: .float32, into: LinearGradients(input: result, addsToInput: true))
    return result
  }
}

/// W + scale · up · down. Shapes: down [rank, inputs], up [outputs, rank].
struct LowRankFactors {
  let down: Parameter
  let up: Parameter
  let scale: Float

  /// `down` Gaussian with deviation 1 / √inputs, `up` zero: the network starts as it was.
  init(_ name: String, outputs: Int, inputs: Int, rank: Int, alpha: Float, seed: UInt64, in budget: MemoryBudget) throws(MedDINOError) {
    let first = try Tensor([rank, inputs], in: budget, name + ".lora_A")
    let second = try Tensor([outputs, rank], in: budget, name + ".lora_B")
    var random = CounterRandom(seed: seed, purpose: .init(name + ".lora_A"))
    let deviation = 1 / Double(inputs).squareRoot()
    let values = first.floats
    for index in values.indices { values[index] = Float(random.normal() * deviation) }
    second.floats.update(repeating: 0)
    down = Parameter(name + ".lora_A", first)
    up = Parameter(name + ".lora_B", second)
    scale = alpha / Float(rank)
  }
}
