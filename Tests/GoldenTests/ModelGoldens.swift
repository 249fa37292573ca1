import Imaging
import Networks
import Platform
import Tensors
import TestSupport
import WeightFiles

let modelGoldens: [GoldenCheck] = [
  GoldenCheck("encoder_main*", "encoder_swiglu*", "encoder_untied*", "encoder_rmsnorm*", run: checkEncoder),
  GoldenCheck("encoder_droppath*", run: checkDropPath),
  GoldenCheck("rope_tables*", run: checkRopeTables),
  GoldenCheck("patch_decode*", run: checkPatchDecode),
  GoldenCheck("primus*", run: checkPrimus),
  GoldenCheck("demo_preproc*", run: checkDemo),
]

/// A device for tests; `MEDDINO_SIMD` forces its instruction set (`make test-isa`).
func testDevice(threads: Int = 2) throws -> CPUDevice {
  let set = try environment("MEDDINO_SIMD").map { try InstructionSet.named($0) } ?? .best
  return try CPUDevice(pool: ThreadPool(threads: threads), budget: MemoryBudget(), instructionSet: set)
}

/// Parameters of a golden file under a name prefix such as "param.".
struct GoldenParameters: ParameterSource {
  let file: GoldenFile
  let prefix: String
  func contains(_ name: String) -> Bool { (try? file.has(prefix + name)) ?? false }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    do {
      let tensor = try file.tensor(prefix + name)
      guard tensor.shape == shape else { throw MedDINOError.format("\(name) has shape \(tensor.shape), expected \(shape)") }
      return tensor
    } catch let error as MedDINOError { throw error } catch { throw .format("\(error)") }
  }
}
/// Leaves a parameter out, so that its formula is used.
struct WithoutPeriods: ParameterSource {
  let base: any ParameterSource
  func contains(_ name: String) -> Bool { !name.hasSuffix("rope_embed.periods") && base.contains(name) }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    try base.parameter(name, shape, in: budget)
  }
}

/// An encoder configuration from the official constructor's arguments as the manifests write them.
func encoderConfiguration(_ json: JSON) -> EncoderConfiguration {
  var c = EncoderConfiguration()
  c.patchSize = json["patch_size"]?.intValue ?? 16
  c.inputChannels = json["in_chans"]?.intValue ?? 3
  c.embedDim = json["embed_dim"]?.intValue ?? 768
  c.depth = json["depth"]?.intValue ?? 12
  c.heads = json["num_heads"]?.intValue ?? 12
  switch json["ffn_layer"]?.stringValue ?? "mlp" {
  case "swiglu": c.feedForward = .swiGLU(alignment: 8)
  case "swiglu32": c.feedForward = .swiGLU(alignment: 32)
  case "swiglu64": c.feedForward = .swiGLU(alignment: 64)
  case "swiglu128": c.feedForward = .swiGLU(alignment: 128)
  default: c.feedForward = .mlp
  }
  c.hiddenDim = EncoderConfiguration.hiddenDim(
    embedDim: c.embedDim, ratio: json["ffn_ratio"]?.doubleValue ?? 4, feedForward: c.feedForward)
  c.qkvBias = json["qkv_bias"]?.boolValue ?? true
  c.projectionBias = json["proj_bias"]?.boolValue ?? true
  c.feedForwardBias = json["ffn_bias"]?.boolValue ?? true
  c.maskKeyBias = json["mask_k_bias"]?.boolValue ?? false
  c.storageTokens = json["n_storage_tokens"]?.intValue ?? 0
  c.layerScale = json["layerscale_init"]?.doubleValue
  let norm = json["norm_layer"]?.stringValue ?? "layernorm"
  c.normalization = norm == "rmsnorm" ? .rmsNorm : .layerNorm
  c.normEpsilon = norm == "layernorm" ? 1e-6 : 1e-5
  c.untieClassAndPatchNorms = json["untie_cls_and_patch_norms"]?.boolValue ?? false
  c.untieGlobalAndLocalClassNorm = json["untie_global_and_local_cls_norm"]?.boolValue ?? false
  if let low = json["pos_embed_rope_min_period"]?.doubleValue, let high = json["pos_embed_rope_max_period"]?.doubleValue {
    c.ropePeriods = .range(min: low, max: high)
  } else {
    c.ropePeriods = .base(json["pos_embed_rope_base"]?.doubleValue ?? 100)
  }
  c.coordinateNormalization = .init(rawValue: json["pos_embed_rope_normalize_coords"]?.stringValue ?? "separate") ?? .separate
  c.ropePrecision = json["pos_embed_rope_dtype"]?.stringValue == "fp32" ? .float32 : .bfloat16
  return c
}

