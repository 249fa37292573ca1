import Networks
import Platform
import Tensors
import TestSupport
import WeightFiles

let primusGradientGoldens: [GoldenCheck] = [
  GoldenCheck("patch_decode*", run: checkPatchDecodeGradients),
  GoldenCheck("primus*", run: checkPrimusGradients),
]

/// [batch, channels, places] → [batch, places, channels].
func tokenMajor(_ planar: Tensor, in budget: MemoryBudget) throws -> Tensor {
  let (batch, channels) = (planar.shape[0], planar.shape[1])
  let places = planar.count / batch / channels
  let result = try Tensor([batch, places, channels], in: budget)
  for b in 0..<batch {
    for c in 0..<channels {
      for p in 0..<places { result.floats[(b * places + p) * channels + c] = planar.floats[(b * channels + c) * places + p] }
    }
  }
  return result
}

private func checkPatchDecodeGradients(_ file: GoldenFile) throws {
  let device = try testDevice()
  for (key, value) in file.config.objectValue?.entries ?? [] {
    guard let patch = value["patch_size"]?.intValue, let dim = value["embed_dim"]?.intValue, let classes = value["out_channels"]?.intValue,
      try file.has(key + ".in.x")
    else { continue }
    let planar = try file.tensor(key + ".in.x")
    let configuration = DecoderConfiguration(inputChannels: dim, patchSize: patch, classes: classes)
    var parameters: [Parameter] = []
    for spec in configuration.parameters {
      let name = String(spec.name.dropFirst("up_projection.".count))
      parameters.append(Parameter(name, try file.tensor(key + ".param." + name)))
    }
    let tape = Tape(device)
    let variables = parameters.map(tape.variable)
    let decoder = DecoderVariables(
      stages: (0..<configuration.stages).map {
        .init(weight: variables[4 * $0], bias: variables[4 * $0 + 1], normWeight: variables[4 * $0 + 2], normBias: variables[4 * $0 + 3])
      }, headWeight: variables[4 * configuration.stages], headBias: variables[4 * configuration.stages + 1])
    let tokens = tape.leaf(try tokenMajor(planar, in: device.budget))
    let logits = try tape.decode([tokens], prefixTokens: 0, rows: planar.shape[2], columns: planar.shape[3], decoder)
    try file.compare(key + ".out", logits.value)
    try tape.backward(from: logits, gradient: file.tensor(key + ".wgt"))
    for parameter in parameters {
      guard let gradient = parameter.gradient else {
        file.fail(key + ".grad." + parameter.name, "no gradient")
        continue
      }
      try file.compare(key + ".grad." + parameter.name, gradient)
    }
    guard let gradient = tokens.gradient else {
      file.fail(key + ".grad.in.x", "no gradient")
      continue
    }
    let expected = try tokenMajor(try file.tensor(key + ".grad.in.x"), in: device.budget)
    file.compare(
      key + ".grad.in.x", gradient.floatArray().map(Double.init), expected: expected.floatArray().map(Double.init),
      file.tolerance(key + ".grad.in.x"))
  }
}

/// The encoder of a Primus golden, from the keys that its configuration has.
func primusEncoder(_ config: JSON) -> EncoderConfiguration {
  var encoder = EncoderConfiguration()
  encoder.patchSize = config["patch"]?.intValue ?? 8
  encoder.embedDim = config["embed_dim"]?.intValue ?? 32
  encoder.depth = config["depth"]?.intValue ?? 4
  encoder.heads = config["num_heads"]?.intValue ?? 2
  encoder.hiddenDim = encoder.embedDim * 4
  encoder.storageTokens = config["storage"]?.intValue ?? 4
  encoder.qkvBias = config["qkv_bias"]?.boolValue ?? false
  encoder.normEpsilon = Float(config["layernorm_eps"]?.doubleValue ?? 1e-6)
  encoder.ropePrecision = .float32
  return encoder
}

private func checkPrimusGradients(_ file: GoldenFile) throws {
  let device = try testDevice()
  for kind in ["single", "multi"] where try file.has(kind + ".in.x") {
    let encoder = primusEncoder(file.config)
    let indices = file.config["interaction_indices"]?.arrayValue?.compactMap(\.intValue) ?? []
    let configuration = Primus.Configuration(
      encoder: encoder, taps: kind == "single" ? [encoder.depth - 1] : indices, classes: file.config["classes"]?.intValue ?? 5)
    let network = try TrainablePrimus(configuration, parameters: GoldenParameters(file: file, prefix: kind + ".param."), device: device)
    let tape = Tape(device)
    let images = tape.leaf(try file.tensor(kind + ".in.x"))
    let logits = try network.logits(images, on: tape)
    try file.compare(kind + ".out", logits.value)
    try tape.backward(from: logits, gradient: file.tensor(kind + ".wgt"))
    try compareGradients(file, kind + ".grad.", network.parameters, images: ["in.x": images])
    let mask = network.parameters["dino_encoder.mask_token"]?.gradient
    file.expect(mask?.floatArray().allSatisfy { $0 == 0 } == true, kind + ": the mask token has a gradient, of zeros")
  }
}
