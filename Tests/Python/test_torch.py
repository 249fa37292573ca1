"""Next to PyTorch in one process: same labels, no handler changed, fork works. Skipped where PyTorch is not installed."""

import importlib.util
import subprocess
import sys

import harness
from harness import check

CHILD = """
import hashlib, multiprocessing, os, sys
sys.path[:0] = %(paths)r
import harness, meddino
import numpy as np

def handlers():
    return [line for line in open('/proc/self/status') if line.startswith(('SigIgn', 'SigCgt', 'SigBlk'))]

def work():
    import torch
    a = torch.randn(200, 300, dtype=torch.float32, generator=torch.Generator().manual_seed(1))
    return hashlib.sha256((a @ a.T).numpy().tobytes()).hexdigest()

def labels():
    context = meddino.Context(threads=2)
    model = meddino.Model.create(context, harness.CONFIG, 7)
    return hashlib.sha256(model.segment(harness.phantom(), spacing=(0.9, 0.9, 3))[0].tobytes()).hexdigest()

def child(queue):
    queue.put(labels())

order = sys.argv[1]
products = []
if order == 'torch first':
    products.append(work())
before = handlers()
mine = labels()
assert handlers() == before, 'signal handlers changed'
if order != 'alone':
    products.append(work())
    before = handlers()
    assert labels() == mine
    assert handlers() == before, 'signal handlers changed'
    products.append(work())
    assert len(set(products)) == 1, 'PyTorch computes something else'
    import torch
    array = torch.from_numpy(harness.phantom()).to(torch.float32)
    context = meddino.Context(threads=2)
    found, _ = meddino.Model.create(context, harness.CONFIG, 7).segment(array.numpy(), spacing=(0.9, 0.9, 3))
    assert hashlib.sha256(found.tobytes()).hexdigest() == mine
fork = multiprocessing.get_context('fork')
queue = fork.Queue()
process = fork.Process(target=child, args=(queue,))
process.start()
assert queue.get(timeout=60) == mine
process.join(60)
assert process.exitcode == 0
print(mine)
"""


def run(order):
    code = CHILD % {"paths": harness.PATHS}
    result = subprocess.run([sys.executable, "-B", "-W", "ignore", "-c", code, order], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            timeout=300, check=False)
    check(result.returncode == 0, "%s: %s" % (order, result.stderr.decode()[-2000:]))
    return result.stdout.strip()


def main():
    alone = run("alone")
    check(len(alone) == 64)
    if importlib.util.find_spec("torch") is None:
        print("skipped: PyTorch is not installed")
    else:
        check(run("torch first") == alone)
        check(run("meddino first") == alone)
    harness.end("test_torch.py")


main()