/// Token tensors of one batch, split as the official code names them.
struct SplitTokens {
  let cls: [Double]
  let storage: [Double]
  let patch: [Double]
  let all: [Double]

  init(_ tokens: Tensor, prefix: Int) {
    let (batch, count, dim) = (tokens.shape[0], tokens.shape[1], tokens.shape[2])
    let values = tokens.floats
    func take(_ range: Range<Int>) -> [Double] {
      (0..<batch).flatMap { b in range.flatMap { t in (0..<dim).map { Double(values[(b * count + t) * dim + $0]) } } }
    }
    cls = take(0..<1)
    storage = take(1..<prefix)
    patch = take(prefix..<count)
    all = take(0..<count)
  }
}

func normalized(_ network: VisionTransformer, _ tokens: Tensor, _ device: CPUDevice, _ draws: VisionTransformer.TrainingDraws? = nil) throws
  -> Tensor
{
  let result = try Tensor(tokens.shape, in: device.budget)
  network.normalize(tokens, draws: draws, device: device, into: result)
  return result
}

private func checkEncoder(_ file: GoldenFile) throws {
  let device = try testDevice()
  let configuration = encoderConfiguration(file.config["constructor"] ?? .null)
  let parameters = GoldenParameters(file: file, prefix: "param.")
  let network = try VisionTransformer(configuration, parameters: parameters, device: device)
  let workspace = Workspace(device.budget)
  let images = try file.tensor("in.x")
  let (prefix, last) = (configuration.prefixTokens, configuration.depth - 1)
  for (kind, mask) in [("nomask", nil), ("mask", try file.has("in.mask") ? file.file().tensor("in.mask", in: file.budget) : nil)] {
    if kind == "mask", mask == nil { continue }
    let tokens = try network.tokens(images, mask: mask, blocks: [last], device: device, workspace: workspace)
    guard let raw = tokens[last] else { continue }
    try compareFeatures(file, "out.\(kind).", raw, try normalized(network, raw, device), prefix)
    if kind == (try file.has("in.mask") ? "mask" : "nomask"), try file.has("out.loss") {
      let out = SplitTokens(try normalized(network, raw, device), prefix: prefix)
      var loss = 0.0
      for (name, values) in [("wgt.cls", out.cls), ("wgt.storage", out.storage), ("wgt.patch", out.patch)] where try file.has(name) {
        loss += zip(values, try file.doubles(name)).reduce(0) { $0 + $1.0 * $1.1 }
      }
      try file.compare("out.loss", [loss])
    }
  }
  try checkIntermediate(file, network, images, device, workspace)
  let grid = network.grid(height: images.shape[2], width: images.shape[3])
  let table = try RopeTables.make(
    rows: grid.rows, columns: grid.columns, periods: try file.floats("param.rope_embed.periods"), configuration: configuration,
    in: device.budget)
  try file.compare("out.rope.sin", table.sine)
  try file.compare("out.rope.cos", table.cosine)
  if try file.has("out.bf16rope.nomask.cls") { try checkBFloat16Rope(file, configuration, parameters, images, device) }
}

private func compareFeatures(_ file: GoldenFile, _ name: String, _ raw: Tensor, _ normed: Tensor, _ prefix: Int) throws {
  let (a, b) = (SplitTokens(normed, prefix: prefix), SplitTokens(raw, prefix: prefix))
  for (key, values) in [("cls", a.cls), ("storage", a.storage), ("patch", a.patch), ("prenorm", b.all)] where try file.has(name + key) {
    try file.compare(name + key, values)
  }
}

