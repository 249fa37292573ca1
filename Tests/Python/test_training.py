"""Training through the Python binding: datasets, steps, epochs, jobs, and what callbacks raise."""

import gc
import os
import tempfile
import time

import harness
import numpy as np
from harness import check, raises

import meddino

FOLDER = tempfile.mkdtemp(prefix="meddino-python-")
SETTINGS = {"recipe": "few-shot", "epochs": 2, "iterations": 3, "validation_iterations": 1, "batch_size": 2, "decoder_lr": 3e-3, "encoder_lr": 1e-3}


class Stop(Exception):
    pass


def labels_of(array):
    return np.where(array > 100, 1, np.where(array > -500, 2, 0)).astype(np.uint8)


def dataset_of(model):
    cases = meddino.Dataset.create(model)
    for name, shape in (("a", (48, 44, 3)), ("b", (40, 36, 2))):
        array = harness.phantom(*shape)
        cases.add(name, array, labels_of(array), spacing=(0.9, 0.9, 3))
    return cases


def datasets(context, model):
    cases = dataset_of(model)
    array = harness.phantom(40, 36, 2)
    values = labels_of(array)
    check(len(cases) == 2 and cases.identifiers == ["a", "b"])
    cases.add("b", [array[::-1]], values.astype(np.int64)[::-1], spacing=(0.9, 0.9, 3))  # replaced; strides of any kind
    check(cases.identifiers == ["a", "b"])
    # C would cut a text at a NUL: "a" would be replaced, "x" written.
    raises(ValueError, lambda: cases.add("a\0b", array, labels_of(array)), "NUL")
    raises(ValueError, lambda: model.save(os.path.join(FOLDER, "x\0y")), "NUL")
    check(cases.identifiers == ["a", "b"] and not os.path.exists(os.path.join(FOLDER, "x")))
    values[0, 0, 0] = 9
    raises(meddino.Error, lambda: cases.add("c", array, values), "value 9", meddino.E_INVALID)
    raises(meddino.Error, lambda: cases.add("c", array, labels_of(array)[:1]), "labels", meddino.E_SHAPE)

    def stop(fraction, stage):
        raise Stop(stage)

    raises(Stop, lambda: cases.add("c", array, labels_of(array), progress=stop), "prepare")
    check(len(cases) == 2)
    raises(meddino.Error, lambda: meddino.Dataset.open(context, FOLDER), "", meddino.E_IO)
    raises(meddino.Error, lambda: meddino.Dataset.prepare(context, FOLDER, FOLDER, {"upscales": 1}), "upscales", meddino.E_INVALID)
    cases.close()
    raises(ValueError, lambda: len(cases), "closed")


