import Platform
import TestSupport
import Tensors
import Training
import WeightFiles

/// Schedules, optimiser and moving averages.
let trainingCoreGoldens: [GoldenCheck] = [
  GoldenCheck("schedules.safetensors", run: checkSchedules),
  GoldenCheck("optimizer.safetensors", run: checkOptimizer),
  GoldenCheck("loss/schedules.json", run: checkFineTuningSchedules),
]

// MARK: schedules

private func checkSchedules(_ file: GoldenFile) throws {
  for (name, configuration) in file.config.objectValue?.entries ?? [] {
    let schedules = try SelfSupervisedSchedules(configuration)
    let parts = [
      ("lr", schedules.learningRate), ("wd", schedules.weightDecay), ("momentum", schedules.momentum),
      ("teacher_temp", schedules.teacherTemperature), ("last_layer_lr", schedules.lastLayerLearningRate),
    ]
    for (part, schedule) in parts {
      let count = try file.doubles("\(name).\(part)").count
      try file.compare("\(name).\(part)", (0..<count).map(schedule.value))
    }
  }
  // Loss weights have no configuration: their arguments stand in the meaning.
  for (name, entry) in file.entry["tensors"]?.objectValue?.entries ?? [] where name.hasPrefix("weight.") {
    let words = (entry["meaning"]?.stringValue ?? "").split { $0 == " " || $0 == "," }
    var values: [Substring: Double] = [:]
    for (word, next) in zip(words, words.dropFirst()) { values[word] = Double(next) ?? Double("0\(next)") }
    let constant = values["constant"]
    guard let start = values["start"] ?? constant, let peak = values["peak"] ?? constant, let end = values["end"] ?? constant,
      let steps = values["total"]
    else {
      file.fail(name, "its meaning does not say start, peak, end, total")
      continue
    }
    let schedule = try Schedule.version2(
      start: start, peak: peak, end: end, steps: Int(steps), warmup: Int(values["warmup"] ?? 0), cosine: values["cosine"].map { Int($0) })
    try file.compare(name, schedule.values)
  }
  for name in try file.file().names where !file.compared.contains(name) { file.fail(name, "not compared") }
}

private func checkFineTuningSchedules(_ file: GoldenFile) throws {
  let expected = try JSON.parse(InputFile.contents(file.path), source: file.path)
  for (name, entry) in expected.objectValue?.entries ?? [] {
    if name == "ema" {
      var score = MovingScore()
      let averages = (entry["mean_fg_dice"]?.arrayValue ?? []).compactMap(\.doubleValue).map { score.add($0) }
      file.compare(json: .numbers(averages), entry["ema_fg_dice"] ?? .null, path: "ema")
      continue
    }
    guard let epochs = entry["num_epochs"]?.intValue, let rates = entry["lr"]?.objectValue, let first = rates["0"]?.arrayValue,
      first.count == 2, let decoder = first[0].doubleValue, let encoder = first[1].doubleValue
    else {
      file.fail(name, "no rates of epoch 0")
      continue
    }
    // The MedDINOv3 recipe is the default of the rules, other trainers differ in the rates alone.
    let rules = name == "meddinov3" ? FineTuningRules() : FineTuningRules(decoderRate: decoder, encoderRate: encoder)
    let groups = [rules.rule("up_projection.decode.0.0.weight"), rules.rule("dino_encoder.cls_token")]
    let decay = PolynomialDecay(epochs: epochs)
    let got = rates.keys.map { key in
      (key, JSON.numbers(groups.map { $0.learningRate * decay.factor(epoch: Int(key) ?? -1) }))
    }
    let options = AdamW.Options()
    var wanted = entry.objectValue ?? JSONObject()
    (wanted["num_epochs"], wanted["order"]) = (nil, nil)
    file.compare(
      json: .object(
        ("lr", .object(JSONObject(got))), ("betas", .numbers([options.beta1, options.beta2])), ("eps", .number(options.epsilon)),
        ("weight_decay", .numbers(groups.map(\.weightDecay)))),
      .object(wanted), path: name)
  }
}

// MARK: optimiser

private func checkOptimizer(_ file: GoldenFile) throws {
  let names = try file.file().names.filter { $0.hasPrefix("param0.") }.map { String($0.dropFirst("param0.".count)) }
  guard let layerDecay = file.config["layerwise_decay"]?.doubleValue, let patch = file.config["patch_embed_lr_mult"]?.doubleValue,
    let clip = file.config["clip_grad"]?.doubleValue, let betas = file.config["betas"]?.arrayValue?.compactMap(\.doubleValue),
    betas.count == 2, let epsilon = file.config["eps"]?.doubleValue
  else { return file.fail("config", "no optimiser options") }
  let depth = 1 + (names.compactMap { $0.hasPrefix("backbone.blocks.") ? Int($0.split(separator: ".")[2]) : nil }.max() ?? -1)
  let rules = SelfSupervisedRules(depth: depth, layerDecay: layerDecay, patchEmbedFactor: patch)
  let device = try CPUDevice(pool: goldenThreads(), budget: file.budget)
  let parameters = try names.map { Parameter($0, try file.tensor("param0." + $0)) }
  let teacher = try names.map { (name: $0, tensor: try file.tensor("teacher0." + $0)) }
  for name in names {
    let rule = rules.rule(name)
    try file.compare("mult." + name, [rule.learningRate, rule.weightDecay, rule.isLastLayer ? 1 : 0])
  }
  let options = AdamW.Options(beta1: betas[0], beta2: betas[1], epsilon: epsilon, maximumNorm: clip, nonFinite: .update)
  let optimizer = try AdamW(parameters, options: options, device: device) { rules.rule($0) }
  let average = try ParameterAverage(of: parameters, in: teacher, device: device)
  let (rates, lastRates) = (try file.doubles("sched.lr"), try file.doubles("sched.last_layer_lr"))
  let (decays, momenta) = (try file.doubles("sched.wd"), try file.doubles("sched.momentum"))
  var norms: [Double] = []
  for step in rates.indices {
    for parameter in parameters {
      parameter.zeroGradient()
      try parameter.gradientSum(device).copy(from: try file.tensor("grad\(step).\(parameter.name)"))
    }
    let report = try optimizer.step(.init(learningRate: rates[step], lastLayerLearningRate: lastRates[step], weightDecay: decays[step]))
    average.update(momentum: momenta[step])
    norms += ["backbone", "dino_head", "ibot_head"].map { group in
      optimizer.clipGroups.firstIndex(of: group).map { report.norms[$0] } ?? .nan
    }
    for (parameter, entry) in zip(parameters, teacher) where try file.has("param\(step + 1).\(parameter.name)") {
      try file.compare("param\(step + 1).\(parameter.name)", parameter.value)
      try file.compare("teacher\(step + 1).\(entry.name)", entry.tensor)
    }
  }
  try file.compare("grad_norms", norms)
}
