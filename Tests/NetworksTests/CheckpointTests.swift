import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles
@testable import Networks

/// A small network's tensors, by official names, as a checkpoint of any layout.
struct ToyWeights {
  let configuration: EncoderConfiguration
  var tensors: [(String, [Int], [Float])]

  init(_ configuration: EncoderConfiguration, seed: UInt64 = 1) {
    var generator = SeededGenerator(seed)
    self.configuration = configuration
    tensors = configuration.parameters.map { ($0.name, $0.shape.extents, generator.floats($0.shape.count)) }
  }
  static func toy() -> EncoderConfiguration {
    var c = EncoderConfiguration()
    (c.embedDim, c.depth, c.heads, c.hiddenDim, c.patchSize) = (16, 4, 2, 32, 4)
    return c
  }
  func renamed(_ rename: (String) -> String?) -> [(String, [Int], [Float])] {
    tensors.compactMap { tensor in rename(tensor.0).map { ($0, tensor.1, tensor.2) } }
  }
  func values(_ name: String) -> [Float]? { tensors.first { $0.0 == name }?.2 }
}

@Suite struct CheckpointTests {
  let budget = MemoryBudget()

  private func open(_ tensors: [(String, [Int], [Float])], under path: [String] = []) throws -> CheckpointContents {
    try Checkpoint.open(memorySource(PickleBuilder.stateDict(tensors, under: path).bytes()), in: budget)
  }
  private func matches(_ contents: CheckpointContents, _ toy: ToyWeights) throws -> Bool {
    let parameters = try NetworkParameters.collect(EncoderConfiguration(inferredFrom: contents), from: contents)
    return try toy.configuration.parameters.allSatisfy { spec in
      try parameters.parameter(spec.name, spec.shape, in: budget).floatArray() == toy.values(spec.name)
    }
  }
  private func message(_ body: () throws -> Void) -> String {
    do { try body() } catch { return "\(error)" }
    return ""
  }

  @Test func wrappersOfEveryKind() throws {
    let toy = ToyWeights(ToyWeights.toy())
    let flat = try open(toy.tensors)
    #expect(flat.layout == .official)
    #expect(try matches(flat, toy))
    var expected = toy.configuration
    (expected.normEpsilon, expected.ropePrecision) = (1e-5, .float32)
    #expect(try EncoderConfiguration(inferredFrom: flat) == expected)

    let heads: [(String, [Int], [Float])] = [("dino_head.mlp.0.weight", [1], [0]), ("ibot_head.last_layer.weight", [1], [0])]
    let teacher = try open(toy.renamed { "backbone." + $0 } + heads, under: ["teacher"])
    #expect(teacher.layout == .teacher && teacher.unused.count == 2)
    #expect(try matches(teacher, toy))
    #expect(try EncoderConfiguration(inferredFrom: teacher) == toy.configuration)

    for prefix in ["module.", "_orig_mod.", "module._orig_mod.", "module.backbone."] {
      #expect(try matches(open(toy.renamed { prefix + $0 }), toy), "\(prefix)")
    }
    let states = toy.renamed { "teacher.backbone." + $0 } + toy.renamed { "student.backbone." + $0 }
    #expect(try matches(open(states, under: ["model"]), toy))
  }

