"""Repeats finetune.py's twenty PyTorch steps with the installed meddino, and compares every loss and every final weight.

usage: finetune_replay.py STAGE

The batches go in through meddino_trainer_step_batch, an epoch ends after every five; the weights come out of the exported model.
"""
import json
import os
import pathlib
import sys
import tempfile
import time

import finetune  # first: it keeps a mismatched torchvision out
import numpy
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "Examples/python"))
import meddino


def replay(start, reference, settings, folder):
    """The losses of all steps, and the final weights by official name."""
    context = meddino.Context()
    model = meddino.Model.open(context, start, rope="float32")
    known = {key: value for key, value in settings.items() if key != "taps"}  # the start model's own
    trainer = meddino.Trainer(context, model, None, known)
    losses, norms = [], []
    for index, (images, targets) in enumerate(zip(reference["images"], reference["targets"])):
        metrics = trainer.step_batch(images, targets)
        losses.append(metrics.loss)
        norms.append(metrics.gradient_norm)
        if (index + 1) % settings["iterations"] == 0:
            trainer.epoch()
    path = os.path.join(folder, "trained.safetensors")
    trainer.export().save(path)
    weights = {"final." + name.rsplit("member.0/", 1)[-1]: value for name, value in load_file(path).items()}
    return {"losses": numpy.array(losses), "norms": numpy.array(norms), **weights}


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: finetune_replay.py STAGE")
    meddino.load(os.path.join(sys.argv[1], "lib/libmeddino.so.1"))
    begin = time.time()
    with tempfile.TemporaryDirectory(prefix="meddino-finetune-") as folder:
        start, path = finetune.write_reference(folder)
        with safe_open(path, "numpy") as file:
            settings = json.loads(file.metadata()["settings"])
        reference = load_file(path)
        result = replay(start, reference, settings, folder)
        file = os.path.join(folder, "result.safetensors")
        save_file(result, file)
        error = numpy.abs(result["norms"] / reference["norms"] - 1).max()
        lines = list(finetune.compare(reference, load_file(file)))
        lines.append((error <= 1e-3, "gradient norms before clipping", f"largest relative difference {error:.1e} (limit 1e-3)"))
        good = finetune.report(lines)
    print(f"{sum(bool(line[0]) for line in lines)} passed, {sum(not line[0] for line in lines)} failed in {time.time() - begin:.0f} s")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
