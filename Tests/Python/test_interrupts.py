"""What callbacks raise, Ctrl-C among it, is never lost: not at their entry, not in jobs, not in the log, not from slices."""

import gc
import os
import signal
import sys
import threading
import time

import harness
import numpy as np
from harness import check, raises

import meddino
from meddino._callbacks import guarded
from meddino._structs import _ProgressFn, _SliceFn

SETTINGS = {
    "student": {"embed_dim": 16, "depth": 2, "num_heads": 2}, "optim": {"epochs": 50},
    "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
    "ibot": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
    "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 1}},
    "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
    "train": {"batch_size_per_gpu": 2, "OFFICIAL_EPOCH_LENGTH": 50}}
FINETUNING = {"recipe": "few-shot", "epochs": 200, "iterations": 50, "validation_iterations": 1, "batch_size": 2}


class Stop(Exception):
    pass


def unraised(function):
    """What goes to sys.unraisablehook while the function runs."""
    seen, before = [], sys.unraisablehook
    sys.unraisablehook = lambda unraisable: seen.append(unraisable.exc_value)
    try:
        function()
        gc.collect()
    finally:
        sys.unraisablehook = before
    return seen


def interrupted(what, function, after=0.15):
    """The function is stopped by a SIGINT as KeyboardInterrupt, soon, and nothing is swallowed."""
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    begin = time.monotonic()

    def call():
        timer.start()
        try:
            function()
            check(False, what + " was not interrupted")
            timer.join()
            time.sleep(0.1)
        except KeyboardInterrupt:
            check(time.monotonic() - begin < 20, what)
        except BaseException as failure:  # noqa: B902
            check(False, "%s raised %r" % (what, failure))

    check(unraised(call) == [], what)


def entries():
    """A signal that is pending when C enters Python, at every argument of a call and at every moment."""
    failures, calls = [], []

    def note(value, pointer):
        calls.append((value, pointer))
        return value == 7

    thunk = guarded(_SliceFn, note, failures)
    check(thunk(0, 3, 8) == 0 and calls == [(3, 8)])
    check(thunk(0, 7, 8) != 0 and not failures)

    def fails(fraction, stage):
        raise Stop(fraction)

    stopping = guarded(_ProgressFn, fails, failures)
    check(stopping(0, 0.5, 16) != 0 and isinstance(failures[0], Stop) and len(failures) == 1)
    check(stopping(0, 0.6, 16) != 0 and len(failures) == 1)  # not asked again
    check(thunk(0, 3, 8) != 0 and len(calls) == 2)
    del failures[:]
    check(thunk(0, 3, 8) == 0 and len(calls) == 3)

    check(thunk(0, 7, 8) != 0)


def storm():
    """Signals at any moment: every one is raised somewhere, C is then told to stop, and the arguments stay in step."""
    failures, calls, caught, wrong, lost = [], [], [], [], []
    thunk = guarded(_SliceFn, lambda value, pointer: calls.append((value, pointer)), failures)
    begun, ended = threading.Event(), threading.Event()

    def fire():
        begun.wait()
        while not ended.wait(0.003):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def call():
        begun.set()
        while len(caught) < 200 and time.monotonic() < end:
            try:
                del calls[:]
                answer = thunk(0, 5, 9)
                if failures:
                    caught.extend(failures)
                    if answer == 0:
                        wrong.append("went on")
                    del failures[:]
                elif calls != [(5, 9)]:
                    wrong.append(calls[:])
            except KeyboardInterrupt as failure:
                caught.append(failure)
                del failures[:]

    def finish():
        ended.set()
        sender.join()
        time.sleep(0.02)  # what was sent last

    end = time.monotonic() + 10
    sender = threading.Thread(target=fire)
    sender.start()
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: lost.append(unraisable.exc_value)
    _shielded(call)
    _shielded(finish)
    sys.unraisablehook = before
    check(wrong == [] and lost == [], str((wrong[:3], lost[:3])))
    check(len(caught) >= 50, "%d caught" % len(caught))


