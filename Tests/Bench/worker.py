"""A peer's network in a process of its own, run on request.

usage: worker.py torch|openvino f32|bf16 SIZE THREADS CLASSES
Prints "ready", or "missing: why"; then for every line read the seconds of one forward pass and the peak resident bytes as JSON.
"""
import json
import os
import pathlib
import sys
import time

peer, precision, size, threads, classes = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
os.environ["OMP_NUM_THREADS"] = str(threads)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Oracle"))


def peak_bytes():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def torch_forward():
    import network as networks
    import torch
    torch.set_num_threads(threads)
    model = networks.make(seed=1, classes=classes)
    image = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(1))

    def forward():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return model(image)

    return forward


def openvino_forward():
    try:
        import openvino
    except ImportError:
        return None
    import network as networks
    import torch
    torch.set_num_threads(threads)
    model = networks.make(seed=1, classes=classes)
    image = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        converted = openvino.convert_model(model, example_input=image, input=[1, 1, size, size])
    compiled = openvino.Core().compile_model(
        converted, "CPU",
        {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return lambda: request.infer({0: image.numpy()})


forward = torch_forward() if peer == "torch" else openvino_forward()
if forward is None:
    print("missing: not installed", flush=True)
    raise SystemExit
forward()  # warm-up
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    forward()
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": peak_bytes()}), flush=True)
