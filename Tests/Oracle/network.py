"""MedDINOv3's segmentation network put together from PyPI parts, and its nnU-Net result folder.

The encoder is transformers' DINOv3 ViT, the decoder torch.nn layers. Random weights are drawn so that every part
matters: LayerScale between 0.1 and 1, no bias zero, no norm trivial.
"""
import json
import math
import os
import sys

sys.modules["torchvision"] = None  # transformers does without it; a mismatched build would break its import
import numpy
import torch
from torch import nn
from transformers.models.dinov3_vit import DINOv3ViTConfig, DINOv3ViTModel


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of every pixel."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        normed = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


class Decoder(nn.Module):
    """Transposed convolutions that double the grid up to the pixels, halving the channels."""

    def __init__(self, patch, channels, classes):
        super().__init__()
        stages = []
        for _ in range(int(math.log2(patch))):
            stages.append(nn.Sequential(nn.ConvTranspose2d(channels, channels // 2, 2, 2), ChannelNorm(channels // 2), nn.GELU()))
            channels //= 2
        self.decode = nn.Sequential(*stages, nn.Conv2d(channels, classes, 1))

    def forward(self, x):
        return self.decode(x)


class Network(nn.Module):
    """[B, 1, H, W] to logits [B, classes, H, W]; the final norm is applied to every tapped block."""

    def __init__(self, width=768, depth=12, heads=12, classes=16, taps=None):
        super().__init__()
        self.taps = taps or [depth * (i + 1) // 4 - 1 for i in range(4)]
        config = DINOv3ViTConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, num_attention_heads=heads, patch_size=16,
            num_register_tokens=4, query_bias=False, key_bias=False, value_bias=False, layer_norm_eps=1e-6)
        config._attn_implementation = "sdpa"
        self.encoder = DINOv3ViTModel(config)
        self.decoder = Decoder(16, width * len(self.taps), classes)
        self.width, self.depth, self.heads, self.classes = width, depth, heads, classes

    def forward(self, images):
        images = images.repeat(1, 3, 1, 1)
        rows, columns = images.shape[2] // 16, images.shape[3] // 16
        x = self.encoder.embeddings(images)
        rope = self.encoder.rope_embeddings(images)
        maps = []
        for index, block in enumerate(self.encoder.model.layer):
            x = block(x, position_embeddings=rope)
            if index in self.taps:
                tokens = self.encoder.norm(x)[:, 5:]
                maps.append(tokens.transpose(1, 2).reshape(-1, self.width, rows, columns))
        return self.decoder(torch.cat(maps, 1))


def make(seed, **sizes):
    """A network with seeded weights."""
    network = Network(**sizes).eval()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            if leaf == "lambda1":
                tensor.uniform_(0.1, 1, generator=random)
            elif leaf in ("cls_token", "register_tokens"):
                tensor.normal_(0, 0.5, generator=random)
            elif leaf == "mask_token":
                tensor.zero_()
            elif leaf == "weight" and tensor.dim() == 1:
                tensor.normal_(1, 0.2, generator=random)
            elif leaf == "bias":
                tensor.normal_(0, 0.1, generator=random)
            elif "decode" in name:
                fan = tensor.shape[0] if tensor.dim() == 4 and tensor.shape[2] == 2 else tensor.shape[1]
                tensor.normal_(0, 1.4 / math.sqrt(fan), generator=random)
            elif "patch_embeddings" in name:
                tensor.normal_(0, 1 / math.sqrt(tensor[0].numel()), generator=random)
            else:
                tensor.normal_(0, 1.2 / math.sqrt(tensor.shape[1]), generator=random)
    return network


def official_names(network):
    """The state dict of the official network: `dino_encoder.*` and `up_projection.decode.*`."""
    state = network.encoder.state_dict()
    out = {"up_projection." + k: v for k, v in network.decoder.state_dict().items()}
    root = "dino_encoder."
    out[root + "cls_token"] = state["embeddings.cls_token"]
    out[root + "storage_tokens"] = state["embeddings.register_tokens"]
    out[root + "mask_token"] = state["embeddings.mask_token"][0]
    for leaf in ("weight", "bias"):
        out[root + "patch_embed.proj." + leaf] = state["embeddings.patch_embeddings." + leaf]
    out[root + "rope_embed.periods"] = 1 / network.encoder.rope_embeddings.inv_freq
    moved = {"attention.o_proj": "attn.proj", "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2", "norm1": "norm1", "norm2": "norm2"}
    for index in range(network.depth):
        ours, theirs = f"{root}blocks.{index}.", f"model.layer.{index}."
        out[ours + "attn.qkv.weight"] = torch.cat([state[f"{theirs}attention.{part}_proj.weight"] for part in "qkv"])
        for old, new in moved.items():
            for leaf in ("weight", "bias"):
                out[f"{ours}{new}.{leaf}"] = state[f"{theirs}{old}.{leaf}"]
        out[ours + "ls1.gamma"] = state[theirs + "layer_scale1.lambda1"]
        out[ours + "ls2.gamma"] = state[theirs + "layer_scale2.lambda1"]
    for leaf in ("weight", "bias"):
        out[root + "norm." + leaf] = state["norm." + leaf]
    return out


def plans(configuration, patch, spacing, statistics, transpose=(0, 1, 2), median_spacing=(5.0, 0.8, 0.8)):
    """A plans file with one 2D configuration that inherits from "2d", as MedDINOv3 adds its 2d_896 by hand."""
    resampling = {}
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        resampling[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{kind}_kwargs"] = {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
    base = {
        "data_identifier": "nnUNetPlans_2d", "preprocessor_name": "DefaultPreprocessor", "batch_size": 12, "patch_size": [512, 512],
        "median_image_size_in_voxels": [512.0, 512.0], "spacing": [0.8, 0.8], "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False], **resampling, "architecture": {}, "batch_dice": True}
    derived = {
        "inherits_from": "2d", "data_identifier": "nnUNetPlans_" + configuration, "preprocessor_name": "DefaultPreprocessor",
        "patch_size": list(patch), "spacing": list(spacing)}
    backward = [list(transpose).index(axis) for axis in range(3)]
    return {
        "dataset_name": "Dataset998_Oracle", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(median_spacing), "original_median_shape_after_transp": [100, 512, 512],
        "image_reader_writer": "SimpleITKIO", "transpose_forward": list(transpose), "transpose_backward": backward,
        "configurations": {"2d": base, configuration: derived}, "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager", "foreground_intensity_properties_per_channel": {"0": statistics}}


def dataset(classes):
    labels = {"background": 0, **{f"organ{i}": i for i in range(1, classes)}}
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 7, "file_ending": ".nii.gz"}


def save_folder(network, folder, plan, configuration):
    """Writes the nnU-Net result folder of fold 0; returns its path."""
    path = os.path.join(folder, f"meddinov3_base_primus_multiscale_Trainer__nnUNetPlans__{configuration}")
    os.makedirs(os.path.join(path, "fold_0"), exist_ok=True)
    description = dataset(network.classes)
    for name, value in (("plans", plan), ("dataset", description)):
        with open(os.path.join(path, name + ".json"), "w") as file:
            json.dump(value, file, indent=4)
    torch.save(
        {
            "network_weights": official_names(network), "optimizer_state": None, "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [numpy.float64(0.5)], "train_losses": [0.1]}, "_best_ema": numpy.float64(0.5), "current_epoch": 1,
            "init_args": {
                "plans": plan, "configuration": configuration, "fold": 0, "dataset_json": description, "unpack_dataset": True,
                "device": torch.device("cpu")},
            "trainer_name": "meddinov3_base_primus_multiscale_Trainer", "inference_allowed_mirroring_axes": (0, 1),
        },
        os.path.join(path, "fold_0", "checkpoint_final.pth"))
    return path
