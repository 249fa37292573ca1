"""Segments a file through the C library in a process that also runs torch.

usage: beside_torch.py STAGE before|after MODEL IMAGE OUTPUT    (the library is loaded before or after torch)
"""
import ctypes
import os
import sys

stage, order, model, image, output = sys.argv[1:]


def open_library():
    return ctypes.CDLL(os.path.join(stage, "lib/libmeddino.so"))


def open_torch():
    sys.modules["torchvision"] = None
    import torch
    torch.set_num_threads(2)
    return torch


def work(torch):
    a = torch.arange(512 * 512, dtype=torch.float32).reshape(512, 512) / 1e5
    return float((a @ a).sum())


if order == "before":
    library = open_library()
    torch = open_torch()
else:
    torch = open_torch()
    work(torch)
    library = open_library()


def check(status, what):
    if status:
        text = ctypes.create_string_buffer(512)
        library.meddino_last_error(text, ctypes.c_size_t(512))
        raise SystemExit(f"{what}: {text.value.decode()}")


first = work(torch)
context, network, scan, labels = (ctypes.c_void_p() for _ in range(4))
check(library.meddino_context_create(None, ctypes.byref(context)), "context")
check(library.meddino_model_open(context, model.encode(), None, ctypes.byref(network)), "model")
check(library.meddino_image_read(context, image.encode(), ctypes.byref(scan)), "image")
check(library.meddino_segment_image(network, scan, None, ctypes.byref(labels), None), "segment")
check(library.meddino_image_write(labels, output.encode()), "write")
second = work(torch)
for handle, name in ((labels, "image"), (scan, "image"), (network, "model"), (context, "context")):
    getattr(library, f"meddino_{name}_release")(handle)
if first != second:
    raise SystemExit(f"torch computed {first}, then {second}")
print("same labels as the command, torch undisturbed")