  @Test func safetensorsOfficialNames() throws {
    let toy = ToyWeights(ToyWeights.toy())
    try withTemporaryFolder { folder in
      var tensors: [(String, Tensor)] = []
      for (name, shape, values) in toy.tensors { tensors.append((name, try Tensor(values, Shape(shape), in: budget))) }
      try SafeTensorsWriter.write(tensors, to: folder + "/backbone.safetensors")
      #expect(try matches(Checkpoint.open(folder + "/backbone.safetensors", in: budget), toy))
      #expect(throws: MedDINOError.self) { try Checkpoint.open(folder, in: budget) }
      // The same in two files with an index, as HuggingFace stores large models.
      try SafeTensorsWriter.write(Array(tensors.prefix(20)), to: folder + "/a.safetensors")
      try SafeTensorsWriter.write(Array(tensors.dropFirst(20)), to: folder + "/b.safetensors")
      let map = tensors.enumerated().map { ($1.0, JSON.string($0 < 20 ? "a.safetensors" : "b.safetensors")) }
      let index = JSON.object(("weight_map", .object(JSONObject(map))))
      try AtomicFile.write(Array(index.text().utf8), to: folder + "/model.safetensors.index.json")
      #expect(try matches(Checkpoint.open(folder, in: budget), toy))
      let bad = JSON.object(("weight_map", .object(("x", .string("../a.safetensors")))))
      try AtomicFile.write(Array(bad.text().utf8), to: folder + "/model.safetensors.index.json")
      #expect(throws: MedDINOError.self) { try Checkpoint.open(folder, in: budget) }
    }
  }

  /// What a run of ours goes on from is told from models, and is none of the names that a folder offers.
  @Test func trainingCheckpointsAreNoModels() throws {
    try withTemporaryFolder { folder in
      func write(_ name: String, _ tensor: String, isTraining: Bool) throws {
        try SafeTensorsWriter.write(
          [(tensor, try Tensor([0], [1], in: budget))], metadata: isTraining ? [(Checkpoint.trainingKey, "1")] : [], to: folder + "/" + name
        )
      }
      try write("checkpoint_latest.safetensors", "weights.dino_encoder.cls_token", isTraining: true)
      #expect(message { _ = try Checkpoint.open(folder, in: budget) }.hasSuffix("(model.safetensors)"))
      try write("pretraining_1.safetensors", "weights.backbone.cls_token", isTraining: true)
      try write("model_best.safetensors", "cls_token", isTraining: false)
      #expect(message { _ = try Checkpoint.open(folder, in: budget) }.hasSuffix("; it has model_best.safetensors: name one of them"))
      func opened(_ name: String) -> String { message { _ = try Checkpoint.open(folder + "/" + name, in: budget) } }
      #expect(opened("checkpoint_latest.safetensors").contains("a training checkpoint: open model_best.safetensors or model_final"))
      #expect(opened("pretraining_1.safetensors").contains("a training checkpoint: open backbone.safetensors"))
    }
  }

