/// All keys of the settings with the official defaults; sections that are null by default stand here with their keys.
///
/// `student.embed_dim`, `depth`, `num_heads` (instead of an `arch`), `train.precision`, `train.previous_checkpoint` and the sections `data`
/// and `watch` are this library's own. Source: model specification 10.3.
enum SettingsTemplate {
  static let text = """
    {
      "student": {
        "arch": "vit_large", "embed_dim": null, "depth": null, "num_heads": null, "patch_size": 16, "drop_path_rate": 0.3,
        "layerscale": 1e-5, "pretrained_weights": "", "ffn_layer": "mlp", "ffn_ratio": 4.0, "resume_from_teacher_chkpt": "",
        "qkv_bias": true, "proj_bias": true, "ffn_bias": true, "norm_layer": "layernorm", "n_storage_tokens": 0, "mask_k_bias": false,
        "untie_cls_and_patch_norms": false, "untie_global_and_local_cls_norm": false, "in_chans": 3, "pos_embed_type": "rope",
        "pos_embed_rope_base": 100.0, "pos_embed_rope_min_period": null, "pos_embed_rope_max_period": null,
        "pos_embed_rope_normalize_coords": "separate", "pos_embed_rope_shift_coords": null, "pos_embed_rope_jitter_coords": null,
        "pos_embed_rope_rescale_coords": null, "pos_embed_rope_dtype": "bf16", "fp8_enabled": false, "fp8_filter": "blocks"
      },
      "teacher": {
        "momentum_teacher": 0.992, "final_momentum_teacher": 1.0, "warmup_teacher_temp": 0.04, "teacher_temp": 0.07,
        "warmup_teacher_temp_epochs": 30, "in_chans": 3
      },
      "dino": {
        "loss_weight": 1.0, "global_ignore_diagonal": true, "head_n_prototypes": 65536, "head_bottleneck_dim": 256,
        "head_norm_last_layer": false, "head_nlayers": 3, "head_hidden_dim": 2048, "koleo_loss_weight": 0.1,
        "koleo_loss_distributed": false, "koleo_topk": 1, "koleo_distributed_replicas": 0, "koleo_distributed_loss_group_size": null,
        "koleo_distributed_loss_group_data": true, "force_weight_norm": false, "reweight_dino_local_loss": false,
        "local_loss_weight_schedule": {"start": 0.5, "peak": 0.5, "end": 0.5, "warmup_epochs": 0, "cosine_epochs": null}
      },
      "ibot": {
        "loss_weight": 1.0, "mask_sample_probability": 0.5, "mask_ratio_min_max": [0.1, 0.5], "mask_random_circular_shift": false,
        "force_masking_even_with_zero_weight": false, "separate_head": true, "head_n_prototypes": 65536, "head_bottleneck_dim": 256,
        "head_norm_last_layer": false, "head_nlayers": 3, "head_hidden_dim": 2048
      },
      "gram": {
        "use_loss": false, "compute_stats": false, "loss_weight": 1.0, "ema_teacher": false, "ckpt": null, "it_load_ema_teacher": -1,
        "rep_update": true, "update_frequency": 50000, "it_first_update": 0, "max_updates": null, "normalized": true,
        "img_level": false, "remove_neg": false, "remove_only_teacher_neg": false, "tokens_used": "all",
        "global_teacher_resize_method": "bicubic", "global_teacher_resize_antialias": false,
        "loss_weight_schedule": {"start": 0, "peak": 0, "end": 0, "warmup_epochs": 0, "cosine_epochs": null}
      },
      "optim": {
        "epochs": 100, "optimizer": "adamw", "weight_decay": 0.04, "weight_decay_end": 0.4, "lr": 0.001, "warmup_epochs": 10,
        "min_lr": 1e-6, "schedule_trunc_extra": 0.0, "clip_grad": 3.0, "freeze_last_layer_epochs": 1,
        "scaling_rule": "sqrt_wrt_1024", "patch_embed_lr_mult": 0.2, "dino_head_wd_multiplier": 1.0, "layerwise_decay": 0.9,
        "multi_tensor_optim": true, "dump_fsdp_weights_path": "", "adamw_beta1": 0.9, "adamw_beta2": 0.999
      },
      "crops": {
        "global_crops_scale": [0.32, 1.0], "local_crops_number": 8, "local_crops_scale": [0.05, 0.32], "global_crops_size": 224,
        "local_crops_size": 96, "global_local_crop_pairs_ratios": 1.0, "gram_teacher_crops_size": null,
        "localcrops_subset_of_globalcrops": false, "share_color_jitter": false, "horizontal_flips": true,
        "gram_teacher_no_distortions": false, "rgb_mean": [0.485, 0.456, 0.406], "rgb_std": [0.229, 0.224, 0.225],
        "teacher_to_student_resolution_scale": 1.0
      },
      "schedules": {
        "lr": {"start": 0, "peak": 0, "end": 0, "warmup_epochs": 0, "cosine_epochs": null, "freeze_last_layer_epochs": 0},
        "weight_decay": {"start": 0, "peak": 0, "end": 0, "warmup_epochs": 0, "cosine_epochs": null},
        "teacher_temp": {"start": 0, "peak": 0, "end": 0, "warmup_epochs": 0, "cosine_epochs": null},
        "momentum": {"start": 0, "peak": 0, "end": 0, "warmup_epochs": 0, "cosine_epochs": null}
      },
      "train": {
        "batch_size_per_gpu": 64, "dataset_path": "", "data_config": null, "output_dir": ".", "saveckp_freq": 20, "seed": 0,
        "num_workers": 10, "OFFICIAL_EPOCH_LENGTH": 1250, "monitor_gradient_norm": false, "chunk_schedule": [],
        "use_teacher_head": true, "learn_from_teacher_tokens": false, "centering": "sinkhorn_knopp", "checkpointing": false,
        "checkpointing_full": false, "compile": true, "cudagraphs": false, "sharded_eval_checkpoint": false, "cache_dataset": false,
        "precision": "float32", "previous_checkpoint": ""
      },
      "checkpointing": {"period": 3750, "max_to_keep": 3, "keep_every": 0},
      "evaluation": {"eval_period_iterations": 12500},
      "data": {"augmentation": "natural", "normalization": "rgb"},
      "watch": {"every": 0, "slices": 16, "maps": 4, "size": null, "probe_data": "", "probe_labels": [], "probe_slices": 48}
    }
    """
  /// Sections that are null unless they are given.
  static let absent = ["schedules", "gram.loss_weight_schedule"]

