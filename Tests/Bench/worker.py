"""A peer's network in a process of its own, run on request.

usage: worker.py torch|torch-train|torch-ssl|openvino f32|bf16 SIZE THREADS CLASSES FILE
Prints "ready"; then for every line read the seconds of one forward pass (of one training step: forward, loss, backward and AdamW; of one
pretraining step: also the teacher's forward, clipping and moving average) and the peak resident bytes as JSON. "convert" in place of a
peer's name writes OpenVINO's form of the network to FILE, which the openvino worker reads: its memory is then its own.
"""
import json
import os
import pathlib
import sys
import time

peer, precision, size, threads, classes = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
file = sys.argv[6]
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


def torch_train():
    """MedDINOv3's fine-tuning step, batch 1, drop path 0 (with one item it drops nothing anyway)."""
    import network as networks
    import torch
    import training
    torch.set_num_threads(threads)
    model = networks.make(seed=1, classes=classes)
    optimizer = training.make_optimizer(model)
    random = torch.Generator().manual_seed(1)
    image = torch.randn(1, 1, size, size, generator=random)
    target = torch.randint(classes, (1, size, size), generator=random)
    return lambda: training.step(model, optimizer, image, target, bfloat16=precision == "bf16")


def torch_ssl():
    """A step of pretraining's first stage: ViT-S, 4 images, 2 crops of SIZE and 8 of 96 pixels, heads of ct-base, drop path 0."""
    import distillation
    import torch
    torch.set_num_threads(threads)
    images = 4
    trainer = distillation.make(1, images)
    batch = distillation.make_batch(images, size, 96, 8, torch.Generator().manual_seed(1))
    return lambda: trainer.step(*batch, bfloat16=precision == "bf16")


def convert():
    import openvino
    import network as networks
    import torch
    model = networks.make(seed=1, classes=classes)
    with torch.inference_mode():
        converted = openvino.convert_model(model, example_input=torch.zeros(1, 1, size, size), input=[1, 1, size, size])
    openvino.save_model(converted, file, compress_to_fp16=False)


def openvino_forward():
    import numpy
    import openvino
    options = {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(file, "CPU", options).create_infer_request()
    image = numpy.random.default_rng(1).standard_normal((1, 1, size, size), numpy.float32)
    return lambda: request.infer({0: image})


if peer == "convert":
    convert()
    raise SystemExit
forward = {"torch": torch_forward, "torch-train": torch_train, "torch-ssl": torch_ssl, "openvino": openvino_forward}[peer]()
forward()  # warm-up
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    forward()
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": peak_bytes()}), flush=True)