  @Test func exportsSayWhatShapesDoNot() throws {
    var toy = ToyWeights(ToyWeights.toy())
    toy.tensors.removeAll { $0.0 == "rope_embed.periods" }
    var said = toy.configuration
    (said.normEpsilon, said.ropePrecision, said.coordinateNormalization, said.ropePeriods) = (3e-4, .bfloat16, .max, .base(50))
    #expect(try EncoderConfiguration(inferredFrom: exported(toy, said.json.text())) == said)
    var overrides = EncoderOverrides()
    overrides.normEpsilon = 1e-3
    #expect(try EncoderConfiguration(inferredFrom: exported(toy, said.json.text()), overrides).normEpsilon == 1e-3)
    said.depth = 3
    #expect(
      message { _ = try EncoderConfiguration(inferredFrom: exported(toy, said.json.text())) }.contains(
        "metadata \"architecture\" says depth 3, the tensors have 4"))
    #expect(message { _ = try exported(toy, "{\"embed_dim\": -16}") }.contains("metadata \"architecture\": "))
    #expect(try exported(toy, "Primus").declared == nil)
  }
  /// A backbone in safetensors whose metadata has an "architecture".
  private func exported(_ toy: ToyWeights, _ architecture: String) throws -> CheckpointContents {
    try withTemporaryFolder { folder in
      let path = folder + "/backbone.safetensors"
      try SafeTensorsWriter.write(
        try toy.tensors.map { ($0.0, try Tensor($0.2, Shape($0.1), in: budget)) }, metadata: [("architecture", architecture)], to: path)
      return try Checkpoint.open(path, in: budget)
    }
  }

  @Test func gatedNamesOfBothLibraries() throws {
    var configuration = ToyWeights.toy()
    configuration.feedForward = .swiGLU(alignment: 8)
    configuration.hiddenDim = 24
    let toy = ToyWeights(configuration)
    let timm = toy.renamed { name in
      if name == "storage_tokens" { return "reg_token" }
      if name == "mask_token" || name.hasSuffix("periods") { return nil }
      let table = [".ls1.gamma": ".gamma_1", ".ls2.gamma": ".gamma_2", ".w1.": ".fc1_g.", ".w2.": ".fc1_x.", ".w3.": ".fc2."]
      return replaced(name, table)
    }
    let contents = try open(timm)
    #expect(contents.layout == .timm)
    var heads = EncoderOverrides()
    heads.heads = 2
    #expect(message { _ = try EncoderConfiguration(inferredFrom: contents) }.contains("number of heads"))
    let inferred = try EncoderConfiguration(inferredFrom: contents, heads)
    #expect(inferred.feedForward == configuration.feedForward && inferred.hiddenDim == 24)
    let parameters = try NetworkParameters.collect(inferred, from: contents)
    #expect(try parameters.parameter("blocks.3.mlp.w3.weight", [16, 24], in: budget).floatArray() == toy.values("blocks.3.mlp.w3.weight"))
    #expect(try parameters.parameter("mask_token", [1, 16], in: budget).floatArray().allSatisfy { $0 == 0 })
    #expect(try parameters.parameter("rope_embed.periods", [2], in: budget).floatArray() == [1, 10])
    #expect(try huggingFaceGated(toy, heads) == toy.values("blocks.1.mlp.w2.bias"))
  }

  private func huggingFaceGated(_ toy: ToyWeights, _ overrides: EncoderOverrides) throws -> [Float] {
    let table = [
      ".ls1.gamma": ".layer_scale1.lambda1", ".ls2.gamma": ".layer_scale2.lambda1", ".w1.": ".gate_proj.", ".w2.": ".up_proj.",
      ".w3.": ".down_proj.", "blocks.": "dinov3_vit.model.layer.", "attn.proj": "attention.o_proj",
    ]
    var tensors = toy.renamed { name in
      if name.hasSuffix("periods") || name.contains("qkv") || name == "mask_token" { return nil }
      if name.hasPrefix("blocks.") { return replaced(name, table) }
      let roots = ["cls_token": "cls_token", "storage_tokens": "register_tokens", "patch_embed.proj.": "patch_embeddings."]
      for (old, new) in roots where name.hasPrefix(old) { return "dinov3_vit.embeddings." + new + name.dropFirst(old.count) }
      return "dinov3_vit." + name
    }
    tensors.append(("dinov3_vit.embeddings.mask_token", [1, 1, 16], toy.values("mask_token") ?? []))
    for block in 0..<toy.configuration.depth {
      let rows = toy.values("blocks.\(block).attn.qkv.weight") ?? []
      for (part, name) in ["q", "k", "v"].enumerated() {
        tensors.append(
          ("dinov3_vit.model.layer.\(block).attention.\(name)_proj.weight", [16, 16], Array(rows[part * 256..<part * 256 + 256])))
      }
    }
    let contents = try open(tensors)
    #expect(contents.layout == .huggingFace)
    let parameters = try NetworkParameters.collect(EncoderConfiguration(inferredFrom: contents, overrides), from: contents)
    let qkv = try parameters.parameter("blocks.2.attn.qkv.weight", [48, 16], in: budget)
    #expect(Array(qkv.floats) == toy.values("blocks.2.attn.qkv.weight"))
    return try parameters.parameter("blocks.1.mlp.w2.bias", [24], in: budget).floatArray()
  }

  private func replaced(_ name: String, _ table: [String: String]) -> String {
    var name = name
    for (old, new) in table {
      guard let range = name.firstRange(of: old) else { continue }
      name.replaceSubrange(range, with: new)
    }
    return name
  }

  @Test func strictMatchingListsEverything() throws {
    let toy = ToyWeights(ToyWeights.toy())
    var tensors = toy.tensors.filter { $0.0 != "blocks.1.norm2.bias" }
    tensors.append(("head.weight", [3], [1, 2, 3]))
    tensors = tensors.map { $0.0 == "norm.weight" ? ($0.0, [4, 4], $0.2) : $0 }
    let contents = try open(tensors)
    let text = message { _ = try NetworkParameters.collect(EncoderConfiguration(inferredFrom: contents), from: contents) }
    for part in ["blocks.1.norm2.bias [16] is missing", "head.weight [3] is unexpected", "norm.weight has shape [4, 4], expected [16]"] {
      #expect(text.contains(part), "\(text)")
    }
    #expect(!text.contains("\n"))
    let none = try open(toy.tensors.filter { !$0.0.hasPrefix("blocks.2.") })
    let many = message { _ = try NetworkParameters.collect(EncoderConfiguration(inferredFrom: none), from: none) }
    #expect(many.contains("and 3 more"), "\(many)")
    let twice = toy.tensors + [("module.cls_token", [1, 1, 16], toy.values("cls_token") ?? [])]
    #expect(message { _ = try open(twice) }.contains("appears twice"))
  }

  @Test func missingBuffersAreMade() throws {
    var configuration = ToyWeights.toy()
    configuration.qkvBias = true
    let toy = ToyWeights(configuration)
    let contents = try open(toy.tensors.filter { !$0.0.hasSuffix("periods") })
    let parameters = try NetworkParameters.collect(configuration, from: contents)
    #expect(try parameters.parameter("rope_embed.periods", [2], in: budget).floatArray() == [1, 10])
    #expect(parameters.contains("blocks.0.attn.qkv.bias_mask"))
    let unmasked = try open(toy.tensors.filter { !$0.0.hasSuffix("bias_mask") })
    #expect(try EncoderConfiguration(inferredFrom: unmasked).maskKeyBias == false)
    let masked = try NetworkParameters.collect(configuration, from: unmasked)
    let mask = try masked.parameter("blocks.3.attn.qkv.bias_mask", [48], in: budget)
    #expect(Array(mask.floats) == (0..<48).map { (16..<32).contains($0) ? 0 : 1 })
  }

  @Test func otherFilesAreRefusedByWord() throws {
    #expect(message { _ = try open([("encoder.stages.0.weight", [1], [1])]) }.contains("no known layout"))
    #expect(message { _ = try open([("encoder.stages.0.weight", [1], [1])], under: ["network_weights"]) }.contains("expected a Primus"))
    #expect(message { _ = try Checkpoint.open(memorySource([UInt8](repeating: 32, count: 100)), in: budget) }.contains("neither"))
    #expect(message { _ = try Checkpoint.open("/nonexistent/x.pth", in: budget) }.contains("/nonexistent/x.pth"))
    var pickle = PickleBuilder()
    pickle.global("torchvision.models", "ResNet")
    pickle.op(")")
    pickle.raw([0x81])
    pickle.stop()
    #expect(message { _ = try Checkpoint.open(memorySource(pickle.archive().bytes()), in: budget) }.contains("torchvision.models.ResNet"))
    let toy = ToyWeights(ToyWeights.toy())
    let backbone = try open(toy.tensors)
    #expect(message { _ = try Primus.Configuration(inferredFrom: backbone) }.contains("backbone"))
  }

  @Test func hostileShapes() throws {
    let toy = ToyWeights(ToyWeights.toy())
    for (name, shape) in [
      ("cls_token", [1, 1, 0]), ("cls_token", [0]), ("patch_embed.proj.weight", [0, 0, 0, 0]), ("rope_embed.periods", [0]),
      ("storage_tokens", [0]), ("blocks.0.mlp.fc1.weight", [0, 0]), ("blocks.0.mlp.fc1.weight", [0]),
    ] {
      let contents = try open(toy.tensors.map { $0.0 == name ? (name, shape, []) : $0 })
      #expect(throws: MedDINOError.self, "\(name) \(shape)") {
        _ = try NetworkParameters.collect(EncoderConfiguration(inferredFrom: contents), from: contents)
      }
    }
    for name in ["blocks.99999999999.x", "blocks.-1.x", "blocks.", "blocks.1025.x", "blocks.x.y"] {
      let contents = try open(toy.tensors + [(name, [1], [1])])
      #expect(throws: MedDINOError.self, "\(name)") { _ = try EncoderConfiguration(inferredFrom: contents) }
    }
  }
}

