import FineTuning
import Networks
import Platform
import Tensors
import TestSupport
import Testing
import WeightFiles

@testable import MedDINO

/// What a run starts from, what of it learns, and which combinations are refused.
@Suite struct TrainerStartTests {
  let context: Context
  let model: Model
  let data: TrainingDataset
  init() throws {
    context = try Context(threads: 2)
    model = try TinyModel.segmenter(context)
    data = try TinyTraining.dataset(like: model)
  }

  private func create(
    _ start: Model?, _ data: TrainingDataset?, _ changes: [(String, JSON)] = [], output: String? = nil
  ) throws -> Trainer {
    try Trainer.create(start: start, dataset: data, settings: try TinyTraining.settings(changes, output: output), context: context)
  }

  // MARK: adaptations

  /// Which of the start model's tensors differ after three updates.
  private func learned(_ way: String, _ changes: [(String, JSON)] = []) throws -> Set<String> {
    let run = try create(model, data, [("adapt", .string(way)), ("weight_decay", .number(0.05))] + changes)
    for _ in 0..<3 { _ = try run.step() }
    let made = try run.export()
    let changed = try TinyTraining.changes(TinyTraining.bits(model), TinyTraining.bits(made))
    try withTemporaryFolder { folder in
      try made.save(to: folder + "/m.safetensors")
      let reopened = try Model.open(folder + "/m.safetensors", context: context)
      try reopened.verify()
      let volume = try testVolume([40, 33, 2], in: context.budget)
      let image = Image(volume, context: context)
      #expect(try labelBytes(reopened.segment(image).labels.volume) == labelBytes(made.segment(image).labels.volume))
      #expect(reopened.metadata["provenance"]?.contains("\"adapt\"") == true)
      // What it started from was random, it is not.
      #expect(model.hasRandomWeights && !reopened.hasRandomWeights)
    }
    return changed
  }
  private var decoder: Set<String> { Set(model.parameterList.map(\.0).filter { $0.hasPrefix("up_projection.") }) }
  /// Learned tensors.
  private func encoder(_ belongs: (String) -> Bool) -> Set<String> {
    Set(
      model.parameterList.map(\.0).filter { $0.hasPrefix("dino_encoder.") && !$0.hasSuffix("periods") && belongs(String($0.dropFirst(13))) }
    )
  }

  @Test(arguments: ["f32", "bf16"]) func fullChangesEverythingThatIsReached(precision: String) throws {
    let reached = encoder { $0 != "mask_token" }
    #expect(try learned("full", [("precision", .string(precision)), ("recompute", .bool(precision == "f32"))]) == decoder.union(reached))
  }
  @Test(arguments: ["frozen", "decoder"]) func frozenChangesTheDecoder(way: String) throws {
    #expect(try learned(way) == decoder)
  }
  @Test func lastBlocksChange() throws {
    #expect(try learned("last:1") == decoder.union(encoder { $0.hasPrefix("blocks.1.") || $0.hasPrefix("norm.") }))
  }
  @Test func lowRankChangesTheLinearLayers() throws {
    let layers = ["attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"]
    #expect(try learned("lora:2:4") == decoder.union(encoder { name in layers.contains { name.hasSuffix($0) } }))
  }

  @Test(arguments: ["last:1", "lora:2", "decoder", "frozen"]) func resumesWhateverLearns(way: String) throws {
    try withTemporaryFolder { folder in
      let straight = try create(model, data, [("adapt", .string(way))])
      for _ in 0..<3 { _ = try straight.step() }
      let run = try create(model, data, [("adapt", .string(way))])
      _ = try run.step()
      try run.save(to: folder + "/c.safetensors")
      let resumed = try Trainer.resume(folder + "/c.safetensors", dataset: data, context: context)
      for _ in 0..<2 { _ = try resumed.step() }
      #expect(try TinyTraining.changes(TinyTraining.bits(straight), TinyTraining.bits(resumed)).isEmpty)
      #expect(resumed.settings.adaptation.text == straight.settings.adaptation.text)
    }
  }

  // MARK: starts

  @Test func otherLabelsKeepTheStages() throws {
    var description = TinyModel.dataset.objectValue ?? JSONObject()
    description["labels"] = .object(("background", .integer(0)), ("kidney", .integer(1)), ("tumour", .integer(2)))
    let text = JSON.object(
      ("encoder", TinyModel.encoder), ("taps", .integers([0, 1])), ("plans", TinyModel.plans()), ("dataset", .object(description)))
    let like = try Model.create(text.text(), seed: 9, context: context)
    let run = try create(model, try TinyTraining.dataset(like: like))
    let changed = try TinyTraining.changes(TinyTraining.bits(model), TinyTraining.bits(run))
    // The head starts fresh although there are as many labels.
    let head = "up_projection.decode.\(try #require(model.primusConfiguration).decoder.stages)."
    #expect(changed.contains(head + "weight") && changed.allSatisfy { $0.hasPrefix(head) })
    #expect(try run.export().labels.map(\.name) == ["background", "kidney", "tumour"])
    _ = try run.step()
    // The same labels go on with the head.
    #expect(try TinyTraining.changes(TinyTraining.bits(model), TinyTraining.bits(create(model, data))).isEmpty)
  }

