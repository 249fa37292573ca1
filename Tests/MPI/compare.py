"""Whether two runs agree to rounding. Usage: compare.py metrics A B | weights A B. Standard library only."""

import array
import json
import struct
import sys

# Relative; what AdamW makes of rounding in small gradients is larger than the rounding.
METRICS, WEIGHTS = 2e-3, 5e-3
# Not the same thing in both: time, and entropies, which are those of the first process's images alone.
FREE = {"seconds", "teacher_entropy", "teacher_patch_entropy"}


def numbers(value):
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [] if value is None else [float(value)]


def metrics(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def tensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(length))
        base = 8 + length
        for name, entry in sorted(head.items()):
            if name == "__metadata__" or entry["dtype"] != "F32":
                continue
            begin, end = entry["data_offsets"]
            file.seek(base + begin)
            values = array.array("f")
            values.frombytes(file.read(end - begin))
            yield name, values


def compare_metrics(a, b):
    worst, count = (0.0, ""), 0
    left, right = metrics(a), metrics(b)
    if len(left) != len(right) or not left:
        return f"{len(left)} and {len(right)} records"
    for x, y in zip(left, right):
        if x.keys() != y.keys():
            return f"other keys: {x.keys() ^ y.keys()}"
        for key in x:
            if key in FREE or isinstance(x[key], str):
                continue
            p, q = numbers(x[key]), numbers(y[key])
            if len(p) != len(q):
                return f"{key}: {x[key]} and {y[key]}"
            for s, t in zip(p, q):
                worst = max(worst, (abs(s - t) / max(abs(s), 1.0), f"{key} at step {x.get('step')}: {s}, {t}"))
                count += 1
    return "no numbers" if count == 0 else worst[1] if worst[0] > METRICS else None


def compare_weights(a, b):
    left, right = dict(tensors(a)), dict(tensors(b))
    if left.keys() != right.keys() or not left:
        return f"other tensors: {left.keys() ^ right.keys()}"
    for name, values in left.items():
        other = right[name]
        if len(values) != len(other):
            return f"{name}: {len(values)} and {len(other)} values"
        size = (sum(v * v for v in values) / max(len(values), 1)) ** 0.5
        off = max((abs(v - w) for v, w in zip(values, other)), default=0.0)
        if not off <= WEIGHTS * max(size, 1e-6):
            return f"{name} differs by {off}, its size is {size}"
    return None


problem = {"metrics": compare_metrics, "weights": compare_weights}[sys.argv[1]](sys.argv[2], sys.argv[3])
if problem:
    sys.exit(f"{sys.argv[2]} and {sys.argv[3]}: {problem}")
