"""Checks that count, a tiny model and a phantom for the tests of the Python binding."""

import json
import os
import sys
import traceback

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
INSTALLED = bool(os.environ.get("MEDDINO_INSTALLED"))  # the package that pip installed, instead of the one beside the tests
PATHS = [HERE] if INSTALLED else [HERE, os.path.join(ROOT, "Examples", "python")]  # what a child process needs in sys.path
sys.path[:0] = PATHS
sys.dont_write_bytecode = True

passed = 0
failed = 0

CONFIG = json.dumps({
    "encoder": {"embed_dim": 64, "depth": 2, "num_heads": 2, "n_storage_tokens": 2, "layerscale_init": 1.0},
    "taps": [0, 1],
    "plans": {
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"2d": {"patch_size": [32, 32], "spacing": [1.0, 1.0], "normalization_schemes": ["CTNormalization"],
                                  "use_mask_for_norm": [False]}},
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 50.0, "std": 200.0, "percentile_00_5": -500.0, "percentile_99_5": 500.0}}},
    "dataset": {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2, "kidney": 3}, "numTraining": 4,
                "file_ending": ".nii.gz"}})


def check(holds, text=""):
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
        frame = traceback.extract_stack(limit=2)[0]
        sys.stderr.write("%s:%d: failed: %s %s\n" % (frame.filename, frame.lineno, frame.line, text))


def raises(kind, function, word="", code=None):
    """The function raises `kind`, its text holds `word`."""
    try:
        function()
    except kind as error:
        check(word in str(error) and (code is None or error.code == code), "raised %r" % error)
        return error
    except BaseException as error:  # noqa: B902
        check(False, "raised %r instead of %s" % (error, kind.__name__))
        return None
    check(False, "raised nothing instead of %s" % kind.__name__)
    return None


def phantom(width=44, height=37, depth=4, dtype=np.int16):
    z, y, x = np.mgrid[0:depth, 0:height, 0:width]
    u, v = (x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5
    voxels = np.where(u * u + v * v < 0.2, 20, -950)
    voxels = np.where((u - 0.1) ** 2 + (v + 0.05) ** 2 < 0.02 + 0.002 * z, 180, voxels)
    noise = (x * 7919 + y * 104729 + z * 1299709) % 31 - 15
    return (voxels + noise).astype(dtype)


def end(name):
    print("%s: %d passed, %d failed" % (name, passed, failed))
    sys.exit(1 if failed else 0)
