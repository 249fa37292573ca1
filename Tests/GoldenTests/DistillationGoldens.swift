import Platform
import Pretraining
import Tensors
import TestSupport
import WeightFiles

/// Heads and losses of self-supervised pretraining.
let distillationGoldens: [GoldenCheck] = [
  GoldenCheck("dino_head.safetensors", run: checkHeads),
  GoldenCheck("losses.safetensors", run: checkDistillationLosses),
]

private func checkHeads(_ file: GoldenFile) throws {
  let device = try testDevice()
  let tape = Tape(device)
  for layers in file.config["nlayers"]?.arrayValue?.compactMap(\.intValue) ?? [] {
    let (config, group) = (file.config, "n\(layers).")
    var head = HeadConfiguration()
    (head.prototypes, head.bottleneck) = (config["out"]?.intValue ?? 0, config["bottleneck"]?.intValue ?? 0)
    (head.hidden, head.layers) = (config["hidden"]?.intValue ?? 0, layers)
    let network = try ProjectionHead(
      head, dim: config["in_dim"]?.intValue ?? 0, parameters: GoldenParameters(file: file, prefix: group), prefix: "param.",
      in: device.budget)
    let input = tape.leaf(try file.tensor(group + "in.x"))
    try file.compare(group + "out.bottleneck", try network.bottleneck(input, on: tape).value)
    tape.reset()
    let logits = try network.logits(input, on: tape)
    try file.compare(group + "out", logits.value)
    try tape.backward(from: logits, gradient: try file.tensor(group + "wgt"))
    try file.compare(group + "grad.in.x", input.gradient?.floatArray() ?? [])
    for parameter in network.parameters {
      try file.compare(group + "grad." + parameter.name.dropFirst("param.".count), parameter.gradient?.floatArray() ?? [])
    }
  }
}

// MARK: losses

private func checkDistillationLosses(_ file: GoldenFile) throws {
  let device = try testDevice()
  let temperature = Float(file.config["student_temp"]?.doubleValue ?? 0)
  for name in ["s2t2_nodiag", "s2t2", "s5t2", "s3t2_nodiag"] { try checkDINO(file, device, "dino.\(name).", temperature) }
  try checkIBOT(file, device, temperature)
  try checkLoss(file, device, "koleo", KoLeoOptions())
  try checkLoss(file, device, "koleo_dist", KoLeoOptions())
  try checkLoss(file, device, "koleo_topk2", KoLeoOptions(neighbours: 2))
  try checkLoss(file, device, "koleo_dup", KoLeoOptions())
  for name in ["norm_img", "norm_batch", "raw_img", "norm_img_removeneg", "norm_img_teacherneg"] { try checkGram(file, device, name) }
  for (from, to) in [(8, 6), (5, 7), (8, 4)] {
    let tokens = try file.tensor("gram.resize.\(from)to\(to).in")
    let resized = try Tensor([tokens.shape[0], to * to, tokens.shape[2]], in: device.budget)
    device.resizeTokens(tokens, rows: from, columns: from, toRows: to, toColumns: to, into: resized)
    try file.compare("gram.resize.\(from)to\(to).out", resized)
  }
  for (name, temperature) in [("cls.0.04", 0.04), ("ibot.0.04", 0.04), ("cls.0.07", 0.07), ("ibot.0.07", 0.07)] {
    let logits = try file.tensor("sinkhorn.\(name).logits")
    try device.sinkhorn(logits, temperature: Float(temperature), iterations: 3, into: logits)
    try file.compare("sinkhorn.\(name).out", logits)
  }
  for name in try file.file().names where name.hasSuffix("loss") || name.hasSuffix("grad") || name.hasSuffix("out") {
    if name != "koleo_dup.grad", !file.compared.contains(name) { file.fail(name, "not compared") }
  }
}

/// The value of a loss on a leaf, and the leaf's gradient.
private func withLeaf(
  _ values: Tensor, _ device: CPUDevice, _ loss: (Tape, Variable) throws -> Double
) throws -> (value: Double, gradient: Tensor) {
  let tape = Tape(device)
  let leaf = tape.leaf(values)
  let value = try loss(tape, leaf)
  try tape.backward()
  guard let gradient = leaf.gradient else { throw MedDINOError.state("the loss gave no gradient") }
  return (value, gradient)
}

private func checkDINO(_ file: GoldenFile, _ device: CPUDevice, _ name: String, _ temperature: Float) throws {
  let (student, teacher) = (try file.tensor(name + "student_logits"), try file.tensor(name + "teacher_probs"))
  let (batch, prototypes) = (student.shape[1], student.shape[2])
  let pairs = try TargetPairs.crops(
    students: student.shape[0], teachers: teacher.shape[0], batch: batch, ignoreDiagonal: name.contains("nodiag"))
  let result = try withLeaf(student.reshaped([student.shape[0] * batch, prototypes]), device) { tape, logits in
    try tape.softCrossEntropy(
      logits, targets: teacher.reshaped([teacher.shape[0] * batch, prototypes]), pairs: pairs, temperature: temperature)
  }
  try file.compare(name + "loss", [result.value])
  try file.compare(name + "grad", result.gradient)
}

private func checkIBOT(_ file: GoldenFile, _ device: CPUDevice, _ temperature: Float) throws {
  let images = try file.tensor("ibot.masks").shape[0]
  let pairs = TargetPairs.patches(weights: try file.floats("ibot.masks_weight"), images: images)
  let result = try withLeaf(try file.tensor("ibot.student_logits"), device) { tape, logits in
    try tape.softCrossEntropy(
      logits, targets: file.tensor("ibot.teacher_probs"), pairs: pairs, temperature: temperature)
  }
  try file.compare("ibot.loss", [result.value])
  try file.compare("ibot.grad", result.gradient)
}

private func checkLoss(_ file: GoldenFile, _ device: CPUDevice, _ name: String, _ options: KoLeoOptions) throws {
  let result = try withLeaf(try file.tensor(name + ".x"), device) { tape, rows in try tape.koLeo(rows, options) }
  try file.compare(name + ".loss", [result.value])
  if try file.has(name + ".grad") { try file.compare(name + ".grad", result.gradient) }
}

private func checkGram(_ file: GoldenFile, _ device: CPUDevice, _ name: String) throws {
  var options = GramOptions()
  options.normalized = name.hasPrefix("norm")
  options.imageLevel = !name.hasSuffix("batch")
  options.removeNegative = name.hasSuffix("removeneg")
  options.removeTeacherNegative = name.hasSuffix("teacherneg")
  let result = try withLeaf(try file.tensor("gram.\(name).student"), device) { tape, tokens in
    try tape.gramLoss(tokens, teacher: file.tensor("gram.\(name).teacher"), options)
  }
  try file.compare("gram.\(name).loss", [result.value])
  try file.compare("gram.\(name).grad", result.gradient)
}