def _shielded(function):
    """Repeats what a signal of the storm stops."""
    for _ in range(1000):
        try:
            return function()
        except KeyboardInterrupt:
            continue
    return None


def runs(model):
    large = harness.phantom(400, 400, 60)
    interrupted("segment", lambda: model.segment(large))
    interrupted("segment with progress", lambda: model.segment(large, progress=lambda fraction, stage: None))
    interrupted("a slow progress function", lambda: model.segment(large, progress=lambda fraction, stage: time.sleep(0.05)))
    interrupted("features", lambda: model.features(np.tile(large, (1, 4, 4))))
    interrupted("waiting for a job", model.segment_async(large).wait)
    gc.collect()


def training(context, model):
    planes = np.random.default_rng(1).normal(0, 200, (3, 40, 44)).astype(np.int16)
    cases = meddino.Dataset.create(model)
    array = harness.phantom(48, 44, 3)
    cases.add("a", array, np.where(array > 100, 1, 0).astype(np.uint8))
    trainer = meddino.Trainer(context, model, cases, FINETUNING)
    interrupted("fine-tuning", lambda: list(trainer))
    check(trainer.step().step >= 1)  # and goes on
    interrupted("a training job", trainer.run_async().result)
    gc.collect()
    slices = meddino.Dataset.from_slices(context, 3, lambda index: planes[index])
    pretrainer = meddino.Pretrainer(context, slices, preset="tiny", settings=SETTINGS)
    interrupted("pretraining", lambda: list(pretrainer))
    interrupted("slow slices", lambda: list(meddino.Pretrainer(
        context, meddino.Dataset.from_slices(context, 3, lambda index: (time.sleep(0.02), planes[index])[1]), preset="tiny", settings=SETTINGS)))


def jobs(context, model):
    array = harness.phantom(40, 36, 2)

    def stop(fraction, stage):
        raise Stop("progress")

    def dropped():
        job = model.segment_async(array, progress=stop)
        time.sleep(0.2)
        del job

    seen = unraised(dropped)
    check(len(seen) == 1 and isinstance(seen[0], Stop), str(seen))

    def waited():
        job = model.segment_async(array, progress=stop)
        raises(Stop, job.wait, "progress")
        raises(Stop, job.result, "progress")
        job.close()

    check(unraised(waited) == [])

    def fails(index):
        raise Stop("slice")

    slices = meddino.Dataset.from_slices(context, 3, fails)
    trainer = meddino.Pretrainer(context, slices, preset="tiny", settings=SETTINGS)
    job = trainer.run_async()
    raises(Stop, job.wait, "slice")
    raises(Stop, job.wait, "slice")
    raises(Stop, trainer.step, "slice")
    raises(ValueError, lambda: meddino.Pretrainer(context, slices, stage=4), "stage")
    raises(ValueError, lambda: meddino.Pretrainer(context, slices, preset="tiny", settings={"preset": "tiny"}), "preset")
    check(meddino.Pretrainer.estimate_stage(context, preset="tiny", settings=SETTINGS).peak_bytes > 10000)


def logs():
    def exits(level, message):
        sys.exit(3)

    context = meddino.Context(threads=1, log=exits, log_level=4)
    model = None
    try:
        model = meddino.Model.create(context, harness.CONFIG, 7)
        model.segment(harness.phantom())
        check(False, "nothing was raised")
    except SystemExit as failure:
        check(failure.code == 3)
    context.check_log()


def handlers():
    before = signal.getsignal(signal.SIGINT)
    with meddino.Context(threads=1) as context:
        meddino.Model.create(context, harness.CONFIG, 7).segment(harness.phantom())
    check(signal.getsignal(signal.SIGINT) is before)


def main():
    context = meddino.Context(threads=2)
    model = meddino.Model.create(context, harness.CONFIG, 7)
    entries()
    storm()
    runs(model)
    training(context, model)
    jobs(context, model)
    logs()
    handlers()
    harness.end("test_interrupts.py")


main()
