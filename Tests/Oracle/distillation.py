"""The first stage of DINOv3's pretraining in PyTorch: `transformers`' encoder, heads, losses and the update written here.

Sources: Oquab et al., arXiv:2304.07193 (DINO and iBOT together, KoLeo, Sinkhorn-Knopp); Simeoni et al., arXiv:2508.10104; shapes and
constants are those of `meddino pretrain --preset ct-base`.
"""
import copy
import math
import sys

sys.modules["torchvision"] = None  # transformers does without it; a mismatched build would break its import
import torch
from torch import nn
from torch.nn import functional
from transformers.models.dinov3_vit import DINOv3ViTConfig, DINOv3ViTModel

GLOBALS = 2
STUDENT_TEMPERATURE = 0.1


class Head(nn.Module):
    """Three linear layers to a bottleneck of unit length, and one without bias to the prototypes (DINOv3 does not weight-norm it)."""

    def __init__(self, width, hidden, bottleneck, prototypes):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.last_layer = nn.Linear(bottleneck, prototypes, bias=False)
        for name, tensor in self.named_parameters():
            nn.init.zeros_(tensor) if name.endswith("bias") else nn.init.trunc_normal_(tensor, std=0.02)

    def forward(self, x):
        return self.last_layer(functional.normalize(self.mlp(x), dim=-1))


class Network(nn.Module):
    """Backbone and both heads: a student or a teacher."""

    def __init__(self, width=384, depth=12, heads=6, patch=16, registers=4, dino=(2048, 256, 65536), ibot=(2048, 256, 65536), rescale=2.0):
        """dino, ibot: hidden width, bottleneck and prototypes of the heads; rescale: augmentation of the student's coordinates."""
        super().__init__()
        config = DINOv3ViTConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, num_attention_heads=heads, patch_size=patch,
            num_register_tokens=registers, query_bias=False, key_bias=False, value_bias=False, layer_norm_eps=1e-6,
            layerscale_value=1e-5, pos_embed_rescale=rescale)
        config._attn_implementation = "sdpa"
        self.backbone = DINOv3ViTModel(config)
        self.dino_head = Head(width, *dino)
        self.ibot_head = Head(width, *ibot)
        self.prefix = 1 + registers

    def tokens(self, images, masks=None):
        """Class tokens [images, width] and patch tokens [images, patches, width] after the final norm."""
        x = self.backbone(images, bool_masked_pos=masks).last_hidden_state
        return x[:, 0], x[:, self.prefix:]


def sinkhorn(logits, temperature, iterations=3):
    """Assignments [samples, prototypes] whose rows sum to 1, all prototypes being used equally."""
    q = (logits.float() / temperature).exp_()
    samples, prototypes = q.shape
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(0, keepdim=True) * prototypes
        q /= q.sum(1, keepdim=True) * samples
    return q.mul_(samples)


def class_loss(logits, targets, images, ignore_diagonal):
    """Cross entropy of every crop's class token against the teacher's of every global crop, [crops * images, prototypes] each."""
    scores = functional.log_softmax(logits.float() / STUDENT_TEMPERATURE, dim=-1).unflatten(0, (-1, images))
    wanted = targets.unflatten(0, (-1, images))
    total = wanted.sum(0)
    count = len(scores) * len(wanted)
    if not ignore_diagonal:
        return -(scores * total).sum() / (images * count)
    return -(scores * (total - wanted)).sum() / (images * (count - min(len(scores), len(wanted))))


def patch_loss(logits, targets, weights, crops):
    """Cross entropy of masked patches, each crop's mean, over all crops."""
    entropy = functional.cross_entropy(logits.float() / STUDENT_TEMPERATURE, targets, reduction="none")
    return (entropy * weights).sum() / crops


def koleo(tokens):
    """Minus the mean logarithm of the distance to the nearest other image's token."""
    x = functional.normalize(tokens.float(), eps=1e-8, dim=-1)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        nearest = (x @ x.T).fill_diagonal_(-1).argmax(1)
    distance = (x - x[nearest] + 1e-8).square().sum(1).sqrt()
    return -(distance + 1e-8).log().mean()


def make_masks(crops, side, random, probability=0.5, ratio=(0.1, 0.5)):
    """[crops, side * side]: rows of a block, then as many of the next one as are left; numbers of masked patches rise in equal steps."""
    masked = int(crops * probability)
    masks = torch.zeros(crops, side * side, dtype=torch.bool)
    order = torch.randperm(crops, generator=random)
    for index in range(masked):
        count = int(side * side * (ratio[0] + (ratio[1] - ratio[0]) * (index + 1) / masked))
        start = int(torch.randint(side * side - count + 1, (1,), generator=random))
        masks[order[index], start:start + count] = True
    return masks