def training(context, model):
    cases = dataset_of(model)
    array = harness.phantom(48, 44, 3)
    before, _ = model.segment(array, spacing=(0.9, 0.9, 3))
    estimate = meddino.Trainer.estimate(context, model, cases, SETTINGS)
    check(estimate.peak_bytes > 100000 and estimate.step_flops > 1e6)
    trainer = meddino.Trainer(context, model, cases, SETTINGS)
    seen = list(trainer.epochs())
    check([one.epoch for one in seen] == [0, 1] and [one.finished for one in seen] == [False, True] and seen[1].step == 6)
    check(seen[1].loss < seen[0].loss and 0 <= seen[1].mean_dice <= 1 and np.isclose(seen[0].loss, seen[0].cross_entropy + seen[0].dice_loss))
    check(list(trainer.epochs()) == [] and trainer.validate().validation_loss > 0)
    raises(meddino.Error, trainer.step, "finished", meddino.E_STATE)
    better = trainer.export()
    trainer.close()
    gc.collect()
    after, _ = better.segment(array, spacing=(0.9, 0.9, 3))
    check((before != after).any() and (model.segment(array, spacing=(0.9, 0.9, 3))[0] == before).all())
    better.save(os.path.join(FOLDER, "whole.safetensors"))
    scores = meddino.evaluate(context, labels_of(array), after, (0.9, 0.9, 3))
    check([one.value for one in scores][:2] == [1, 2] and all(one.true_positives + one.false_negatives >= 0 for one in scores))
    both, = meddino.evaluate(context, labels_of(array), labels_of(array), structures=[(1, 2)])
    check(both.dice == 1 and both.hd95_mm == 0 and both.true_positives == (labels_of(array) > 0).sum())

    # Stopped by an exception in the middle, saved, resumed: the same bits.
    state = {"calls": 0, "at": -1}

    def watch(fraction, stage):
        state["calls"] += 1
        if state["calls"] == state["at"]:
            raise Stop(stage)

    trainer = meddino.Trainer(context, model, cases, SETTINGS, progress=watch)
    state["at"] = state["calls"] + 25
    raises(Stop, trainer.epoch, "train")
    check(trainer.epoch()._replace(seconds=0) == seen[0]._replace(seconds=0))
    trainer.save(os.path.join(FOLDER, "run.safetensors"))
    resumed = meddino.Trainer.resume(context, os.path.join(FOLDER, "run.safetensors"), cases)
    rest = list(resumed.epochs())
    check(len(rest) == 1 and rest[0]._replace(seconds=0) == seen[1]._replace(seconds=0))
    # A finished run that is resumed has no epoch left, and knows it.
    resumed.save(os.path.join(FOLDER, "end.safetensors"))
    ended = meddino.Trainer.resume(context, os.path.join(FOLDER, "end.safetensors"), cases)
    check(ended.finished and list(ended.epochs()) == [] and list(ended.steps(1)) == [])
    resumed.export().save(os.path.join(FOLDER, "resumed.safetensors"))
    with open(os.path.join(FOLDER, "whole.safetensors"), "rb") as one, open(os.path.join(FOLDER, "resumed.safetensors"), "rb") as other:
        check(one.read() == other.read())
    cancel = meddino.Cancel()
    trainer = meddino.Trainer(context, model, cases, SETTINGS, cancel=cancel)
    cancel.request()
    raises(meddino.Error, trainer.step, "cancel", meddino.E_CANCELLED)