private func checkIntermediate(
  _ file: GoldenFile, _ network: VisionTransformer, _ images: Tensor, _ device: CPUDevice, _ workspace: Workspace
) throws {
  let configuration = network.configuration
  let (prefix, depth, dim) = (configuration.prefixTokens, configuration.depth, configuration.embedDim)
  let layers = (0..<depth).filter { (try? file.has("out.inter.normed.\($0).patch")) ?? false }
  let last = [depth - 2, depth - 1].filter { $0 >= 0 }
  let tokens = try network.tokens(images, blocks: Set(layers + last), device: device, workspace: workspace)
  for layer in layers {
    guard let raw = tokens[layer] else { continue }
    // get_intermediate_layers never uses local_cls_norm, and cls_norm only with untied class and patch norms.
    let split = SplitTokens(try normalized(network, raw, device), prefix: prefix)
    let name = "out.inter.normed.\(layer)."
    let patches = split.patch.count / dim / images.shape[0]
    var planar = [Double](repeating: 0, count: split.patch.count)
    for b in 0..<images.shape[0] {
      for p in 0..<patches { for d in 0..<dim { planar[(b * dim + d) * patches + p] = split.patch[(b * patches + p) * dim + d] } }
    }
    try file.compare(name + "patch", planar)
    try file.compare(name + "cls", split.cls)
    try file.compare(name + "extra", split.storage)
  }
  for (index, layer) in last.enumerated() {
    if let raw = tokens[layer] { try file.compare("out.inter.raw.last2.\(index)", SplitTokens(raw, prefix: prefix).patch) }
  }
}

private func checkBFloat16Rope(
  _ file: GoldenFile, _ base: EncoderConfiguration, _ parameters: GoldenParameters, _ images: Tensor, _ device: CPUDevice
) throws {
  var configuration = base
  configuration.ropePrecision = .bfloat16
  let network = try VisionTransformer(configuration, parameters: WithoutPeriods(base: parameters), device: device)
  let last = configuration.depth - 1
  let tokens = try network.tokens(images, blocks: [last], device: device, workspace: Workspace(device.budget))
  if let raw = tokens[last] {
    try compareFeatures(file, "out.bf16rope.nomask.", raw, try normalized(network, raw, device), configuration.prefixTokens)
  }
  let grid = network.grid(height: images.shape[2], width: images.shape[3])
  let periods = RopeTables.periods(configuration)
  let table = try RopeTables.make(
    rows: grid.rows, columns: grid.columns, periods: periods, configuration: configuration, in: device.budget)
  try file.compare("out.bf16rope.periods", periods)
  try file.compare("out.bf16rope.sin", table.sine)
  try file.compare("out.bf16rope.cos", table.cosine)
}

/// The recorded permutations of stochastic depth of one crop group: the first (1 - rate) of each are kept.
func recordedDraws(_ file: GoldenFile, group: String, batch: Int, rate: Double) -> VisionTransformer.TrainingDraws {
  let kept = max(Int(Double(batch) * (1 - rate)), 1)
  return VisionTransformer.TrainingDraws(
    kept: { block, branch in
      let name = "perm.\(block).\(["attn", "ffn"][branch]).\(group)"
      guard let order = try? file.doubles(name) else { return nil }
      return (order.prefix(kept).map { Int($0) }, Float(Double(batch) / Double(kept)))
    }, isLocalCrop: group == "local")
}

/// The list forward in training mode: two crop groups, recorded permutations of stochastic depth.
private func checkDropPath(_ file: GoldenFile) throws {
  let device = try testDevice()
  let constructor = file.config["constructor"] ?? .null
  let configuration = encoderConfiguration(constructor)
  let rate = constructor["drop_path_rate"]?.doubleValue ?? 0
  let network = try VisionTransformer(configuration, parameters: GoldenParameters(file: file, prefix: "param."), device: device)
  for group in ["global", "local"] {
    let images = try file.tensor("in." + group)
    let draws = recordedDraws(file, group: group, batch: images.shape[0], rate: rate)
    let mask = group == "global" ? try file.file().tensor("in.mask", in: file.budget) : nil
    let last = configuration.depth - 1
    let tokens = try network.tokens(
      images, mask: mask, blocks: [last], draws: draws, device: device, workspace: Workspace(device.budget))
    guard let raw = tokens[last] else { continue }
    try compareFeatures(file, "out.\(group).", raw, try normalized(network, raw, device, draws), configuration.prefixTokens)
  }
}

