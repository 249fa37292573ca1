import Networks
import Platform
import Tensors
import TestSupport
import WeightFiles

let fineTuningGoldens: [GoldenCheck] = [GoldenCheck("finetune*", run: checkFineTuning)]

/// AdamW of the two groups of fine-tuning, written out with the device's operations.
private struct GoldenOptimizer {
  let parameters: [Parameter]
  var moments: [(first: Tensor, second: Tensor)] = []
  let (beta1, beta2, weightDecay, clip): (Double, Double, Double, Double)

  init(_ parameters: [Parameter], _ config: JSON, _ device: CPUDevice) throws {
    self.parameters = parameters
    let betas = config["betas"]?.arrayValue?.compactMap(\.doubleValue) ?? []
    (beta1, beta2) = (betas.first ?? 0.9, betas.last ?? 0.98)
    weightDecay = config["weight_decay"]?.doubleValue ?? 0
    clip = config["clip"]?.doubleValue ?? .infinity
    for parameter in parameters {
      let pair = (try Tensor(parameter.shape, in: device.budget), try Tensor(parameter.shape, in: device.budget))
      device.fill(pair.0, 0)
      device.fill(pair.1, 0)
      moments.append(pair)
    }
  }

  /// The norm before clipping, and the factor that clips.
  func norm(_ device: CPUDevice) -> (norm: Double, factor: Double) {
    let sum = parameters.reduce(0) { total, parameter in total + (parameter.gradient.map(device.sumOfSquares) ?? 0) }
    return (sum.squareRoot(), min(1, clip / (sum.squareRoot() + 1e-6)))
  }

  func step(_ number: Int, decoderRate: Double, encoderRate: Double, factor: Double, _ device: CPUDevice) {
    for (parameter, pair) in zip(parameters, moments) {
      guard let gradient = parameter.gradient else { continue }
      let rate = parameter.name.contains("dino_encoder") ? encoderRate : decoderRate
      device.adamW(
        parameter.value, gradient: gradient, firstMoment: pair.first, secondMoment: pair.second,
        AdamWUpdate(
          learningRate: rate, beta1: beta1, beta2: beta2, epsilon: 1e-8, weightDecay: weightDecay, step: number, gradientScale: factor))
    }
  }
}

private func checkFineTuning(_ file: GoldenFile) throws {
  let device = try testDevice()
  let config = file.config
  let encoder = primusEncoder(config)
  let taps = config["interaction_indices"]?.arrayValue?.compactMap(\.intValue) ?? []
  let network = try TrainablePrimus(
    .init(encoder: encoder, taps: taps, classes: config["classes"]?.intValue ?? 4),
    parameters: GoldenParameters(file: file, prefix: "param0."), device: device)
  let optimizer = try GoldenOptimizer(network.parameters.list, config, device)
  var options = SegmentationLossOptions()
  options.batchDice = config["batch_dice"]?.boolValue ?? true
  let (decoderRates, encoderRates) = (try file.doubles("lr_decoder"), try file.doubles("lr_encoder"))
  var (losses, norms): ([Double], [Double]) = ([], [])
  let tape = Tape(device)
  for step in 0..<decoderRates.count {
    network.parameters.zeroGradients()
    let labels = try file.tensor("step\(step).target")
    let targets = try Tensor(labels.shape, .int16, in: device.budget)
    for (index, value) in labels.floats.enumerated() { targets.elements(Int16.self)[index] = Int16(value) }
    let logits = try network.logits(Variable(file.tensor("step\(step).x")), on: tape)
    losses.append(try tape.segmentationLoss(logits, targets: targets, options).total)
    try tape.backward()
    let (norm, factor) = optimizer.norm(device)
    norms.append(norm)
    if step == 0 {
      for parameter in network.parameters.list {
        guard let gradient = parameter.gradient else {
          file.fail("step0.grad." + parameter.name, "no gradient")
          continue
        }
        try file.compare("step0.grad." + parameter.name, gradient.floatArray().map { Double($0) * factor })
      }
    }
    optimizer.step(step + 1, decoderRate: decoderRates[step], encoderRate: encoderRates[step], factor: factor, device)
  }
  try file.compare("loss", losses)
  try file.compare("grad_norm", norms)
  for parameter in network.parameters.list { try compareEnd(file, parameter) }
}

/// Elementwise as the manifest says, and the stricter checks of the specification: the tolerances alone would let a trainer pass that
/// decays no weight. Source: model specification 12.
private func compareEnd(_ file: GoldenFile, _ parameter: Parameter) throws {
  let name = "param_end." + parameter.name
  let (got, expected) = (parameter.value.floatArray().map(Double.init), try file.doubles(name))
  try file.compare(name, got)
  var tolerance = GoldenTolerance()
  if parameter.name.hasSuffix("mask_token") { tolerance.absolute = 1e-6 } else { tolerance.rootMeanSquare = 5e-6 }
  file.compare(name + " (strict)", got, expected: expected, tolerance, rmsFactor: 1)
}
