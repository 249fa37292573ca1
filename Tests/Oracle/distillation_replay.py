"""PyTorch's side of the pretraining benchmark (distillation.py) on recorded iterations of DINOv3's own code: what is timed there is the
same step.

usage: distillation_replay.py     (MEDDINO_GOLDEN: folder with model/ssl_stage1.safetensors; without it ../shared/golden of the clone)
"""
import json
import os
import pathlib
import sys

import distillation
import torch
from safetensors.torch import load_file
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))
from program import Checks

FILE = "ssl_stage1.safetensors"
LOSSES = "dino_local_crops_loss", "dino_global_crops_loss", "koleo_loss", "ibot_loss"
MOVED = {
    "cls_token": "embeddings.cls_token", "storage_tokens": "embeddings.register_tokens", "mask_token": "embeddings.mask_token",
    "patch_embed.proj": "embeddings.patch_embeddings", "blocks.": "model.layer.", "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj", "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}


class RecordedNetwork(distillation.Network):
    """The recorded run normalises the student's local class tokens by a norm of their own."""

    def __init__(self, config):
        model, student = config["model"], config["config"]["student"]
        width = model["embed_dim"]
        heads = [
            [section["head_hidden_dim"], section["head_bottleneck_dim"], section["head_n_prototypes"]]
            for section in (config["config"]["dino"], config["config"]["ibot"])]
        super().__init__(
            width, model["depth"], model["num_heads"], student["patch_size"], student["n_storage_tokens"], *heads, rescale=None)
        self.backbone.local_cls_norm = nn.LayerNorm(width, eps=1e-6)

    def tokens(self, images, masks=None):
        if masks is not None or not self.training:
            return super().tokens(images, masks)
        raw = []
        hook = self.backbone.norm.register_forward_hook(lambda module, inputs, output: raw.append(inputs[0]))
        patches = super().tokens(images)[1]
        hook.remove()
        return self.backbone.local_cls_norm(raw[0][:, 0]), patches


def renamed(golden, prefix):
    """Parameters under the names of this network."""
    state = {}
    for name, tensor in golden.items():
        if not name.startswith(prefix) or "periods" in name:
            continue
        name = name[len(prefix):]
        if name.startswith("backbone."):
            for old, new in MOVED.items():
                name = name.replace(old, new)
        if "attn.qkv" in name:
            for part, weight in zip("qkv", tensor.chunk(3)):
                state[name.replace("attn.qkv", f"attention.{part}_proj")] = weight.clone()
        else:
            state[name] = tensor[None].clone() if name.endswith("mask_token") else tensor.clone()
    return state


def replay(golden, config):
    """A trainer after all recorded iterations, and the largest relative error of the losses."""
    optim = config["config"]["optim"]
    student = RecordedNetwork(config)
    student.load_state_dict(renamed(golden, "student0."))
    trainer = distillation.Distillation(student, 1.0, weight_decay=1.0, clip=optim["clip_grad"], beta2=optim["adamw_beta2"])
    trainer.teacher.load_state_dict(renamed(golden, "teacher0."))
    factors = [(group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups]
    schedule = {name: golden["sched." + name].tolist() for name in ("lr", "wd", "momentum", "teacher_temp")}
    worst = 0.0
    for index in range(len(schedule["lr"])):
        for group, (rate, decay) in zip(trainer.optimizer.param_groups, factors):
            group["lr"], group["weight_decay"] = rate * schedule["lr"][index], decay * schedule["wd"][index]
        trainer.momentum, trainer.temperature = schedule["momentum"][index], schedule["teacher_temp"][index]
        crops, small, masks = (golden[f"step{index}.collated_{part}"] for part in ("global_crops", "local_crops", "masks"))
        batch = crops, small, masks.bool()
        with torch.no_grad():
            got = [float(loss) for loss in trainer.losses(*batch)]
        want = [float(golden["loss." + name][index]) for name in LOSSES]
        got, want = got + [trainer.step(*batch)], want + [float(golden["loss.total"][index])]
        worst = max([worst] + [abs(a - b) / abs(b) for a, b in zip(got, want)])
    return trainer, worst


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    chosen = os.environ.get("MEDDINO_GOLDEN")
    folder = pathlib.Path(chosen or root.parent / "shared/golden") / "model"
    if not (folder / FILE).exists():
        print(f"distillation_replay.py: skipped, {FILE} is not in {folder}")
        return
    files = json.loads((folder / "manifest.json").read_text())["files"]
    config = next(entry["config"] for entry in files if entry["file"] == FILE)
    golden, checks = load_file(folder / FILE), Checks()
    trainer, worst = replay(golden, config)
    checks.line(worst <= 1e-4, "losses of four iterations", f"largest relative error {worst:.1e} (limit 1e-4)")
    for name, network in (("student", trainer.student), ("teacher", trainer.teacher)):
        state = network.state_dict()
        spread = max(
            float((state[key] - tensor).square().mean().sqrt()) for key, tensor in renamed(golden, name + "_end.").items())
        checks.line(spread <= 5e-6, f"{name} afterwards", f"largest root mean square difference of a tensor {spread:.1e} (limit 5e-6)")
    print(f"distillation_replay.py: {checks.passed} passed, {checks.failed} failed")
    sys.exit(checks.failed > 0)


main()
