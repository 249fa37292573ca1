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
    let all = try message(#"{"optim": {"learning_rate": 1, "epochs": 2}, "oops": {"a": 1}, "train": {"batch": 3}}"#)
    for key in ["optim.learning_rate", "oops", "train.batch"] { #expect(all.contains("\"\(key)\""), "\(all)") }
  }

  /// The default configuration of the official code, which has sections for other machines and other methods.
  @Test func officialConfigurationsAreTaken() throws {
    let official = #"""
      {"MODEL": {"META_ARCHITECTURE": "SSLMetaArch", "DEVICE": "cuda", "WEIGHTS": "", "DTYPE": "float32"},
       "compute_precision": {"param_dtype": "bf16", "reduce_dtype": "fp32"},
       "train": {"dataset_path": "ImageNet:split=TRAIN", "fsdp_reshard_after_forward": true, "cell_augmentation": false, "compile": false},
       "student": {"patch_drop": 0.0}, "distillation": {"enabled": false, "full_cfg_path": "", "checkpoint_path": ""},
       "multidistillation": {"enabled": false}, "hrft": {"enabled": false, "checkpoint_path": ""},
       "evaluation": {"eval_period_iterations": 12500, "low_freq_every": 5, "config_files": {"high_freq": "a.yaml", "low_freq": "b.yaml"}},
       "checkpointing": {"period": 3750, "max_to_keep": 3, "keep_every": 99999999999999999},
       "ibot": {"force_masking_even_with_zero_weight": false}}
      """#
    let settings = try PretrainingSettings(preset: "natural", overlay(official))
    #expect(settings.run.keepEvery == 99_999_999_999_999_999)
    for key in [
      "MODEL.DEVICE", "compute_precision.param_dtype", "evaluation.config_files.high_freq", "train.compile", "train.dataset_path",
    ] {
      #expect(settings.unused.contains(key), "\(settings.unused)")
    }
    #expect(!settings.unused.contains("hrft.enabled") && !settings.unused.contains("ibot.force_masking_even_with_zero_weight"))
    #expect(settings.document["MODEL"] == nil && settings.document["student"]?["patch_drop"] == nil)
    #expect(try PretrainingSettings(settings.document).unused.allSatisfy { $0.hasPrefix("train.") })
    #expect(try PretrainingSettings(preset: "tiny").unused.isEmpty)
    for (text, key) in [
      (#"{"MODEL": {"META_ARCHITECTURE": "MultiDistillationMetaArch"}}"#, "MODEL.META_ARCHITECTURE"),
      (#"{"hrft": {"enabled": true}}"#, "hrft.enabled"), (#"{"distillation": {"enabled": true}}"#, "distillation.enabled"),
      (#"{"student": {"patch_drop": 0.5}}"#, "student.patch_drop"), (#"{"train": {"cell_augmentation": true}}"#, "train.cell_augmentation"),
      (#"{"MODEL": {"SIZE": 1}}"#, "MODEL"),
    ] {
      let said = try message(text)
      #expect(said.contains(key), "\(text): \(said)")
    }
  }

  @Test func valuesThatMeanAnotherRunAreRefused() throws {
    for (text, key) in [
      (#"{"train": {"use_teacher_head": false}}"#, "train.use_teacher_head"),
      (#"{"train": {"chunk_schedule": [1, 2]}}"#, "train.chunk_schedule"),
      (#"{"optim": {"multi_tensor_optim": "banana"}}"#, "optim.multi_tensor_optim"),
      (#"{"teacher": {"in_chans": "x"}}"#, "teacher.in_chans"),
      (#"{"dino": {"koleo_topk": "many"}}"#, "dino.koleo_topk"), (#"{"train": {"checkpointing_full": 1}}"#, "train.checkpointing_full"),
      (#"{"schedules": {"lr": {"peak": -1}}}"#, "schedules.lr.peak"),
      (#"{"schedules": {"momentum": {"start": 2}}}"#, "schedules.momentum.start"),
      (#"{"schedules": {"momentum": {"end": -2}}}"#, "schedules.momentum.end"),
      (#"{"schedules": {"teacher_temp": {"peak": 0}}}"#, "schedules.teacher_temp.peak"),
      (#"{"schedules": null, "optim": {"lr": -1}}"#, "optim.lr"),
      (#"{"schedules": null, "teacher": {"teacher_temp": 0}}"#, "teacher.teacher_temp"),
      (#"{"schedules": null, "teacher": {"momentum_teacher": 1.5}}"#, "teacher.momentum_teacher"),
      (#"{"watch": {"probe_labels": "1,2"}}"#, "watch.probe_labels"), (#"{"watch": {"probe_labels": {"a": 1}}}"#, "watch.probe_labels"),
      (#"{"watch": {"probe_labels": [1, 1]}}"#, "watch.probe_labels"),
    ] {
      let said = try message(text)
      #expect(said.contains(key), "\(text): \(said)")
    }
    #expect(try PretrainingSettings(preset: "tiny", overlay(#"{"watch": {"probe_labels": 2}}"#)).watch.probeLabels == [2])
    #expect(try PretrainingSettings(preset: "tiny", overlay(#"{"train": {"checkpointing_full": true}}"#)).run.recompute)
  }

  /// A run that is shorter than a phase of a schedule: the key and the epochs are named.
  @Test func phasesThatDoNotFitAreNamed() throws {
    for (preset, epochs, key) in [
      ("ct-base", 20, "schedules.lr.warmup_epochs is 30"), ("ct-highres", 5, "schedules.lr.warmup_epochs is 0 and cosine_epochs 10"),
    ] {
      let said = try message(preset: preset, #"{"optim": {"epochs": \#(epochs)}}"#)
      #expect(said.contains(key) && said.contains("\(epochs) epochs (optim.epochs)"), "\(said)")
    }
    #expect(
      try message(#"{"schedules": null}"#.replacing("null", with: #"null, "optim": {"epochs": 5}"#)).contains("optim.warmup_epochs is 10"))
    let weight = #"{"dino": {"reweight_dino_local_loss": true, "local_loss_weight_schedule": {"warmup_epochs": 50}}}"#
    #expect(try message(weight).contains("dino.local_loss_weight_schedule.warmup_epochs is 50"))
  }

  /// Estimates come from settings alone: valid ones must not overflow.
  @Test func costsOfAbsurdSettingsAreTheLargestNumbers() throws {
    let absurd = try PretrainingSettings(
      preset: "tiny",
      overlay(
        #"""
        {"student": {"patch_size": 1}, "train": {"batch_size_per_gpu": 65536},
         "crops": {"global_crops_size": 16384, "local_crops_size": 16384, "local_crops_number": 256}}
        """#))
    let cost = PretrainingCost(absurd, threads: 2)
    #expect(cost.total == Int.max && cost.flops.isFinite)
    let small = PretrainingCost(try PretrainingSettings(preset: "tiny"), threads: 2)
    #expect(small.total == small.parameters + small.gradients + small.moments + small.activations + small.batches + small.working)
    #expect(small.total < 1 << 30)
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