private func checkRopeTables(_ file: GoldenFile) throws {
  let names = try file.file().names
  let budget = MemoryBudget()
  for name in names where name.hasSuffix(".sin") {
    let parts = name.split(separator: ".").map(String.init)
    var c = EncoderConfiguration()
    var augmentation: RopeAugmentation?
    let grid = (parts.first { $0.contains("x") && Int($0.prefix(1)) != nil } ?? "").split(separator: "x").compactMap { Int($0) }
    guard grid.count == 2 else { continue }
    c.ropePrecision = name.contains("bf16.") ? .bfloat16 : .float32
    var periods = RopeTables.periods(c)
    if name.contains("ckptperiods") { periods = periods.map(roundedToBFloat16) }
    if parts[0] == "minmax" {
      let words = described(file, "minmax.", "min_period")
      (c.embedDim, c.heads) = (Int(words["D"] ?? 96), Int(words["heads"] ?? 3))
      c.ropePeriods = .range(min: words["min_period"] ?? 0.5, max: words["max_period"] ?? 50)
      c.coordinateNormalization = .init(rawValue: parts[1]) ?? .separate
      periods = RopeTables.periods(c)
      try file.compare("minmax.periods", periods)
    }
    if parts[0] == "aug" {
      let words = described(file, "aug.", "heads")
      (c.embedDim, c.heads) = (Int(words["D"] ?? 64), Int(words["heads"] ?? 2))
      c.ropePeriods = .base(words["base"] ?? 100)
      periods = RopeTables.periods(c)
      let base = "aug.\(parts[1])."
      let shift = try file.floats(base + "u_shift_yx")
      let jitter = try file.floats(base + "u_jitter_yx")
      let rescale = try file.floats(base + "u_rescale")
      augmentation = RopeAugmentation(
        shift: (shift[0], shift[1]), jitter: (exponential(jitter[0]), exponential(jitter[1])), rescale: exponential(rescale[0]))
    }
    let table = try RopeTables.make(
      rows: grid[0], columns: grid[1], periods: periods, configuration: c, augmentation: augmentation, in: budget)
    let stored = try file.tensor(name).shape[1]
    for (key, tensor) in [(".sin", table.sine), (".cos", table.cosine)] {
      let d = tensor.shape[1]
      let columns = (0..<tensor.shape[0]).flatMap { row in (0..<stored).map { Double(tensor.floats[row * d + $0]) } }
      try file.compare(String(name.dropLast(4)) + key, columns)
    }
  }
  for (name, precision) in [("periods.fp32", EncoderConfiguration.RopePrecision.float32), ("periods.bf16", .bfloat16)]
  where try file.has(name) {
    var c = EncoderConfiguration()
    c.ropePrecision = precision
    try file.compare(name, RopeTables.periods(c))
  }
}

/// The numbers in the manifest's words about the tables, such as "D 96, 3 heads, min_period .5, max_period 50".
private func described(_ file: GoldenFile, _ prefix: String, _ word: String) -> [String: Double] {
  let texts = (file.entry["tensors"]?.objectValue?.entries ?? []).filter { $0.key.hasPrefix(prefix) }
  let text = texts.compactMap { $0.value["meaning"]?.stringValue }.first { $0.contains("D ") && $0.contains(word) } ?? ""
  var result: [String: Double] = [:]
  for part in text.split(separator: ",") {
    let words = part.split(separator: " ").map(String.init)
    guard words.count >= 2 else { continue }
    let (a, b) = (words[words.count - 2], words[words.count - 1])
    if let value = Double(b) ?? Double("0" + b) { result[a] = value } else if let value = Double(a) { result[b] = value }
  }
  return result
}

