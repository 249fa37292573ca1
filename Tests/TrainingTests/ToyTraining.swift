import Platform
import TestSupport
import Tensors
import Training
import WeightFiles

/// A few parameters whose gradients are a function of the step and of the values, trained by the real optimiser.
final class ToyTraining {
  let device: CPUDevice
  let parameters: [Parameter]
  let optimizer: AdamW
  let average: ParameterAverage
  var state = CheckpointState(architecture: .object(("dim", .integer(5)), ("name", .string("toy"))))

  init(
    seed: UInt64 = 7, options: AdamW.Options = .init(maximumNorm: 1.5), threads: Int = 1, in budget: MemoryBudget = MemoryBudget()
  ) throws {
    device = try CPUDevice(pool: ThreadPool(threads: threads), budget: budget)
    var generator = SeededGenerator(seed)
    parameters = try [("dino_encoder.a", [37, 5]), ("dino_encoder.norm.bias", [19]), ("head.w", [3, 3, 2]), ("head.last", [1])].map {
      try Parameter($0.0, Tensor(generator.floats($0.1.reduce(1, *)), Shape($0.1), in: budget))
    }
    optimizer = try AdamW(parameters, options: options, device: device) { FineTuningRules(decoderRate: 0.02, encoderRate: 0.01).rule($0) }
    average = try ParameterAverage(of: parameters, device: device)
    state.seed = seed
  }

  var tensors: CheckpointTensors { CheckpointTensors(parameters: parameters, optimizer: optimizer, average: average) }

  func setGradients(_ make: (_ parameter: Int, _ element: Int) -> Float) throws {
    for (place, parameter) in parameters.enumerated() {
      parameter.zeroGradient()
      let gradient = try parameter.gradientSum(device)
      for index in 0..<gradient.count { gradient.floats[index] = make(place, index) }
    }
  }

  /// The gradient of ½ |value − noise|², the noise keyed by step and parameter.
  func step() throws {
    var noises = parameters.indices.map { CounterRandom(seed: state.seed, purpose: "toy", step: UInt64(state.step), item: UInt64($0)) }
    let values = parameters.map { $0.value.floatArray() }
    try setGradients { values[$0][$1] - Float(noises[$0].normal()) }
    let decay = PolynomialDecay(epochs: 50)
    let report = try optimizer.step(.init(learningRate: decay.factor(epoch: state.step)))
    average.update(momentum: 0.9)
    state.step += 1
    state.dataPosition += 2
    let measured = JSONObject([("norm", .number(report.norms[0]))])
    state.history.append(MetricsRecord(.step, step: state.step, epoch: 0, values: measured))
  }

  /// Every bit that training depends on.
  var bits: [UInt32] {
    let values: [Tensor] = parameters.map(\.value) + average.tensors.map(\.tensor)
    let moments: [Tensor] = optimizer.members.flatMap { [$0.firstMoment, $0.secondMoment] }
    return (values + moments).flatMap { $0.floatArray().map(\.bitPattern) }
  }
}