/// Damaged checkpoints must end in an error or in a network that loads; a trap fails the whole run.
@Suite struct CheckpointHostileTests {
  /// True when the whole network could be read.
  private func loads(_ bytes: [UInt8]) -> Bool {
    let budget = MemoryBudget(limit: 64 << 20)
    do {
      let contents = try Checkpoint.open(memorySource(bytes), in: budget)
      let configuration = try EncoderConfiguration(inferredFrom: contents)
      let parameters = try NetworkParameters.collect(configuration, from: contents)
      for spec in configuration.parameters { _ = try parameters.parameter(spec.name, spec.shape, in: budget) }
      return true
    } catch { return false }
  }

  @Test(arguments: [0, 1]) func mutations(kind: Int) throws {
    var configuration = ToyWeights.toy()
    (configuration.depth, configuration.embedDim, configuration.hiddenDim) = (1, 8, 8)
    let toy = ToyWeights(configuration)
    var original = PickleBuilder.stateDict(toy.renamed { "backbone." + $0 }, under: ["teacher"]).bytes()
    if kind == 1 {
      try withTemporaryFolder { folder in
        var tensors: [(String, Tensor)] = []
        for (name, shape, values) in toy.tensors { tensors.append((name, try Tensor(values, Shape(shape), in: MemoryBudget()))) }
        try SafeTensorsWriter.write(tensors, to: folder + "/x")
        original = try InputFile.contents(folder + "/x")
      }
    }
    #expect(loads(original))
    var generator = SeededGenerator(UInt64(2100 + kind))
    var loaded = 0
    for _ in 0..<1500 {
      var bytes = original
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let place = Int.random(in: 0..<min(bytes.count, 3000), using: &generator)
        bytes[place] =
          Bool.random(using: &generator) ? UInt8.random(in: 0...255, using: &generator) : UInt8.random(in: 48...57, using: &generator)
      }
      if loads(bytes) { loaded += 1 }
    }
    #expect(loaded > 0 && loaded < 1500)
  }
}

@Suite struct PresetTests {
  /// Source: model specification 1.11.
  @Test(arguments: [
    ("dinov3_vits16", 21_601_152), ("dinov3_vits16plus", 28_697_472), ("dinov3_vitb16", 85_669_632), ("dinov3_vitl16", 303_154_176),
    ("dinov3_vitl16plus", 403_915_776), ("dinov3_vith16plus", 840_633_600), ("dinov3_vit7b16", 6_716_043_264),
    ("meddinov3_vitb16", 85_641_984),
  ])
  func parameterCounts(name: String, count: Int) throws {
    let configuration = try EncoderConfiguration.preset(name)
    try configuration.validate()
    #expect(configuration.parameterCount == count)
  }

  @Test func namesAndWidths() throws {
    for name in EncoderConfiguration.presetNames { try EncoderConfiguration.preset(name).validate() }
    #expect(try EncoderConfiguration.preset("vit_so400m").hiddenDim == 4352)
    #expect(try EncoderConfiguration.preset("dinov3_vit7b16").hiddenDim == 8192)
    #expect(throws: MedDINOError.self) { try EncoderConfiguration.preset("vit_tiny") }
  }
}
