import Networks
import Platform
import Tensors
import TestSupport
import WeightFiles

let encoderGradientGoldens: [GoldenCheck] = [
  GoldenCheck("encoder_main*", "encoder_swiglu*", "encoder_untied*", "encoder_rmsnorm*", run: checkEncoderGradients),
  GoldenCheck("encoder_droppath*", run: checkDropPathGradients),
]

/// The gradient of a loss that is a weighted sum of class, storage and patch tokens [batch, prefix + patches, dim].
private func lossGradient(_ file: GoldenFile, _ name: String, _ tokens: Tensor, prefix: Int) throws -> Tensor {
  let (batch, count, dim) = (tokens.shape[0], tokens.shape[1], tokens.shape[2])
  let result = try Tensor(tokens.shape, in: file.budget)
  result.floats.update(repeating: 0)
  for (key, range) in [("cls", 0..<1), ("storage", 1..<prefix), ("patch", prefix..<count)] where try file.has(name + key) {
    let weights = try file.floats(name + key)
    for b in 0..<batch {
      for (i, t) in range.enumerated() {
        for d in 0..<dim { result.floats[(b * count + t) * dim + d] = weights[(b * range.count + i) * dim + d] }
      }
    }
  }
  return result
}

/// Every `grad.` tensor of the file against a parameter's gradient or an image's. The goldens list missing gradients as zeros.
func compareGradients(_ file: GoldenFile, _ prefix: String, _ parameters: TrainableParameters, images: [String: Variable]) throws {
  for name in try file.file().names where name.hasPrefix(prefix) {
    let key = String(name.dropFirst(prefix.count))
    if let image = images[key] {
      guard let gradient = image.gradient else {
        file.fail(name, "the images have no gradient")
        continue
      }
      try file.compare(name, gradient)
    } else if let parameter = parameters[key] {
      try file.compare(name, parameter.gradient?.floatArray() ?? [Float](repeating: 0, count: parameter.shape.count))
    } else {
      file.fail(name, "no such parameter")
    }
  }
}

private func checkEncoderGradients(_ file: GoldenFile) throws {
  let device = try testDevice()
  let configuration = encoderConfiguration(file.config["constructor"] ?? .null)
  let network = try TrainableEncoder(configuration, parameters: GoldenParameters(file: file, prefix: "param."), device: device)
  let tape = Tape(device)
  let images = tape.leaf(try file.tensor("in.x"))
  let mask = try file.has("in.mask") ? file.file().tensor("in.mask", in: file.budget) : nil
  let last = configuration.depth - 1
  let tokens = try network.tokens([.init(images, mask: mask)], blocks: [last], on: tape)
  guard let raw = tokens[0][last] else { return file.fail("grad", "no tokens") }
  let normed = try network.normalize(raw, on: tape)
  try tape.backward(
    from: normed, gradient: lossGradient(file, "wgt.", normed.value, prefix: configuration.prefixTokens))
  try compareGradients(file, "grad.", network.parameters, images: ["in.x": images])
  if configuration.untieGlobalAndLocalClassNorm {
    file.expect(network.parameters["local_cls_norm.weight"]?.gradient == nil, "local_cls_norm has no gradient in evaluation")
  }
}

/// The list forward in training mode: two crop groups with recorded permutations of stochastic depth, one walk back.
private func checkDropPathGradients(_ file: GoldenFile) throws {
  let device = try testDevice()
  let constructor = file.config["constructor"] ?? .null
  let configuration = encoderConfiguration(constructor)
  let rate = constructor["drop_path_rate"]?.doubleValue ?? 0
  let network = try TrainableEncoder(configuration, parameters: GoldenParameters(file: file, prefix: "param."), device: device)
  let tape = Tape(device)
  var groups: [TrainableEncoder.Group] = []
  for group in ["global", "local"] {
    let images = try file.tensor("in." + group)
    let draws = recordedDraws(file, group: group, batch: images.shape[0], rate: rate)
    let mask = group == "global" ? try file.file().tensor("in.mask", in: file.budget) : nil
    groups.append(.init(tape.leaf(images), mask: mask, draws: draws))
  }
  let last = configuration.depth - 1
  let tokens = try network.tokens(groups, blocks: [last], on: tape)
  for (index, group) in ["global", "local"].enumerated() {
    guard let raw = tokens[index][last] else { return file.fail("grad", "no tokens") }
    let normed = try network.normalize(raw, isLocalCrop: index == 1, on: tape)
    try tape.seed(normed, lossGradient(file, "wgt.\(group).", normed.value, prefix: configuration.prefixTokens))
  }
  try tape.backward()
  try compareGradients(
    file, "grad.", network.parameters, images: ["in.global": groups[0].images, "in.local": groups[1].images])
}
