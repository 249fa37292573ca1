"""Twenty fine-tuning steps in PyTorch on fixed batches, written so that meddino's trainer can repeat them.

usage: finetune.py FOLDER                    makes the reference
       finetune.py FOLDER --against FILE     compares a run of meddino's trainer with it
       finetune.py --self-check              the reference against itself in float64, and against runs that are wrong on purpose

FOLDER gets
  meddinov3_base_primus_multiscale_Trainer__nnUNetPlans__2d_small/    the start: an nnU-Net result folder, official names
  reference.safetensors   images [steps, B, 1, H, W] f32; targets [steps, B, H, W] i32; cross_entropy, dice, norms [steps] f64;
                          initial.<name>, final.<name>: weights by official name; metadata "settings": JSON for the trainer
A result FILE of meddino holds losses [steps] f64 (cross entropy + Dice term) and final.<name>.
"""
import argparse
import copy
import json
import os
import tempfile

import network as networks  # first: it keeps a mismatched torchvision out
import training
import numpy
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

STEPS, BATCH, SHAPE, CLASSES = 20, 2, (64, 48), 4
WIDTH, DEPTH, HEADS, TAPS = 96, 4, 3, [1, 3]
#: Keys as the trainer takes them. Five steps are an epoch, so that the learning rates fall three times.
SETTINGS = {
    "recipe": "meddinov3", "decoder_lr": 3e-4, "encoder_lr": 3e-5, "weight_decay": 0.05, "betas": [0.9, 0.98], "clip": 12.0,
    "drop_path": 0.0, "taps": TAPS, "epochs": 4, "iterations": 5}
STATISTICS = {
    "max": 1000.0, "mean": 65.1, "median": 66.0, "min": -1000.0, "percentile_00_5": -958.0, "percentile_99_5": 300.0, "std": 178.0}
LOSS_LIMIT, WEIGHT_LIMIT = 1e-4, 5e-6


def make_network():
    network = networks.make(seed=23, width=WIDTH, depth=DEPTH, heads=HEADS, classes=CLASSES, taps=TAPS)
    random = torch.Generator().manual_seed(24)
    with torch.no_grad():  # not zero, so that its decay shows
        network.encoder.embeddings.mask_token.normal_(0, 0.3, generator=random)
        network.decoder.decode[-1].weight.mul_(14)  # confidently wrong at first, so that gradients are clipped
    return network


def make_batches():
    """Ellipses of three tissues on a noisy ground, in normalised units."""
    random = numpy.random.default_rng(25)
    rows, columns = numpy.mgrid[:SHAPE[0], :SHAPE[1]]
    images = random.normal(0, 0.3, (STEPS, BATCH, 1, *SHAPE))
    targets = numpy.zeros((STEPS, BATCH, *SHAPE), numpy.int32)
    for step in range(STEPS):
        for item in range(BATCH):
            for label in random.permutation(numpy.arange(1, CLASSES)):
                centre, radius = random.uniform(0.2, 0.8, 2) * SHAPE, random.uniform(6, 18, 2)
                inside = ((rows - centre[0]) / radius[0]) ** 2 + ((columns - centre[1]) / radius[1]) ** 2 < 1
                targets[step, item][inside] = label
            images[step, item, 0] += numpy.array([-1.5, 0.0, 0.8, 1.6])[targets[step, item]]
    return images.astype(numpy.float32), targets


def train(network, images, targets, settings=SETTINGS, dtype=torch.float32):
    """Runs all steps on a copy of `network`; returns the copy and (cross entropy, dice, norm) per step."""
    network = copy.deepcopy(network).to(dtype)
    rates = [settings["decoder_lr"], settings["encoder_lr"]]
    optimizer = training.make_optimizer(network, *rates, settings["weight_decay"])
    rows = []
    for index in range(STEPS):
        epoch = index // settings["iterations"]
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * (1 - epoch / settings["epochs"])
        batch = torch.from_numpy(images[index]).to(dtype), torch.from_numpy(targets[index]).long()
        rows.append(training.step(network, optimizer, *batch, settings["clip"]))
    return network, numpy.array(rows)


def weights(network, prefix):
    return {prefix + name: value.detach().float().numpy().copy() for name, value in networks.official_names(network).items()}