  private func write(_ tensors: [(String, Tensor)], _ path: String) throws -> Model {
    try SafeTensorsWriter.write(tensors, to: path)
    var options = ModelOptions()
    options.encoder.heads = 2
    return try Model.open(path, options: options, context: context)
  }
  /// Everything that a file of the model holds.
  private func official(_ model: Model) throws -> [(String, Tensor)] {
    try withTemporaryFolder { folder in
      try model.save(to: folder + "/m.safetensors")
      let stored = try Model.open(folder + "/m.safetensors", context: context)
      return try stored.parameterList.map { ($0.0, try stored.members[0].parameter($0.0, $0.1, in: context.budget)) }
    }
  }
  /// As transformers names and splits them.
  private func huggingFace(_ model: Model) throws -> [(String, Tensor)] {
    let table = [
      ("cls_token", "embeddings.cls_token"), ("storage_tokens", "embeddings.register_tokens"), ("mask_token", "embeddings.mask_token"),
      ("patch_embed.proj.", "embeddings.patch_embeddings."), ("blocks.", "layer."),
    ]
    let parts = [
      ("ls1.gamma", "layer_scale1.lambda1"), ("ls2.gamma", "layer_scale2.lambda1"), ("attn.proj.", "attention.o_proj."),
      ("mlp.fc1.", "mlp.up_proj."), ("mlp.fc2.", "mlp.down_proj."),
    ]
    var result: [(String, Tensor)] = []
    for (name, tensor) in try official(model) where !name.hasSuffix("periods") {
      var renamed = name
      for (old, new) in table where name.hasPrefix(old) { renamed = new + name.dropFirst(old.count) }
      for (old, new) in parts { if let range = renamed.firstRange(of: old) { renamed.replaceSubrange(range, with: new) } }
      guard let range = renamed.firstRange(of: "attn.qkv.weight") else {
        result.append((renamed, name == "mask_token" ? tensor.reshaped([1, 1, tensor.shape[1]]) : tensor))
        continue
      }
      let dim = tensor.shape[1]
      for (index, part) in ["q", "k", "v"].enumerated() {
        var own = renamed
        own.replaceSubrange(range, with: "attention.\(part)_proj.weight")
        result.append((own, tensor.rows(index * dim..<(index + 1) * dim)))
      }
    }
    return result
  }

  @Test func backbonesOfOtherLayouts() throws {
    try withTemporaryFolder { folder in
      let backbone = try TinyModel.backbone(context)
      let wanted = try TinyTraining.bits(backbone)
      let starts = [
        ("meddino", backbone), ("official", try write(official(backbone), folder + "/official.safetensors")),
        ("huggingface", try write(huggingFace(backbone), folder + "/hf.safetensors")),
      ]
      for (layout, start) in starts {
        let run = try create(start, data, [("taps", .integers([0, 1])), ("encoder", start.encoder.json)])
        let found = try TinyTraining.bits(run)
        for (name, values) in wanted where !name.hasSuffix("periods") {
          #expect(found["dino_encoder." + name] == values, "\(layout) \(name)")
        }
        #expect((try run.export()).metadata["provenance"]?.contains("backbone") == true)
        _ = try run.step()
      }
    }
  }

  /// A natural-image backbone with register tokens and masked k bias starts an encoder that has neither.
  @Test func lenientStart() throws {
    try withTemporaryFolder { folder in
      var text = TinyModel.encoder.objectValue ?? JSONObject()
      (text["qkv_bias"], text["mask_k_bias"], text["n_storage_tokens"]) = (.bool(true), .bool(true), .integer(3))
      let released = try Model.create(JSON.object(("encoder", .object(text))).text(), seed: 3, context: context)
      let start = try write(official(released), folder + "/released.safetensors")
      (text["n_storage_tokens"], text["mask_k_bias"]) = (.integer(0), .bool(false))
      let changes: [(String, JSON)] = [("recipe", .string("dinov3_multiscale")), ("encoder", .object(text)), ("taps", .integers([0, 1]))]
      let run = try create(start, data, changes)
      let (found, given) = (try TinyTraining.bits(run), try TinyTraining.bits(released))
      #expect(found["dino_encoder.storage_tokens"] == nil)
      for name in ["cls_token", "blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.bias", "norm.weight", "patch_embed.proj.weight"] {
        #expect(found["dino_encoder." + name] == given[name], "\(name)")
      }
      _ = try run.step()
      // Strict: the same file does not fit.
      let strict = changes + [("backbone_loading", .string("strict"))]
      #expect(failure { _ = try create(start, data, strict) }.contains("name another encoder"))
    }
  }

