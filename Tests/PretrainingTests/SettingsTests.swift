import Platform
import Pretraining
import TestSupport
import Testing
import WeightFiles

@Suite struct SettingsTests {
  private func overlay(_ text: String) throws -> JSON { try JSON.parse(text, source: "test") }
  private func message(preset: String? = "tiny", _ text: String) throws -> String {
    let json = try overlay(text)
    let error = #expect(throws: MedDINOError.self) { try PretrainingSettings(preset: preset, json) }
    #expect(error?.kind == .invalid)
    return error?.message ?? ""
  }

  @Test(arguments: PretrainingSettings.presetNames) func presetsAreWhole(name: String) throws {
    let settings = try PretrainingSettings(preset: name)
    #expect(settings.document["student"]?["arch"]?.stringValue != nil)
    // The printed document says everything: read back, it gives the same run.
    let again = try PretrainingSettings(try overlay(settings.document.text()))
    #expect(again.document == settings.document)
    #expect(again.networks == settings.networks && again.losses == settings.losses && again.crops == settings.crops)
    #expect(again.run == settings.run && again.schedules == settings.schedules && again.optimizer == settings.optimizer)
  }

  /// Values of the priors. Source: model specification 11.
  @Test func ctBaseHasItsPriors() throws {
    let settings = try PretrainingSettings(preset: "ct-base")
    #expect(settings.networks.encoder.embedDim == 768 && settings.networks.encoder.storageTokens == 4)
    #expect(settings.networks.encoder.ropeRescale == 2 && settings.networks.encoder.normEpsilon == 1e-6)
    #expect(settings.networks.dinoHead.prototypes == 65536 && settings.networks.ibotHead.bottleneck == 256)
    #expect(settings.crops.resolutions == [.init(global: 256, local: 112)])
    #expect(settings.pixels.augmentation == .ct && settings.pixels.normalization == .hounsfield)
    #expect(settings.losses.gram == nil && settings.optimizer.maximumNorm == 3)
    // sqrt rule with 64 images: 2e-4 · 4 · √(64 / 1024).
    #expect(abs(settings.schedules.learningRate.value(at: 500_000) - 2e-4) < 1e-12)
    #expect(settings.schedules.lastLayerLearningRate.value(at: 2999) == 0)
  }

  @Test func laterStagesAnchorTheirPatches() throws {
    let gram = try PretrainingSettings(preset: "ct-gram")
    #expect(gram.losses.gram?.form.imageLevel == true && gram.losses.gram?.isRefreshed == true)
    #expect(gram.crops.resolutions == [.init(global: 256, local: 112, gram: 512)] && gram.crops.gramWithoutDistortions)
    let high = try PretrainingSettings(preset: "ct-highres")
    #expect(high.crops.resolutions.map(\.global) == [384, 512, 512, 512, 512])
    #expect(high.losses.gram?.weightSchedule?.value(at: 100) == 1.5 && high.losses.gram?.isRefreshed == false)
    #expect(high.losses.localWeight?.value(at: 0) == 0.5)
  }

  @Test func unknownKeysAreNamed() throws {
    #expect(try message(#"{"optim": {"learning_rate": 1}}"#).contains("optim.learning_rate"))
    #expect(try message(#"{"optimizer": {}}"#).contains("optimizer"))
    #expect(try message(#"{"schedules": {"lr": {"begin": 1}}}"#).contains("schedules.lr.begin"))
  }

  @Test func wrongValuesAreNamed() throws {
    for (text, key) in [
      (#"{"optim": {"epochs": "ten"}}"#, "optim.epochs"), (#"{"optim": {"epochs": 0}}"#, "optim.epochs"),
      (#"{"train": {"batch_size_per_gpu": -1}}"#, "train.batch_size_per_gpu"), (#"{"train": 3}"#, "train"),
      (#"{"train": {"precision": "fp8"}}"#, "train.precision"), (#"{"student": {"arch": "resnet"}}"#, "resnet"),
      (#"{"student": {"drop_path_rate": 1.5}}"#, "student.drop_path_rate"), (#"{"student": {"num_heads": 7}}"#, "num_heads"),
      (#"{"crops": {"global_crops_scale": [0.5]}}"#, "crops.global_crops_scale"),
      (#"{"crops": {"global_crops_size": 4}}"#, "global_crops_size"),
      (#"{"crops": {"global_crops_size": [64, 96]}}"#, "global_crops_size"), (#"{"ibot": {"separate_head": false}}"#, "ibot.separate_head"),
      (#"{"ibot": {"mask_ratio_min_max": [0.5, 0.1]}}"#, "ibot.mask_ratio_min_max"),
      (#"{"train": {"centering": "centering"}}"#, "train.centering"),
      (#"{"gram": {"use_loss": true, "remove_neg": true, "remove_only_teacher_neg": true}}"#, "gram.remove_neg"),
      (#"{"gram": {"use_loss": true, "img_level": true, "tokens_used": "masked"}}"#, "gram.tokens_used"),
      (#"{"data": {"augmentation": "mr"}}"#, "data.augmentation"), (#"{"dino": {"head_n_prototypes": 0}}"#, "dino.head_n_prototypes"),
      (#"{"schedules": {"lr": {"warmup_epochs": 11}}}"#, "warm-up"),
    ] {
      let said = try message(text)
      #expect(said.contains(key), "\(text): \(said)")
    }
    #expect(try message(preset: "huge", "{}").contains("huge"))
    #expect(try message("[]").contains("object"))
  }

  @Test func settingsOverridePresets() throws {
    let settings = try PretrainingSettings(preset: "tiny", overlay(#"{"optim": {"clip_grad": 0}, "train": {"seed": 5}}"#))
    #expect(settings.optimizer.maximumNorm == nil && settings.run.seed == 5 && settings.run.batchSize == 8)
  }
}