  /// Changes of the official defaults, by preset. Source: model specification 11 (priors of the same authors for 2D CT); `ct-gram` has the
  /// second stage of 10.3 on top of them, as a run of its own instead of the continuation of the first.
  static let presets: [(name: String, text: String)] = [
    ("ct-base", ctBase), ("ct-gram", ctGram), ("ct-highres", ctHighRes), ("natural", "{}"), ("tiny", tiny),
  ]
  /// Which preset another one builds on.
  static let parents = ["ct-gram": "ct-base", "ct-highres": "ct-base"]

  private static let ctBase = """
    {
      "student": {
        "arch": "vit_base", "drop_path_rate": 0.2, "qkv_bias": false, "mask_k_bias": true, "n_storage_tokens": 4,
        "pos_embed_rope_rescale_coords": 2
      },
      "optim": {"epochs": 1000},
      "train": {"OFFICIAL_EPOCH_LENGTH": 1000},
      "crops": {"global_crops_size": 256, "local_crops_size": 112},
      "schedules": {
        "lr": {"start": 0, "peak": 2e-4, "end": 2e-4, "warmup_epochs": 30, "freeze_last_layer_epochs": 3},
        "weight_decay": {"start": 0.04, "peak": 0.04, "end": 0.04, "warmup_epochs": 0},
        "teacher_temp": {"start": 0.04, "peak": 0.07, "end": 0.07, "warmup_epochs": 30},
        "momentum": {"start": 0.994, "peak": 0.994, "end": 0.994, "warmup_epochs": 0}
      },
      "data": {"augmentation": "ct", "normalization": "hounsfield"}
    }
    """
  private static let ctGram = """
    {
      "gram": {
        "use_loss": true, "img_level": true, "update_frequency": 10000, "it_first_update": 10000, "max_updates": 3,
        "loss_weight_schedule": {"start": 0, "peak": 0, "end": 2, "warmup_epochs": 0, "cosine_epochs": 1}
      },
      "dino": {
        "reweight_dino_local_loss": true,
        "local_loss_weight_schedule": {"start": 1, "peak": 1, "end": 0.5, "warmup_epochs": 0, "cosine_epochs": 1}
      },
      "crops": {"gram_teacher_crops_size": 512, "gram_teacher_no_distortions": true, "horizontal_flips": false},
      "optim": {"epochs": 200},
      "schedules": {
        "lr": {"start": 0, "peak": 1e-4, "end": 1e-4, "warmup_epochs": 1, "freeze_last_layer_epochs": 0},
        "teacher_temp": {"start": 0.07, "peak": 0.07, "end": 0.07, "warmup_epochs": 0},
        "momentum": {"start": 0.999, "peak": 0.999, "end": 0.999, "warmup_epochs": 0}
      }
    }
    """
  private static let ctHighRes = """
    {
      "gram": {
        "use_loss": true, "img_level": true, "rep_update": false,
        "loss_weight_schedule": {"start": 1.5, "peak": 1.5, "end": 1.5, "warmup_epochs": 0, "cosine_epochs": 0}
      },
      "dino": {
        "koleo_loss_distributed": true, "reweight_dino_local_loss": true,
        "local_loss_weight_schedule": {"start": 0.5, "peak": 0.5, "end": 0.5, "warmup_epochs": 0, "cosine_epochs": 0}
      },
      "crops": {
        "global_crops_size": [384, 512, 512, 512, 512], "local_crops_size": [112, 112, 144, 168, 224],
        "gram_teacher_crops_size": [512, 768, 768, 768, 768], "global_local_crop_pairs_ratios": [0.3, 0.3, 0.3, 0.05, 0.05],
        "gram_teacher_no_distortions": true, "horizontal_flips": false
      },
      "optim": {"epochs": 30},
      "schedules": {
        "lr": {"start": 0, "peak": 0, "end": 5e-5, "warmup_epochs": 0, "cosine_epochs": 10, "freeze_last_layer_epochs": 0},
        "teacher_temp": {"start": 0.07, "peak": 0.07, "end": 0.07, "warmup_epochs": 0},
        "momentum": {"start": 0.999, "peak": 0.999, "end": 0.999, "warmup_epochs": 0}
      }
    }
    """
  /// Minutes on a laptop: for trying the whole way, not for features.
  private static let tiny = """
    {
      "student": {
        "arch": "vit_small", "embed_dim": 64, "depth": 3, "num_heads": 4, "patch_size": 8, "drop_path_rate": 0.1, "qkv_bias": false,
        "n_storage_tokens": 2
      },
      "dino": {"head_n_prototypes": 256, "head_bottleneck_dim": 32, "head_hidden_dim": 64},
      "ibot": {"head_n_prototypes": 256, "head_bottleneck_dim": 32, "head_hidden_dim": 64},
      "optim": {"epochs": 10, "scaling_rule": "none"},
      "train": {"OFFICIAL_EPOCH_LENGTH": 100, "batch_size_per_gpu": 8, "num_workers": 2},
      "crops": {"global_crops_size": 64, "local_crops_size": 32, "local_crops_number": 4},
      "schedules": {
        "lr": {"start": 0, "peak": 1e-3, "end": 1e-5, "warmup_epochs": 1, "freeze_last_layer_epochs": 1},
        "weight_decay": {"start": 0.04, "peak": 0.04, "end": 0.04, "warmup_epochs": 0},
        "teacher_temp": {"start": 0.04, "peak": 0.07, "end": 0.07, "warmup_epochs": 2},
        "momentum": {"start": 0.99, "peak": 0.99, "end": 0.99, "warmup_epochs": 0}
      },
      "checkpointing": {"period": 100},
      "evaluation": {"eval_period_iterations": 500},
      "data": {"augmentation": "ct", "normalization": "hounsfield"}
    }
    """
}