  @Test func regionsWithAnIgnoreLabel() throws {
    let labels = JSON.object(
      ("background", .integer(0)), ("organ", .integers([1, 2])), ("tumour", .integer(2)), ("ignore", .integer(3)))
    let description = JSON.object(
      ("channel_names", .object(("0", .string("CT")))), ("labels", labels), ("regions_class_order", .integers([1, 2])),
      ("numTraining", .integer(1)), ("file_ending", .string(".nii.gz")))
    let text = JSON.object(
      ("encoder", TinyModel.encoder), ("taps", .integers([0, 1])), ("plans", TinyModel.plans()), ("dataset", description))
    let model = try Model.create(text.text(), seed: 2, context: context)
    let changes: [(String, JSON)] = [
      ("epochs", .integer(6)), ("iterations", .integer(8)), ("augmentation", .bool(false)), ("drop_path", .number(0)),
    ]
    let run = try create(model, try TinyTraining.dataset(like: model, ignored: 3), changes)
    var epochs: [EpochMetrics] = []
    try run.run { epochs.append($0) }
    let (first, last) = (try #require(epochs.first), try #require(epochs.last))
    #expect(last.trainingLoss.total < first.trainingLoss.total - 0.1 && last.trainingLoss.crossEntropy < first.trainingLoss.crossEntropy)
    #expect(last.validation?.dice.count == 2 && last.validation?.loss.isFinite == true)
    #expect(try run.export().task?.scheme.ignoreLabel == 3)
  }

  // MARK: refusals

  @Test func wrongCombinations() throws {
    let backbone = try TinyModel.backbone(context)
    let both = try Model.combine([model, model])
    let off = ("augmentation", JSON.bool(false))
    let cases: [(Model?, TrainingDataset?, [(String, JSON)], String)] = [
      (nil, nil, [], "dataset is NULL"), (backbone, nil, [], "dataset is NULL"), (both, data, [], "2 members"),
      (model, try TrainingDataset(like: model), [], "no cases"), (model, data, [("fold", .string("x"))], "fold is \"x\""),
      (model, data, [("adapt", .string("half"))], "adapt is \"half\""), (model, data, [("adapt", .string("last:3"))], "last_blocks is 3"),
      (model, data, [("adapt", .string("lora:999"))], "lora_rank is 999"),
      (model, data, [("encoder", .string("vit_small"))], "name another encoder"),
      (model, data, [("feature_cache", .integer(1 << 20)), off], "feature_cache needs adapt \"decoder\""),
      (model, data, [("feature_cache", .integer(1 << 20)), ("adapt", .string("decoder"))], "augmented images never come again"),
      (model, data, [("feature_cache", .integer(1 << 20)), ("adapt", .string("decoder")), off], "output is not given"),
      (model, data, [("low_resolution", .bool(true)), off], "low_resolution is true"),
      (model, data, [("batchsize", .integer(2))], "batchsize"),
      (model, data, [("epochs", .integer(0))], "epochs is 0"), (model, data, [("workers", .integer(-1))], "workers is -1"),
      (nil, data, [("encoder", .object(("patch_size", .integer(7))))], "multiple of the encoder's patch size 7"),
      (nil, data, [("taps", .integers([3, 1]))], "taps is [3, 1]"), (model, data, [("time_budget", .number(0))], "time_budget is 0"),
    ]
    for (start, data, changes, expected) in cases {
      let found = failure { _ = try create(start, data, changes) }
      #expect(found.contains(expected), "\(expected): \(found)")
      #expect(!found.contains("\n"))
    }
  }

  /// From too little for the weights over too little for an update to enough: what fails leaves everything as it was.
  @Test func memoryLimits() throws {
    let straight = try create(model, data)
    _ = try straight.step()
    var (made, failed) = (0, 0)
    for limit in stride(from: 1 << 16, through: 64 << 20, by: 3 << 16) {
      let run: Trainer
      do {
        run = try Trainer.create(start: model, dataset: data, settings: try TinyTraining.settings(), context: context, maxBytes: limit)
      } catch let error as MedDINOError {
        #expect(error.kind == .outOfMemory && made == 0)
        failed += 1
        continue
      }
      made += 1
      let message = failure { _ = try run.step() }
      if message.isEmpty {
        #expect(try TinyTraining.changes(TinyTraining.bits(straight), TinyTraining.bits(run)).isEmpty)
        break
      }
      #expect(message.hasPrefix("outOfMemory") && run.step == 0)
      #expect(try TinyTraining.changes(TinyTraining.bits(model), TinyTraining.bits(run)).isEmpty)
    }
    #expect(failed > 0 && made > 1)
  }
}