def make_batch(images, size, local, count, random, patch=16):
    """Noise as crops, crop-major, and the masks of the global ones."""
    crops = (torch.randn(GLOBALS * images, 1, size, size, generator=random), torch.randn(count * images, 1, local, local, generator=random))
    return tuple(x.repeat(1, 3, 1, 1) for x in crops) + (make_masks(GLOBALS * images, size // patch, random),)


def rate_and_decay(name, depth, layer_decay=0.9, patch_factor=0.2):
    """Factors on learning rate and weight decay of a parameter of the student."""
    decay = 0.0 if name.endswith("bias") or "norm" in name or "lambda" in name else 1.0
    if not name.startswith("backbone."):
        return 1.0, decay
    if "embeddings." in name:
        layer = 0
    else:
        parts = name.split(".")
        layer = int(parts[parts.index("layer") + 1]) + 1 if "layer" in parts else depth + 1
    return layer_decay ** (depth + 1 - layer) * (patch_factor if "patch_embeddings" in name else 1.0), decay


class Distillation:
    """Student, teacher and optimiser. `step` is one iteration."""

    def __init__(self, student, rate, weight_decay=0.04, momentum=0.994, temperature=0.04, clip=3.0, koleo_weight=0.1, beta2=0.999):
        self.student = student.train()
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.momentum, self.temperature, self.clip, self.koleo_weight = momentum, temperature, clip, koleo_weight
        depth, groups = self.student.backbone.config.num_hidden_layers, {}
        for name, parameter in self.student.named_parameters():
            groups.setdefault(rate_and_decay(name, depth), []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": list_, "lr": rate * key[0], "weight_decay": weight_decay * key[1]} for key, list_ in groups.items()],
            betas=(0.9, beta2), eps=1e-8, fused=True)

    @torch.no_grad()
    def targets(self, crops, places):
        classes, patches = self.teacher.tokens(crops)
        logits = self.teacher.dino_head(classes), self.teacher.ibot_head(patches.flatten(0, 1)[places])
        return tuple(sinkhorn(x, self.temperature) for x in logits)

    def losses(self, globals_, locals_, masks):
        """DINO of local and of global crops, KoLeo (mean over the global crops) and iBOT, before weighting."""
        crops = len(globals_)
        images = crops // GLOBALS
        places = masks.flatten().nonzero()[:, 0]
        weights = (1 / masks.sum(1).clamp(min=1))[:, None].expand_as(masks)[masks]
        class_targets, patch_targets = self.targets(globals_, places)
        classes, patches = self.student.tokens(globals_, masks)
        logits = self.student.dino_head(torch.cat([classes, self.student.tokens(locals_)[0]]))
        masked = self.student.ibot_head(patches.flatten(0, 1)[places])
        return (
            class_loss(logits[crops:], class_targets, images, ignore_diagonal=False),
            class_loss(logits[:crops], class_targets, images, ignore_diagonal=True),
            sum(koleo(part) for part in classes.split(images)) / GLOBALS, patch_loss(masked, patch_targets, weights, crops))

    def total(self, losses, crops):
        """`crops`: local ones of an image."""
        local, global_, spread, patches = losses
        pairs = GLOBALS * (GLOBALS - 1), GLOBALS * crops
        return (pairs[1] * local + pairs[0] * global_) / sum(pairs) + self.koleo_weight * GLOBALS * spread + patches

    def step(self, globals_, locals_, masks, bfloat16=False):
        """Forward, backward, clipping by part, AdamW, moving average. Returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = self.total(self.losses(globals_, locals_, masks), GLOBALS * len(locals_) // len(globals_))
        loss.backward()
        student, teacher = self.student, self.teacher
        for part in (student.backbone, student.dino_head, student.ibot_head):
            nn.utils.clip_grad_norm_(part.parameters(), self.clip)
        self.optimizer.step()
        with torch.no_grad():
            for average, value in zip(teacher.parameters(), student.parameters()):
                average.lerp_(value, 1 - self.momentum)
        return float(loss.detach())


def make(seed, images=4, **sizes):
    """With the rate of the preset for batches of so many images."""
    torch.manual_seed(seed)
    return Distillation(Network(**sizes), 2e-4 * 4 * math.sqrt(images / 1024))