def write_reference(folder):
    """Returns the result folder to start from and the reference file."""
    network, (images, targets) = make_network(), make_batches()
    plan = networks.plans("2d_small", SHAPE, (1.0, 1.0), STATISTICS)
    plan["configurations"]["2d_small"]["batch_size"] = BATCH
    start = networks.save_folder(network, folder, plan, "2d_small")
    trained, rows = train(network, images, targets)
    arrays = {
        "images": images, "targets": targets, "cross_entropy": rows[:, 0].copy(), "dice": rows[:, 1].copy(), "norms": rows[:, 2].copy(),
        **weights(network, "initial."), **weights(trained, "final.")}
    path = os.path.join(folder, "reference.safetensors")
    save_file(arrays, path, metadata={"settings": json.dumps(SETTINGS)})
    return start, path


def compare(reference, result):
    """Lines (good, name, text): the loss of every step, and every final weight."""
    want = reference["cross_entropy"] + reference["dice"]
    missing = [name for name in reference if name.startswith("final.") and name not in result and not name.endswith("periods")]
    yield not missing and len(result["losses"]) == STEPS, "all steps and weights there", ", ".join(missing) or f"{STEPS} steps"
    if missing or len(result["losses"]) != STEPS:
        return
    error = numpy.abs(result["losses"] - want) / numpy.abs(want).clip(1e-3)
    yield (
        error.max() <= LOSS_LIMIT, "losses",
        f"largest relative difference {error.max():.1e} at step {error.argmax()} (limit {LOSS_LIMIT})")
    worst, place = 0.0, ""
    for name, value in reference.items():
        if name.startswith("final.") and not name.endswith("periods"):
            size = max(1.0, float(numpy.sqrt(numpy.mean(value.astype(float) ** 2))))
            rms = float(numpy.sqrt(numpy.mean((result[name].astype(float) - value) ** 2))) / size
            if rms > worst:
                worst, place = rms, name
    yield (
        worst <= WEIGHT_LIMIT, "final weights",
        f"largest root mean square difference of a tensor {worst:.1e} in {place or 'none'} (limit {WEIGHT_LIMIT}, relative above 1)")


def report(lines):
    good = True
    for passed, name, text in lines:
        print(f"{'ok  ' if passed else 'FAIL'} {name}: {text}", flush=True)
        good = good and passed
    return good


def self_check():
    """A float64 run must pass, runs with one mistake must not."""
    with tempfile.TemporaryDirectory(prefix="meddino-finetune-") as folder:
        reference = load_file(write_reference(folder)[1])
    losses = reference["cross_entropy"] + reference["dice"]
    print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}; gradient norms {reference['norms'].min():.1f} to {reference['norms'].max():.1f}")
    network, images, targets = make_network(), reference["images"], reference["targets"]
    variants = {
        "float64": ({}, torch.float64, True), "no weight decay": ({"weight_decay": 0.0}, torch.float32, False),
        "no clipping": ({"clip": 1e9}, torch.float32, False), "no schedule": ({"epochs": 10**9}, torch.float32, False),
        "one rate": ({"encoder_lr": 3e-4}, torch.float32, False)}
    good = True
    for name, (change, dtype, expected) in variants.items():
        trained, rows = train(network, images, targets, {**SETTINGS, **change}, dtype)
        result = {"losses": rows[:, 0] + rows[:, 1], **weights(trained, "final.")}
        lines = list(compare(reference, result))
        passed = all(line[0] for line in lines)
        good = good and passed == expected
        detail = "; ".join(text for _, _, text in lines[1:])
        print(f"{'ok  ' if passed == expected else 'FAIL'} {name} {'passes' if passed else 'is noticed'}: {detail}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--against")
    parser.add_argument("--self-check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.self_check:
        raise SystemExit(0 if self_check() else 1)
    if not options.folder:
        parser.error("FOLDER is missing")
    if options.against:
        reference = load_file(os.path.join(options.folder, "reference.safetensors"))
        raise SystemExit(0 if report(compare(reference, load_file(options.against))) else 1)
    start, path = write_reference(options.folder)
    with safe_open(path, "numpy") as file:
        print(f"{start}\n{path}: {len(file.keys())} tensors, settings {file.metadata()['settings']}")


if __name__ == "__main__":
    main()
