import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles
@testable import Networks

private let goldens: String? = {
  let roots =
    environment("MEDDINO_GOLDEN").map { [$0] } ?? [
      projectRoot + "/Tests/Golden", projectRoot + "/../shared/golden",
      projectRoot + "/../../shared/golden",
    ]
  return roots.map { $0 + "/model/ckpt" }.first { FileKind.of($0 + "/official_flat.pth") == .regular }
}()

/// The same network in every layout, against the official code's own tensors.
@Suite(.enabled(if: goldens != nil, "no golden folder")) struct CheckpointGoldenTests {
  let budget = MemoryBudget()
  let folder = goldens ?? ""

  private func expected() throws -> SafeTensorsFile { try SafeTensorsFile(InputFile(folder + "/expected.safetensors")) }
  private func configuration() -> EncoderConfiguration {
    var c = EncoderConfiguration()
    (c.embedDim, c.depth, c.heads, c.hiddenDim) = (24, 12, 2, 96)
    return c
  }

  @Test(arguments: [
    ("official_flat.pth", CheckpointLayout.official), ("official_teacher.pth", .teacher), ("hf", .huggingFace),
    ("hf/model.safetensors", .huggingFace), ("timm_qkvb.safetensors", .timm), ("timm_noqkvb.safetensors", .timm),
  ])
  func encoders(name: String, layout: CheckpointLayout) throws {
    let contents = try Checkpoint.open(folder + "/" + name, in: budget)
    #expect(contents.layout == layout)
    var overrides = EncoderOverrides()
    if layout == .timm { overrides.heads = 2 }
    let inferred = try EncoderConfiguration(inferredFrom: contents, overrides)
    var want = configuration()
    want.qkvBias = !(name.contains("noqkvb") || layout == .teacher)
    if layout != .teacher { (want.normEpsilon, want.ropePrecision) = (1e-5, .float32) }
    #expect(inferred == want)
    let parameters = try NetworkParameters.collect(inferred, from: contents)
    let file = try expected()
    for spec in inferred.parameters {
      if layout == .timm, spec.name == "mask_token" { continue }
      if layout == .timm || layout == .huggingFace, spec.isBuffer, spec.name.hasSuffix("periods") { continue }
      let got = try parameters.parameter(spec.name, spec.shape, in: budget).floatArray()
      var wanted = try file.tensor("weights." + spec.name, in: budget).floatArray()
      if spec.name.hasSuffix("qkv.bias"), layout != .official { for i in 24..<48 { wanted[i] = 0 } }
      #expect(got == wanted, "\(spec.name)")
    }
  }

  @Test func segmenter() throws {
    let contents = try Checkpoint.open(folder + "/nnunet_checkpoint.pth", in: budget)
    #expect(contents.layout == .nnUNet)
    let configuration = try Primus.Configuration(inferredFrom: contents)
    #expect(configuration == Primus.Configuration(encoder: self.configuration(), taps: [2, 5, 8, 11], classes: 6))
    let parameters = try NetworkParameters.collect(configuration, from: contents)
    let file = try expected()
    for spec in configuration.decoder.parameters {
      let (got, want) = (
        try parameters.parameter(spec.name, spec.shape, in: budget), try file.tensor("nnunet.weights." + spec.name, in: budget)
      )
      #expect(got.bytes.elementsEqual(want.bytes), "\(spec.name)")
    }
    // One optimiser step after `weights.*`: close, and not the same.
    for spec in configuration.encoder.parameters where !spec.isBuffer {
      let got = try parameters.parameter("dino_encoder." + spec.name, spec.shape, in: budget).floatArray()
      let want = try file.tensor("weights." + spec.name, in: budget).floatArray()
      #expect(zip(got, want).allSatisfy { abs($0 - $1) < 1e-3 }, "\(spec.name)")
    }
    let path = folder + "/nnunet_checkpoint.expected.json"
    let json = try JSON.parse(InputFile.contents(path), source: path)
    let training = try #require(contents.training)
    #expect(training.plans == json["init_args"]?["plans"])
    #expect(training.dataset == json["init_args"]?["dataset_json"])
    #expect(training.configuration == "2d" && training.fold == .integer(0) && training.mirrorAxes == [0, 1])
    #expect(training.trainerName == json["trainer_name"]?.stringValue && training.currentEpoch == 3)
    #expect(try training.logging.json(MemoryCharge(MemoryBudget(), "json")) == json["logging"])
    #expect(Set(parameters.names) == Set(json["network_keys"]?.arrayValue?.compactMap(\.stringValue) ?? []))
  }

  @Test func numberOfHeadsIsNotGuessed() throws {
    let contents = try Checkpoint.open(folder + "/timm_qkvb.safetensors", in: budget)
    #expect(throws: MedDINOError.self) { try EncoderConfiguration(inferredFrom: contents) }
  }
}
