import FineTuning
import Networks
import Platform
import TestSupport
import Testing
import WeightFiles

struct RecipeTests {
  /// Source: the tables of pipeline specification 9 and model specification 1.12, 4.1.
  @Test(arguments: [
    ("meddinov3", "meddinov3_base_primus_multiscale_Trainer", [2, 5, 8, 11], 3e-5, 4, false, "strict"),
    ("dinov3-multiscale", "dinov3_base_primus_multiscale_Trainer", [2, 5, 8, 11], 1e-4, 0, true, "lenient"),
    ("dinov3", "dinov3_base_primus_Trainer", [11], 1e-4, 0, true, "lenient"),
    ("scratch", "dinov3_base_primus_Trainer_scratch", [11], 3e-4, 0, true, "none"),
  ])
  func officialTrainers(
    _ row: (alias: String, name: String, taps: [Int], rate: Double, storage: Int, qkvBias: Bool, loading: String)
  ) throws {
    for name in [row.alias, row.name] {
      let recipe = try Recipe.preset(name)
      try recipe.validate()
      #expect(recipe.name == row.name && recipe.taps == row.taps && recipe.patch == nil)
      #expect(recipe.decoderRate == 3e-4 && recipe.encoderRate == row.rate && recipe.weightDecay == 0.05)
      #expect(recipe.beta1 == 0.9 && recipe.beta2 == 0.98 && recipe.epsilon == 1e-8 && recipe.clip == 12 && recipe.warmupEpochs == 0)
      #expect(recipe.epochs == 1000 && recipe.iterations == 250 && recipe.validationIterations == 50 && recipe.oversampling == 0.33)
      #expect(recipe.backboneLoading.rawValue == row.loading)
      let e = recipe.encoder
      #expect(
        e.storageTokens == row.storage && e.qkvBias == row.qkvBias && (e.embedDim, e.depth, e.heads, e.patchSize) == (768, 12, 12, 16))
      #expect(e.layerScale == 1e-5 && e.normEpsilon == 1e-6 && e.ropePrecision == .bfloat16 && e.dropPathRate == 0.2)
      #expect(e.qkvBias == !e.maskKeyBias)
    }
  }

  @Test func namesAreDistinctAndMayEndInAPatch() throws {
    let names = Recipe.presets.flatMap { [$0.name] + $0.aliases }
    #expect(Set(names).count == names.count)
    for name in names {
      for patch in [640, 896] {
        let sized = try Recipe.preset("\(name)_\(patch)")
        var plain = try Recipe.preset(name)
        plain.name += "_\(patch)"
        plain.patch = patch
        #expect(sized == plain)
      }
    }
    let error = #expect(throws: MedDINOError.self) { try Recipe.preset("meddinov3_512") }
    #expect(error?.kind == .invalid && error?.message.contains("scratch") == true)
  }

  @Test func fewShotIsSlowAndShort() throws {
    let recipe = try Recipe.preset("few-shot")
    #expect(recipe.decoderRate == 3e-5 && recipe.encoderRate == 3e-5 && recipe.epochs * recipe.iterations == 5000)
    #expect(recipe.encoder == (try Recipe.preset("meddinov3")).encoder)
  }

  @Test func jsonComesBackTheSame() throws {
    for preset in Recipe.presets {
      for suffix in ["", "_896"] {
        var recipe = try Recipe.preset(preset.name + suffix)
        #expect(try Recipe(recipe.json) == recipe)
        recipe.encoder.depth = 4
        recipe.encoder.embedDim = 96
        recipe.encoder.hiddenDim = 200
        recipe.encoder.heads = 3
        recipe.encoder.dropPathRate = 0
        recipe.taps = [1, 3]
        recipe.warmupEpochs = 3
        recipe.epochs = 10
        recipe.beta2 = 0.95
        let text = recipe.json.text(indent: 2)
        #expect(try Recipe(JSON.parse(text, source: "text")) == recipe)
      }
    }
  }

  @Test func keysChangeTheNamedRecipe() throws {
    let json = try JSON.parse(
      #"{"recipe": "dinov3_640", "epochs": 5, "encoder": {"embed_dim": 96, "num_heads": 4, "depth": 4}, "drop_path": 0}"#, source: "text")
    let recipe = try Recipe(json)
    #expect(recipe.epochs == 5 && recipe.encoderRate == 1e-4 && recipe.patch == 640)
    #expect(recipe.encoder.hiddenDim == 384 && recipe.encoder.qkvBias && recipe.encoder.storageTokens == 0)
    #expect(recipe.taps == [3] && recipe.encoder.dropPathRate == 0)
    let multi = try Recipe(JSON.parse(#"{"encoder": {"depth": 8}}"#, source: "text"))
    #expect(multi.taps == Primus.Configuration.evenTaps(depth: 8) && multi.encoder.dropPathRate == 0.2)
    let named = try Recipe(JSON.parse(#"{"encoder": "vit_large", "taps": [5, 23]}"#, source: "text"))
    #expect(named.encoder.depth == 24 && named.taps == [5, 23])
    #expect(try Recipe(JSON.object()) == Recipe.preset("meddinov3"))
  }

  @Test(arguments: [
    (#"{"lr": 1}"#, "\"lr\""), (#"{"encoder": {"width": 5}}"#, "\"width\""), (#"{"recipe": "sam"}"#, "recipe is \"sam\""),
    (#"{"betas": [0.9]}"#, "betas"), (#"{"betas": [0.9, 1]}"#, "betas"), (#"{"taps": [3, 3]}"#, "taps"), (#"{"taps": [12]}"#, "taps"),
    (#"{"epochs": 0}"#, "epochs"), (#"{"epochs": "many"}"#, "epochs"), (#"{"warmup_epochs": 1000}"#, "warmup_epochs"),
    (#"{"drop_path": 1}"#, "drop_path"), (#"{"decoder_lr": 0}"#, "decoder_lr"), (#"{"encoder_lr": NaN}"#, "encoder_lr"),
    (#"{"clip": -1}"#, "clip"), (#"{"weight_decay": 2}"#, "weight_decay"), (#"{"oversample": 1.5}"#, "oversample"),
    (#"{"backbone_loading": "some"}"#, "backbone_loading"), (#"{"encoder": 3}"#, "encoder"), (#"{"patch": 8}"#, "patch"), ("[]", "object"),
  ])
  func faultsNameTheKey(_ text: String, _ word: String) throws {
    let json = try JSON.parse(text, source: "text")
    let error = #expect(throws: MedDINOError.self) { try Recipe(json) }
    #expect(error?.kind == .invalid && error?.message.contains(word) == true, "\(error?.message ?? "")")
  }

  /// Every command of docs/benchmarks.md names a recipe and a size that exist.
  @Test func documentedRowsHaveRecipes() throws {
    let page = String(decoding: try InputFile.contents(projectRoot + "/docs/benchmarks.md"), as: UTF8.self)
    let rows = page.split(separator: "`").filter { $0.hasPrefix("row ") }.map { $0.split(separator: " ") }
    #expect(rows.count == 11)
    for words in rows {
      let recipe = try Recipe.preset("\(words[4])_\(words[3])")
      #expect(recipe.patch == Int(words[3]))
      #expect((recipe.backboneLoading == .none) == (words.count == 5), "\(words)")
    }
    for preset in Recipe.presets { #expect(page.contains("`\(preset.name)`")) }
  }

  @Test func ratesDecayLinearly() throws {
    var recipe = try Recipe.preset("meddinov3")
    #expect(recipe.rateFactor(epoch: 0) == 1 && abs(recipe.rateFactor(epoch: 999) - 0.001) < 1e-15)
    #expect(recipe.rateFactor(epoch: 250) == 0.75)
    (recipe.warmupEpochs, recipe.epochs) = (10, 110)
    #expect(abs(recipe.rateFactor(epoch: 0) * 3e-4 - 1e-6) < 1e-18)
    #expect(abs(recipe.rateFactor(epoch: 5) * 3e-4 - (1e-6 + (3e-4 - 1e-6) / 2)) < 1e-15)
    #expect(recipe.rateFactor(epoch: 10) == 1 && recipe.rateFactor(epoch: 60) == 0.5)
  }
}