def batches(context, model):
    random = np.random.default_rng(3)
    targets = (np.mgrid[0:32, 0:32].sum(0)[None] // 20 % 3 + np.zeros((2, 1, 1), int)).astype(np.int64)
    images = (targets[:, None] + random.normal(0, 0.1, (2, 1, 32, 32))).astype(np.float32)
    losses = []
    for form in (images, np.asfortranarray(images), np.ascontiguousarray(images[..., ::-1])[..., ::-1]):
        for values in (targets, targets[:, None].astype(np.uint8), np.repeat(targets, 2, axis=2)[:, :, ::2].astype(np.float32)):
            losses.append(meddino.Trainer(context, model, None, SETTINGS).step_batch(form, values).loss)
    check(len(set(losses)) == 1)
    halves = [meddino.Trainer(context, model, None, SETTINGS).step_batch(images, form(targets > 0)).loss for form in (np.asarray, np.uint8)]
    check(halves[0] == halves[1])  # truth values are labels too
    trainer = meddino.Trainer(context, model, None, SETTINGS)
    many = [trainer.step_batch(images, targets).loss for _ in range(3)]
    check(many[2] < many[0] and trainer.epoch().epoch == 0)
    raises(meddino.Error, trainer.step, "dataset", meddino.E_STATE)
    raises(meddino.Error, lambda: trainer.step_batch(images, targets + 7), "value 7", meddino.E_INVALID)
    raises(meddino.Error, lambda: trainer.step_batch(images.astype(float), targets), "dtype", meddino.E_INVALID)
    raises(TypeError, lambda: trainer.step_batch(images.tolist(), targets), "images")


def jobs(context, model):
    cases = dataset_of(model)
    trainer = meddino.Trainer(context, model, cases, SETTINGS, progress=lambda f, s: time.sleep(0.002))
    job = trainer.run_async()
    raises(meddino.Error, trainer.step, "job", meddino.E_STATE)
    check(job.wait(0) is False)
    job.cancel()
    raises(meddino.Error, job.wait, "", meddino.E_CANCELLED)
    job.close()
    job = trainer.run_async()
    check(job.result() is trainer and job.progress == 1)
    raises(meddino.Error, lambda: job.report, "training", meddino.E_STATE)
    check(trainer.finished and list(trainer.epochs()) == [] and trainer.validate().finished)

    def stop(fraction, stage):
        if stage == "train":
            raise Stop(stage)

    job = meddino.Trainer(context, model, cases, SETTINGS, progress=stop).run_async()  # nobody holds the trainer
    gc.collect()
    raises(Stop, job.wait, "train")
    trainer = meddino.Trainer(context, model, cases, SETTINGS, progress=lambda f, s: time.sleep(0.002))
    job = trainer.run_async()
    del job, trainer  # cancels and waits
    gc.collect()
    raises(meddino.Error, lambda: meddino.Trainer(context, model, cases, {"epoch": 1}), "epoch", meddino.E_INVALID)
    raises(meddino.Error, lambda: meddino.Trainer(context, model, cases, SETTINGS, max_bytes=1000), "max_bytes", meddino.E_NOMEM)


def pretraining(context):
    settings = {
        "preset": "tiny", "student": {"embed_dim": 16, "depth": 2, "num_heads": 2}, "optim": {"epochs": 2},
        "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
        "ibot": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
        "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 1}},
        "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
        "train": {"batch_size_per_gpu": 2, "OFFICIAL_EPOCH_LENGTH": 2}}
    planes = np.random.default_rng(1).normal(0, 200, (3, 40, 44)).astype(np.int16)
    slices = meddino.Dataset.from_slices(context, 3, lambda index: planes[index], spacing=(0.9, 0.9))
    check(len(slices) == 3 and slices.identifiers == [])
    check(meddino.Trainer.estimate(context, None, None, settings, stage=1).peak_bytes > 10000)
    trainer = meddino.Trainer(context, None, slices, settings, stage=1)
    del slices  # the trainer keeps what it needs
    gc.collect()
    seen = list(trainer.epochs())
    check([one.step for one in seen] == [2, 4] and seen[0].ibot_loss > 0 and seen[0].teacher_entropy > 0 and np.isnan(seen[0].gram_loss) and np.isnan(seen[0].mean_dice))
    backbone = trainer.export()
    floats = meddino.Dataset.from_slices(context, 3, lambda index: planes[index].astype(np.float32)[::-1][::-1], spacing=(0.9, 0.9))
    check(meddino.Trainer(context, None, floats, settings, stage=1).epoch()._replace(seconds=0) == seen[0]._replace(seconds=0))

    def fails(index):
        raise Stop("slice")

    raises(Stop, meddino.Trainer(context, None, meddino.Dataset.from_slices(context, 3, fails), settings, stage=1).step, "slice")
    raises(meddino.Error, lambda: meddino.Trainer(context, None, floats, settings, stage=2), "gram.use_loss", meddino.E_INVALID)
    anchored = dict(settings, gram={"use_loss": True, "img_level": True})
    check(meddino.Trainer(context, backbone, floats, anchored, stage=2, gram_teacher=backbone).step().gram_loss > 0)
    raises(meddino.Error, lambda: meddino.Dataset.open_slices(context, FOLDER + "/none"), "none", meddino.E_IO)


def main():
    context = meddino.Context(threads=2)
    model = meddino.Model.create(context, harness.CONFIG, 7)
    datasets(context, model)
    training(context, model)
    batches(context, model)
    jobs(context, model)
    pretraining(context)
    harness.end("test_training.py")


main()