private func checkPatchDecode(_ file: GoldenFile) throws {
  let device = try testDevice()
  for (key, value) in file.config.objectValue?.entries ?? [] {
    guard let patch = value["patch_size"]?.intValue, let dim = value["embed_dim"]?.intValue, let classes = value["out_channels"]?.intValue,
      try file.has(key + ".in.x")
    else { continue }
    let input = try file.tensor(key + ".in.x")
    let (batch, rows, columns) = (input.shape[0], input.shape[2], input.shape[3])
    let tokens = try tokenMajor(input, in: device.budget)
    let decoder = try PrimusDecoder(
      DecoderConfiguration(inputChannels: dim, patchSize: patch, classes: classes), taps: 1,
      parameters: RenamedDecoder(base: GoldenParameters(file: file, prefix: key + ".param.")), device: device)
    let logits = try Tensor([batch, classes, rows * patch, columns * patch], in: device.budget)
    try decoder.decode(
      [tokens], prefixTokens: 0, rows: rows, columns: columns, into: logits, device: device, workspace: Workspace(device.budget))
    try file.compare(key + ".out", logits)
  }
}
/// Golden decoder parameters lack the `up_projection.` prefix.
private struct RenamedDecoder: ParameterSource {
  let base: GoldenParameters
  func contains(_ name: String) -> Bool { base.contains(String(name.dropFirst("up_projection.".count))) }
  func parameter(_ name: String, _ shape: Shape, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    try base.parameter(String(name.dropFirst("up_projection.".count)), shape, in: budget)
  }
}

private func checkPrimus(_ file: GoldenFile) throws {
  let device = try testDevice()
  let config = file.config
  for kind in ["single", "multi"] where try file.has(kind + ".in.x") {
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
    let indices = config["interaction_indices"]?.arrayValue?.compactMap(\.intValue) ?? []
    let taps = kind == "single" ? [encoder.depth - 1] : indices
    let classes = config["classes"]?.intValue ?? 5
    let parameters = GoldenParameters(file: file, prefix: kind + ".param.")
    func logits(_ input: String, _ taps: [Int], _ rope: EncoderConfiguration.RopePrecision) throws -> Tensor {
      var c = encoder
      c.ropePrecision = rope
      let source: any ParameterSource = rope == .bfloat16 ? WithoutPeriods(base: parameters) : parameters
      let network = try Primus(.init(encoder: c, taps: taps, classes: classes), parameters: source, device: device)
      return try network.logits(file.tensor(kind + input), device: device, workspace: Workspace(device.budget))
    }
    try file.compare(kind + ".out", logits(".in.x", taps, .float32))
    try file.compare(kind + ".out.bf16rope", logits(".in.x", taps, .bfloat16))
    if try file.has(kind + ".out.reversed_indices") {
      try file.compare(kind + ".out.reversed_indices", logits(".in.x", taps.reversed(), .float32))
    }
    if try file.has(kind + ".out.surplus") { try file.compare(kind + ".out.surplus", logits(".in.x_surplus", taps, .float32)) }
  }
}

private func checkDemo(_ file: GoldenFile) throws {
  for kind in ["down", "up"] where try file.has(kind + ".hu") {
    let values = try file.tensor(kind + ".hu")
    HounsfieldNormalization.apply(values.floats)
    try file.compare(kind + ".normalized", values)
    let target = try file.tensor(kind + ".resized_channel0")
    let resizer = AntialiasedResizer(rows: values.shape[1], columns: values.shape[2], toRows: target.shape[0], toColumns: target.shape[1])
    let out = try Tensor(target.shape, in: file.budget)
    let scratch = try Tensor([resizer.scratchCount], in: file.budget)
    guard let from = values.floats.baseAddress, let to = out.floats.baseAddress, let work = scratch.floats.baseAddress else { continue }
    resizer.resize(from, into: to, scratch: work)
    try file.compare(kind + ".resized_channel0", out)
  }
  let features = try file.tensor("pca.features")
  let (rows, dim) = (features.shape[0], features.shape[1])
  defer { withExtendedLifetime(features) {} }
  guard let base = features.floats.baseAddress else { return }
  let pca = try PrincipalComponents(base, rows: rows, dim: dim, count: 3)
  let scores = (0..<rows).flatMap { pca.scores(base + $0 * dim) }
  try file.compare("pca.scores", scores)
  try file.compare("pca.explained_variance", pca.variances)
  try file.compare("pca.components", pca.components.flatMap { $0 })
  let (low, high) = (scores.min() ?? 0, scores.max() ?? 1)
  try file.compare("pca.rgb", scores.map { ($0 - low) / (high - low) })
}
