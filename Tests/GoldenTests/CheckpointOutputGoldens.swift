import Networks
import Platform
import Tensors
import TestSupport
import WeightFiles

/// What networks compute from checkpoints of every layout, opened as a user's file would be.
let checkpointOutputGoldens: [GoldenCheck] = [GoldenCheck("ckpt/expected*", run: checkOutputs)]

private func checkOutputs(_ file: GoldenFile) throws {
  let device = try testDevice()
  let images = try file.tensor("in.x")
  try compare(file, device, images, "official_flat.pth", ["official_flat.fp32rope."], .float32)
  try compare(file, device, images, "official_flat.pth", ["official_flat.bf16rope."], .bfloat16)
  try compare(file, device, images, "official_teacher.pth", ["teacher.fp32rope."], .float32)
  try compare(file, device, images, "official_teacher.pth", ["teacher.bf16rope."], .bfloat16)
  try compare(file, device, images, "hf", ["hf.last_hidden_state", "exact_periods."], nil)
  try compare(file, device, images, "timm_qkvb.safetensors", ["timm_qkvb.features"], nil)
  try compare(file, device, images, "timm_noqkvb.safetensors", ["timm_noqkvb.features"], nil)
  for (name, rope) in [("nnunet.logits.fp32rope", EncoderConfiguration.RopePrecision.float32), ("nnunet.logits.bf16rope", .bfloat16)] {
    let contents = try Checkpoint.open(file.folder + "/ckpt/nnunet_checkpoint.pth", in: device.budget)
    var overrides = EncoderOverrides()
    overrides.ropePrecision = rope
    let configuration = try Primus.Configuration(inferredFrom: contents, overrides)
    let network = try Primus(configuration, parameters: NetworkParameters.collect(configuration, from: contents), device: device)
    try file.compare(name, network.logits(file.tensor("nnunet.in.x"), device: device, workspace: Workspace(device.budget)))
  }
}

/// `rope` nil: what the layout says by itself.
private func compare(
  _ file: GoldenFile, _ device: CPUDevice, _ images: Tensor, _ path: String, _ names: [String], _ rope: EncoderConfiguration.RopePrecision?
) throws {
  let contents = try Checkpoint.open(file.folder + "/ckpt/" + path, in: device.budget)
  var overrides = EncoderOverrides()
  overrides.ropePrecision = rope
  // The file does not store the head count; the goldens' manifest does, and a width of 24 is none of the released ones.
  overrides.heads = file.config["heads"]?.intValue
  let configuration = try EncoderConfiguration(inferredFrom: contents, overrides)
  let network = try VisionTransformer(configuration, parameters: NetworkParameters.collect(configuration, from: contents), device: device)
  let last = configuration.depth - 1
  guard let raw = try network.tokens(images, blocks: [last], device: device, workspace: Workspace(device.budget))[last] else { return }
  let normed = try normalized(network, raw, device)
  let split = SplitTokens(normed, prefix: configuration.prefixTokens)
  for name in names {
    guard name.hasSuffix(".") else {
      try file.compare(name, normed)
      continue
    }
    for (key, values) in [("cls", split.cls), ("storage", split.storage), ("patch", split.patch)] where try file.has(name + key) {
      try file.compare(name + key, values)
    }
  }
}
