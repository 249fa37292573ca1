import Networks
import Platform
import Tensors
import WeightFiles

let checkpointGoldens: [GoldenCheck] = [
  GoldenCheck("ckpt/expected*", run: checkEncoderFiles),
  GoldenCheck("ckpt/expected*", run: checkTrainingState),
  GoldenCheck("ckpt/expected*", run: checkContainer),
]

/// Loading is exact, whatever tolerance the file has for what networks compute.
private func same(_ file: GoldenFile, _ name: String, _ got: Tensor, _ expected: Tensor) {
  let equal = got.shape == expected.shape && (0..<expected.count).allSatisfy { got.value($0) == expected.value($0) }
  file.expect(equal, name, "is not equal")
}

/// One network in every layout; what a layout drops is zero or follows from the configuration.
private func checkEncoderFiles(_ file: GoldenFile) throws {
  for name in [
    "official_flat.pth", "official_teacher.pth", "hf", "hf/model.safetensors", "timm_qkvb.safetensors", "timm_noqkvb.safetensors",
  ] {
    let contents = try Checkpoint.open(file.folder + "/ckpt/" + name, in: file.budget)
    var overrides = EncoderOverrides()
    overrides.heads = file.config["heads"]?.intValue
    let configuration = try EncoderConfiguration(inferredFrom: contents, overrides)
    let parameters = try NetworkParameters.collect(configuration, from: contents)
    let stores = contents.layout == .official || contents.layout == .teacher
    for spec in configuration.parameters {
      if !stores, spec.name == "rope_embed.periods" || (spec.name == "mask_token" && contents.layout == .timm) { continue }
      let got = try parameters.parameter(spec.name, spec.shape, in: file.budget)
      let expected = try file.tensor("weights." + spec.name)
      if !stores, spec.name.hasSuffix("qkv.bias") {
        for index in configuration.embedDim..<2 * configuration.embedDim { expected.floats[index] = 0 }
      }
      same(file, stores ? "weights." + spec.name : name + ": weights." + spec.name, got, expected)
    }
  }
}

/// The decoder, the optimiser's moments, the pretraining heads.
private func checkTrainingState(_ file: GoldenFile) throws {
  let path = file.folder + "/ckpt/nnunet_checkpoint.pth"
  let contents = try Checkpoint.open(path, in: file.budget)
  let configuration = try Primus.Configuration(inferredFrom: contents)
  let parameters = try NetworkParameters.collect(configuration, from: contents)
  for spec in configuration.decoder.parameters {
    let name = "nnunet.weights." + spec.name
    same(file, name, try parameters.parameter(spec.name, spec.shape, in: file.budget), try file.tensor(name))
  }
  let state = try TorchArchive(InputFile(path), in: file.budget)
  let moments = state.root["optimizer_state"]?["state"]?.dictValue ?? []
  for (index, moment) in [(0, "exp_avg"), (180, "exp_avg_sq")] {
    let name = "nnunet.opt.\(moment).\(index)"
    guard let reference = moments.first(where: { $0.key.intValue == index })?.value[moment]?.tensorValue else {
      file.fail(name, "missing")
      continue
    }
    same(file, name, try state.tensor(reference, in: file.budget), try file.tensor(name))
  }
  let teacher = try TorchArchive(InputFile(file.folder + "/ckpt/official_teacher.pth"), in: file.budget)
  for name in try file.file().names where name.hasPrefix("teacher.dino_head.") || name.hasPrefix("teacher.ibot_head.") {
    guard let reference = teacher.root["teacher"]?[String(name.dropFirst(8))]?.tensorValue else {
      file.fail(name, "missing")
      continue
    }
    same(file, name, try teacher.tensor(reference, in: file.budget), try file.tensor(name))
  }
  let expected = file.folder + "/ckpt/nnunet_checkpoint.expected.json"
  let json = try JSON.parse(InputFile.contents(expected), source: expected)
  for key in ["init_args", "logging", "trainer_name", "current_epoch", "inference_allowed_mirroring_axes"] {
    file.expect(try state.root[key]?.json(MemoryCharge(file.budget, "json")) == json[key], "nnunet_checkpoint." + key)
  }
}

/// Views, types and objects at the edges of the container format.
private func checkContainer(_ file: GoldenFile) throws {
  let archive = try TorchArchive(InputFile(file.folder + "/ckpt/quirks.pth"), in: file.budget)
  for name in try file.file().names where name.hasPrefix("quirks.") {
    guard let reference = archive.root["state_dict"]?[String(name.dropFirst(7))]?.tensorValue else {
      file.fail(name, "missing")
      continue
    }
    same(file, name, try archive.tensor(reference, in: file.budget), try file.file().tensor(name, in: file.budget))
  }
  let forbidden = try TorchArchive(InputFile(file.folder + "/ckpt/forbidden_global.pth"), in: file.budget)
  file.expect(forbidden.root["teacher"]?["w"]?.tensorValue?.shape == [2], "forbidden_global")
}
