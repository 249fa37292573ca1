"""Opens what `meddino pretrain` exports in PyTorch: the .pth is data alone, its tensors are those of our own file, and the encoder of
`transformers` gives the tokens that we give.

usage: pretraining.py STAGE
"""
import json
import os
import pathlib
import sys
import tempfile

import network  # noqa: F401  first: it keeps a mismatched torchvision out
import numpy
import torch
from safetensors.numpy import load_file
from transformers.models.dinov3_vit import DINOv3ViTConfig, DINOv3ViTModel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))
from program import Checks, meddino

SETTINGS = {
    "student": {"embed_dim": 32, "depth": 3, "num_heads": 2, "patch_size": 16, "n_storage_tokens": 4, "layerscale": 0.5},
    "dino": {"head_n_prototypes": 48, "head_bottleneck_dim": 16, "head_hidden_dim": 24},
    "ibot": {"head_n_prototypes": 40, "head_bottleneck_dim": 16, "head_hidden_dim": 24},
    "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 1}},
    "crops": {"global_crops_size": 64, "local_crops_size": 32, "local_crops_number": 2},
    "train": {"batch_size_per_gpu": 2, "OFFICIAL_EPOCH_LENGTH": 3}, "optim": {"epochs": 2}}


def encoder(backbone, depth, width, heads):
    """transformers' DINOv3 with the weights of official names."""
    model = DINOv3ViTModel(DINOv3ViTConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, num_attention_heads=heads, patch_size=16,
        num_register_tokens=4, query_bias=False, key_bias=False, value_bias=False, layer_norm_eps=1e-6)).eval()
    state = {
        "embeddings.cls_token": backbone["cls_token"], "embeddings.register_tokens": backbone["storage_tokens"],
        "embeddings.mask_token": backbone["mask_token"][None]}
    for leaf in ("weight", "bias"):
        state["embeddings.patch_embeddings." + leaf] = backbone["patch_embed.proj." + leaf]
        state["norm." + leaf] = backbone["norm." + leaf]
    moved = {"attention.o_proj": "attn.proj", "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2", "norm1": "norm1", "norm2": "norm2"}
    for index in range(depth):
        ours, theirs = f"blocks.{index}.", f"model.layer.{index}."
        for part, weight in zip("qkv", backbone[ours + "attn.qkv.weight"].chunk(3)):
            state[f"{theirs}attention.{part}_proj.weight"] = weight
        for new, old in moved.items():
            for leaf in ("weight", "bias"):
                state[f"{theirs}{new}.{leaf}"] = backbone[f"{ours}{old}.{leaf}"]
        for number in "12":
            state[f"{theirs}layer_scale{number}.lambda1"] = backbone[f"{ours}ls{number}.gamma"]
    missing, unexpected = model.load_state_dict(state, strict=False)
    return model, [name for name in missing if "inv_freq" not in name] + unexpected


def tokens(model, images):
    """The final norm of every patch token, [images, patches, width]."""
    with torch.inference_mode():
        x, rope = model.embeddings(images), model.rope_embeddings(images)
        for block in model.model.layer:
            x = block(x, position_embeddings=rope)
        return model.norm(x)[:, 5:]


def main():
    stage, checks = sys.argv[1], Checks()
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "ct"))
        volume = os.path.join(folder, "ct", "v.nii.gz")
        meddino(stage, "phantom", volume, "--single", "--size", "96,96,6", "--seed", 1, "--quiet")
        config = os.path.join(folder, "config.json")
        with open(config, "w") as file:
            json.dump(SETTINGS, file)
        run = os.path.join(folder, "run")
        meddino(stage, "pretrain", os.path.join(folder, "ct"), "--preset", "tiny", "--config", config, "-o", run, "--quiet")
        export = os.path.join(run, "eval", "training_6")
        ours = load_file(os.path.join(export, "teacher_checkpoint.safetensors"))
        loaded = torch.load(os.path.join(export, "teacher_checkpoint.pth"), map_location="cpu", weights_only=True)
        checks.line(list(loaded) == ["teacher"], "pretrained .pth", "torch.load(weights_only=True) gives " + ", ".join(loaded))
        teacher = loaded["teacher"]
        checks.line(
            {"teacher." + name for name in teacher} == set(ours), "its names", f"{len(teacher)} tensors, as in our own file")
        wrong = [name for name, tensor in teacher.items() if not numpy.array_equal(tensor.numpy(), ours["teacher." + name])]
        checks.line(not wrong, "its values", "equal bits" if not wrong else "differ: " + ", ".join(wrong[:5]))
        backbone = {name[len("backbone."):]: tensor for name, tensor in teacher.items() if name.startswith("backbone.")}
        student = SETTINGS["student"]
        model, problems = encoder(backbone, student["depth"], student["embed_dim"], student["num_heads"])
        checks.line(not problems, "transformers takes it", "every name has its place" if not problems else ", ".join(problems[:5]))
        compare_tokens(checks, stage, model, os.path.join(export, "teacher_checkpoint.pth"), folder)
    print(f"pretraining.py: {checks.passed} passed, {checks.failed} failed")
    sys.exit(checks.failed > 0)


def compare_tokens(checks, stage, model, checkpoint, folder):
    """Our features of a plane that needs no resampling, in Hounsfield units, beside those of transformers."""
    import nibabel
    values = numpy.random.default_rng(3).normal(0, 200, (96, 96, 1)).astype(numpy.float32)
    path, out = os.path.join(folder, "plane.nii.gz"), os.path.join(folder, "tokens.safetensors")
    nibabel.save(nibabel.Nifti1Image(values, numpy.diag([-1, -1, 1, 1])), path)
    meddino(stage, "features", checkpoint, path, "-o", out, "--size", "96,96", "--rope", "fp32", "--quiet")
    got = load_file(out)["tokens"].reshape(1, 36, -1)
    plane = (numpy.clip(values[:, :, 0].T, -1000, 1000) - 65.1084213256836) / 178.01663208007812
    images = numpy.repeat(plane[None, None], 3, 1).astype(numpy.float32)
    want = tokens(model, torch.from_numpy(images)).numpy()
    error = numpy.abs(got - want).max() / numpy.abs(want).max()
    checks.line(error <= 1e-4, "tokens of transformers", f"max |a - b| / max |b| = {error:.2e} (limit 1e-4)")


main()
