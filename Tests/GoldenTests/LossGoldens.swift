import FineTuning
import Platform
import Tensors
import WeightFiles

let lossGoldens: [GoldenCheck] = [
  GoldenCheck("dc_ce_loss.safetensors", run: checkDiceCrossEntropy),
  GoldenCheck("loss/losses.safetensors", run: checkCompoundLosses),
  GoldenCheck("loss/adamw.safetensors", run: checkAdamW),
  GoldenCheck("loss/pseudo_dice.safetensors", run: checkPseudoDice),
]

private func goldenDevice(_ file: GoldenFile) throws -> CPUDevice { try CPUDevice(pool: goldenThreads(), budget: file.budget) }

/// Whole numbers of any type as int16.
private func targets(_ name: String, _ file: GoldenFile) throws -> Tensor {
  let stored = try file.file().tensor(name, in: file.budget)
  let result = try Tensor(stored.shape, .int16, in: file.budget)
  for i in 0..<stored.count { result.elements(Int16.self)[i] = Int16(stored.value(i)) }
  return result
}

private struct LossCase {
  let name: String
  let file: GoldenFile
  var options = SegmentationLossOptions()

  func run() throws {
    let device = try goldenDevice(file)
    let logits = try file.tensor(name + ".logits")
    let gradient = try Tensor(logits.shape, in: file.budget)
    let loss = try device.segmentationLoss(
      logits, targets: targets(name + ".target", file), options, scale: 1, gradient: gradient)
    try compare("loss", loss.total)
    try compare("ce", loss.crossEntropy)
    try compare("dice", loss.dice)
    try file.compare(name + ".grad", gradient)
  }

  private func compare(_ part: String, _ value: Double) throws {
    let key = "\(name).\(part)"
    guard try file.has(key) else { return }
    let expected = try file.doubles(key)
    var tolerance = file.tolerance(key)
    // a float32 value cannot be closer than its last place: pipeline specification 14
    tolerance.relative = max(tolerance.relative, 1e-6)
    file.compare(key, [value], expected: expected, tolerance)
  }
}

/// The names say which form: batch or sample Dice; a target label beyond the classes is the one left out.
private func checkDiceCrossEntropy(_ file: GoldenFile) throws {
  for name in try file.file().names where name.hasSuffix(".logits") {
    var item = LossCase(name: String(name.dropLast(7)), file: file)
    let classes = try file.tensor(name).shape[1]
    item.options.batchDice = item.name.hasPrefix("batch")
    if item.name.hasSuffix("_ignore") { item.options.ignoreLabel = classes }
    try item.run()
  }
}

private func checkCompoundLosses(_ file: GoldenFile) throws {
  guard let cases = file.entry["cases"]?.arrayValue else { throw MedDINOError.format("the manifest lists no cases of the losses") }
  for entry in cases {
    var item = LossCase(name: entry["name"]?.stringValue ?? "", file: file)
    item.options.regions = entry["kind"]?.stringValue == "bce"
    item.options.batchDice = entry["batch_dice"]?.boolValue ?? true
    item.options.ignoreLabel = entry["ignore_label"]?.intValue
    if item.options.regions, item.options.ignoreLabel == 0 { item.options.ignoreLabel = nil }
    try item.run()
  }
}

/// Source: pipeline specification 14: constant rates, weight decay 0.05, joint clipping to 12.
private func checkAdamW(_ file: GoldenFile) throws {
  let device = try goldenDevice(file)
  let groups = [("other", 3e-4), ("vit", 3e-5)]
  var states: [[Tensor]] = []
  for (group, _) in groups {
    let parameter = try file.tensor("p_\(group).init")
    let moments = try (0..<2).map { _ in try Tensor(parameter.shape, in: file.budget) }
    moments.forEach { device.fill($0, 0) }
    states.append([parameter] + moments)
  }
  var step = 0
  while try file.has("step\(step).norm") {
    let gradients = try groups.map { try file.tensor("step\(step).g_\($0.0)") }
    let norm = gradients.reduce(0) { $0 + device.sumOfSquares($1) }.squareRoot()
    try file.compare("step\(step).norm", [norm])
    for (index, (group, rate)) in groups.enumerated() {
      let update = AdamWUpdate(
        learningRate: rate, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.05, step: step + 1,
        gradientScale: min(1, 12 / (norm + 1e-6)))
      device.adamW(
        states[index][0], gradient: gradients[index], firstMoment: states[index][1], secondMoment: states[index][2], update)
      try file.compare("step\(step).p_\(group)", states[index][0])
    }
    step += 1
  }
}

/// Counts of every output, background included. A target label beyond the classes is the one left out.
private func checkPseudoDice(_ file: GoldenFile) throws {
  let logits = try file.tensor("logits")
  let classes = logits.shape[1]
  let labels = try targets("target", file)
  let ignored = Set(labels.elements(Int16.self).map(Int.init)).filter { $0 >= classes }
  file.expect(ignored.count <= 1, "target", "holds \(ignored.sorted()) beyond \(classes) classes, expected one value at most")
  var dice = PseudoDice(heads: classes, regions: false, ignoreLabel: ignored.first)
  try dice.add(logits: logits, targets: labels)
  try file.compare("tp", dice.truePositives)
  try file.compare("fp", dice.falsePositives)
  try file.compare("fn", dice.falseNegatives)
}
