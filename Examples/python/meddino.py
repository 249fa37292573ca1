"""meddino for Python: the C API through ctypes, arrays through numpy.

    import meddino
    context = meddino.Context()
    model = meddino.Model.open(context, "organs.safetensors")
    image = model.read_image("ct.nii.gz")
    labels, report = model.segment_image(image)
    labels.write("labels.nii.gz")

Arrays are indexed (z, y, x), with several channels (c, z, y, x); they are used in place, whatever their strides. spacing, origin and
direction are in the order x, y, z, millimetres, LPS (or RAS with space="RAS"), as SimpleITK gives them.

The library is loaded when the first context is made (or by `load`), never at import. It is looked for at the path given to `load`,
at the environment variable MEDDINO_LIBRARY, next to this file, and where the system keeps its libraries.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import json
import math
import os
import threading
import time
import weakref
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

__all__ = ["Cancel", "Context", "Dataset", "Error", "Features", "Image", "Job", "Label", "LabelStatistics", "Metrics", "Model", "ModelInfo", "Report",
           "StructureScores", "Trainer", "TrainingJob", "build_info", "evaluate", "load", "version"]

# Structs and constants of meddino.h ---------------------------------------------------------------------------------------------------

OK, E_INVALID, E_CANCELLED, E_NOMEM, E_IO, E_FORMAT, E_SHAPE, E_UNSUPPORTED, E_STATE, E_TIMEOUT, E_INTERNAL = range(11)
_MEMORY_OPEN = {}  # type: Dict[int, Any]  # bytes lent to the library until its free callback
_DTYPES = {"uint8": 1, "int16": 2, "uint16": 3, "int32": 4, "float32": 5, "float16": 6, "float64": 7, "int8": 9, "uint32": 10, "int64": 11, "uint64": 12}
_KEYS = itertools.count(1)
_NAMES = {code: name for name, code in _DTYPES.items()}
_NAMES[8] = "uint16"  # bfloat16: numpy has no name for it; the bits are given as they are
_SPACES = {"LPS": 1, "RAS": 2}
_MODALITIES = {None: 0, "CT": 1, "MR": 2}
_PRECISIONS = {None: 0, "float32": 1, "bfloat16": 2, "f32": 1, "bf16": 2}
_ROPES = {None: 0, "bfloat16": 1, "float32": 2, "bf16": 1, "f32": 2}
_OUTPUTS = {1: "labels", 2: "regions", 3: "none"}

_LogFn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p)
_ProgressFn = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_double, ctypes.c_char_p)
_FreeFn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class _ContextOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("threads", ctypes.c_int32), ("log_level", ctypes.c_int32), ("max_bytes", ctypes.c_uint64),
                ("log", _LogFn), ("log_user", ctypes.c_void_p), ("parallel", ctypes.c_void_p), ("parallel_user", ctypes.c_void_p),
                ("parallel_width", ctypes.c_int32)]


class _FileOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("progress", _ProgressFn), ("progress_user", ctypes.c_void_p), ("cancel", ctypes.c_void_p)]


class _SaveOptions(ctypes.Structure):
    _fields_ = _FileOptions._fields_ + [("precision", ctypes.c_int32), ("reserved", ctypes.c_int32)]


class _Volume(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("dtype", ctypes.c_int32), ("channels", ctypes.c_int32), ("space", ctypes.c_int32),
                ("modality", ctypes.c_int32), ("dims", ctypes.c_int64 * 3), ("strides", ctypes.c_int64 * 3), ("channel_stride", ctypes.c_int64),
                ("spacing", ctypes.c_double * 3), ("origin", ctypes.c_double * 3), ("direction", ctypes.c_double * 9), ("data", ctypes.c_void_p),
                ("writable", ctypes.c_void_p), ("data_bytes", ctypes.c_size_t)]


class _Tensor(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("dtype", ctypes.c_int32), ("ndim", ctypes.c_int32), ("shape", ctypes.c_int64 * 8),
                ("strides", ctypes.c_int64 * 8), ("data", ctypes.c_void_p), ("data_bytes", ctypes.c_size_t)]


class _ModelOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("fold_mask", ctypes.c_uint64), ("checkpoint", ctypes.c_char_p),
                ("configuration", ctypes.c_char_p), ("rope", ctypes.c_int32), ("reserved", ctypes.c_int32)]


class _ModelInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("labels", ctypes.c_int32), ("heads", ctypes.c_int32), ("output_kind", ctypes.c_int32),
                ("channels", ctypes.c_int32), ("patch", ctypes.c_int32), ("embed_dim", ctypes.c_int32), ("depth", ctypes.c_int32),
                ("members", ctypes.c_int32), ("tile", ctypes.c_int32 * 2), ("spacing", ctypes.c_double * 2), ("weights_bytes", ctypes.c_uint64)]


class _Label(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("value", ctypes.c_int32), ("rgba", ctypes.c_uint8 * 4), ("name", ctypes.c_char_p),
                ("coding_scheme", ctypes.c_char_p), ("code", ctypes.c_char_p)]


class _RunOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("tile_step", ctypes.c_double), ("mirror_axes", ctypes.c_int32), ("precision", ctypes.c_int32),
                ("body_crop", ctypes.c_int32), ("reserved", ctypes.c_int32), ("roi", ctypes.c_int64 * 6),
                ("label_subset", ctypes.POINTER(ctypes.c_int32)), ("label_subset_count", ctypes.c_size_t), ("max_bytes", ctypes.c_uint64),
                ("progress", _ProgressFn), ("progress_user", ctypes.c_void_p), ("cancel", ctypes.c_void_p)]


class _Estimate(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("peak_bytes", ctypes.c_uint64), ("tiles", ctypes.c_int64), ("flops", ctypes.c_double)]


class _LabelStats(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("value", ctypes.c_int32), ("touches_border", ctypes.c_int32), ("voxels", ctypes.c_int64),
                ("millilitres", ctypes.c_double)]


class _FeatureOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("blocks", ctypes.c_int32 * 8), ("block_count", ctypes.c_int32), ("apply_norm", ctypes.c_int32),
                ("input_size", ctypes.c_int32 * 2), ("slice_begin", ctypes.c_int64), ("slice_end", ctypes.c_int64)]


class _EvaluationOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("tolerance_mm", ctypes.c_double), ("distances", ctypes.c_int32), ("ignore_label", ctypes.c_int32),
                ("values", ctypes.POINTER(ctypes.c_int32)), ("counts", ctypes.POINTER(ctypes.c_int32)), ("structures", ctypes.c_size_t),
                ("max_bytes", ctypes.c_uint64), ("progress", _ProgressFn), ("progress_user", ctypes.c_void_p), ("cancel", ctypes.c_void_p)]


class _StructureScores(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("value", ctypes.c_int32), ("values", ctypes.c_int32), ("true_positives", ctypes.c_int64),
                ("false_positives", ctypes.c_int64), ("false_negatives", ctypes.c_int64), ("true_negatives", ctypes.c_int64),
                ("dice", ctypes.c_double), ("iou", ctypes.c_double), ("nsd", ctypes.c_double), ("hd95_mm", ctypes.c_double)]


class _TrainOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("settings_json", ctypes.c_char_p), ("max_bytes", ctypes.c_uint64), ("progress", _ProgressFn),
                ("progress_user", ctypes.c_void_p), ("cancel", ctypes.c_void_p), ("objective", ctypes.c_int32), ("reserved", ctypes.c_int32),
                ("gram_teacher", ctypes.c_void_p)]


_SliceFn = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(_Volume))


class _SliceOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("skip_damaged", ctypes.c_int32), ("concurrent", ctypes.c_int32), ("spacing", ctypes.c_double),
                ("done", ctypes.c_void_p)]


_PRETRAINING = ("dino_local_loss", "dino_global_loss", "koleo_loss", "ibot_loss", "gram_loss", "gram_weight", "last_layer_learning_rate",
                "weight_decay", "momentum", "teacher_temperature")


class _Metrics(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("step", ctypes.c_int64), ("epoch", ctypes.c_int64)] + [
        (name, ctypes.c_double) for name in ("loss", "cross_entropy", "dice_loss", "gradient_norm", "learning_rate", "validation_loss", "mean_dice",
                                             "ema_dice", "best_ema_dice", "seconds")] + [("finished", ctypes.c_int32), ("is_best", ctypes.c_int32)] + [
                                                 (name, ctypes.c_double) for name in _PRETRAINING]


class _TrainEstimate(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("peak_bytes", ctypes.c_uint64), ("step_flops", ctypes.c_double)]


_P, _S, _I, _Z = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_size_t
_PROTOTYPES = {  # type: Dict[str, Tuple[Any, List[Any]]]
    "version": (ctypes.c_uint32, []), "build_info": (_S, []), "status_name": (_S, [_I]), "last_error": (_Z, [_P, _Z]),
    "context_options_init": (None, [_P, _Z]), "context_create": (_I, [_P, _P]), "context_release": (None, [_P]),
    "file_options_init": (None, [_P, _Z]), "save_options_init": (None, [_P, _Z]), "image_read_with": (_I, [_P, _S, _P, _P]),
    "image_read_for": (_I, [_P, _S, _P, _P]), "image_write_with": (_I, [_P, _S, _P]), "model_save_with": (_I, [_P, _S, _P]),
    "model_verify": (_I, [_P, _P]), "volume_init": (None, [_P, _Z]), "volume_check": (_I, [_P]), "image_read": (_I, [_P, _S, _P]), "image_create": (_I, [_P, _P, _P]),
    "image_view": (_I, [_P, _P]), "image_write": (_I, [_P, _S]), "image_release": (None, [_P]),
    "model_options_init": (None, [_P, _Z]), "model_open": (_I, [_P, _S, _P, _P]),
    "model_open_memory": (_I, [_P, _P, _Z, _FreeFn, _P, _P]), "model_create": (_I, [_P, _S, ctypes.c_uint64, _P]),
    "model_combine": (_I, [_P, _Z, _P]), "model_save": (_I, [_P, _S]), "model_get_info": (_I, [_P, _P]), "model_get_label": (_I, [_P, _I, _P]),
    "model_metadata": (_S, [_P, _S]), "model_release": (None, [_P]), "cancel_create": (_I, [_P]), "cancel_request": (None, [_P]),
    "cancel_release": (None, [_P]), "job_wait": (_I, [_P, _I]), "job_progress": (ctypes.c_double, [_P]), "job_cancel": (None, [_P]),
    "job_error": (_Z, [_P, _P, _Z]), "job_report": (_I, [_P, _P]), "job_release": (None, [_P]), "run_options_init": (None, [_P, _Z]),
    "estimate_run": (_I, [_P, _P, _P, _P]), "segment": (_I, [_P, _P, _Z, _P, _P, _P, _P]), "segment_async": (_I, [_P, _P, _Z, _P, _P, _P, _P]),
    "segment_image": (_I, [_P, _P, _P, _P, _P]), "report_label_count": (_Z, [_P]), "report_get_label": (_I, [_P, _Z, _P]),
    "report_warning_count": (_Z, [_P]), "report_warning": (_S, [_P, _Z]), "report_release": (None, [_P]),
    "feature_options_init": (None, [_P, _Z]), "features_create": (_I, [_P, _P, _P, _P, _P]), "features_view": (_I, [_P, _P]),
    "features_pca": (_I, [_P, _P, _P]), "features_similarity": (_I, [_P, _P, _Z, _P]), "features_release": (None, [_P]),
    "evaluation_options_init": (None, [_P, _Z]), "evaluate": (_I, [_P, _P, _P, _P, _P]), "evaluation_count": (_Z, [_P]),
    "evaluation_get": (_I, [_P, _Z, _P]), "evaluation_release": (None, [_P]),
    "train_options_init": (None, [_P, _Z]), "dataset_prepare": (_I, [_P, _S, _S, _P]), "dataset_open": (_I, [_P, _S, _S, _P]),
    "dataset_create": (_I, [_P, _P]), "dataset_add": (_I, [_P, _S, _P, _Z, _P, _P]),
    "dataset_add_cases": (_I, [_P, ctypes.c_int64, _P, _P, _P]), "dataset_count": (_Z, [_P]), "dataset_case": (_S, [_P, _Z]),
    "dataset_release": (None, [_P]), "trainer_create": (_I, [_P, _P, _P, _P, _P]), "trainer_estimate": (_I, [_P, _P, _P, _P, _P]),
    "trainer_step": (_I, [_P, _P]), "trainer_step_batch": (_I, [_P, _P, _P, _P]), "trainer_epoch": (_I, [_P, _P]), "trainer_validate": (_I, [_P, _P]),
    "trainer_run_async": (_I, [_P, _P]), "trainer_save": (_I, [_P, _S]), "trainer_resume": (_I, [_P, _S, _P, _P, _P]),
    "trainer_export": (_I, [_P, _P]), "trainer_release": (None, [_P]),
    "slice_options_init": (None, [_P, _Z]), "dataset_open_slices": (_I, [_P, _S, _P, _P]),
    "dataset_from_slices": (_I, [_P, ctypes.c_int64, _P, _P, _P, _P]),
}

# Library ------------------------------------------------------------------------------------------------------------------------------


class Error(Exception):
    """A failed call: `code` is one of the E_ numbers, `name` such as "MEDDINO_E_FORMAT", the text says what was wrong."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.name = name

    def __reduce__(self) -> Any:
        return (Error, (self.code, self.name, str(self)))


class _Library:
    """The loaded shared library with typed functions."""

    def __init__(self, path: str) -> None:
        self.path = path
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, "meddino_" + name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # for type checkers: the functions are set one by one
        raise AttributeError(name)

    def error(self, status: int) -> Error:
        length = self.last_error(None, 0)
        buffer = ctypes.create_string_buffer(length + 1)
        self.last_error(buffer, length + 1)
        return Error(status, self.status_name(status).decode(), buffer.value.decode("utf-8", "replace"))

    def check(self, status: int) -> None:
        if status != OK:
            raise self.error(status)


_loaded = None  # type: Optional[_Library]
_loading = threading.Lock()


def load(path: Optional[str] = None) -> str:
    """Loads the library and returns its path. Raises OSError when it is not found, ValueError when another one is already loaded."""
    return _library(path).path


def _library(path: Optional[str] = None) -> _Library:
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = _Library(_find(path))
        elif path is not None and os.path.realpath(path) != os.path.realpath(_loaded.path):
            raise ValueError("meddino is already loaded from %s" % _loaded.path)
        return _loaded


def _find(path: Optional[str]) -> str:
    if path is not None:
        return path
    named = os.environ.get("MEDDINO_LIBRARY")
    if named:
        return named
    folder = os.path.dirname(os.path.abspath(__file__))
    for name in ("libmeddino.so.1", "libmeddino.so"):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return "libmeddino.so.1"  # the dynamic linker knows where


def version() -> Tuple[int, int, int]:
    """Major, minor and patch of the library that runs."""
    number = _library().version()
    return (number >> 16, number >> 8 & 255, number & 255)


def build_info() -> str:
    """Version, kernels in use and thread back end, in one line."""
    return _library().build_info().decode()


class _Box:
    """One C handle, and what its C side may still call or read. Released with the last reference: the owner's, or that of a view."""

    def __init__(self, library: _Library, release: str, keeps: Any) -> None:
        self.pointer = ctypes.c_void_p()
        self.keeps = keeps
        self._release = getattr(library, release)

    def __del__(self) -> None:
        if self.pointer.value:
            self._release(self.pointer)


class _Handle:
    """Owner of a C handle. `close` lets it go early; afterwards the object must not be used, but arrays that view it stay valid."""

    _release = ""

    def __init__(self, library: _Library, keeps: Any = None) -> None:
        self._library = library
        self._box = _Box(library, self._release, keeps)  # type: Optional[_Box]

    def _live(self) -> _Box:
        if self._box is None or not self._box.pointer.value:
            raise ValueError("this %s is closed" % type(self).__name__)
        return self._box

    def _out(self) -> Any:
        if self._box is None:
            raise ValueError("this %s is closed" % type(self).__name__)
        return ctypes.byref(self._box.pointer)

    def _get(self) -> ctypes.c_void_p:
        return self._live().pointer

    def close(self) -> None:
        """Lets the handle go; does nothing the second time."""
        self._box = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

# Context ------------------------------------------------------------------------------------------------------------------------------


class Context(_Handle):
    """The root of all state. threads: 0 takes all processors. max_bytes: limit of all buffers, None for no limit.

    log(level, message) is called from any thread for messages up to `log_level` (1 error … 4 debug). What it raises is kept, and the
    first is raised from `check_log`.
    """

    _release = "context_release"

    def __init__(self, threads: int = 0, max_bytes: Optional[int] = None, log: Optional[Callable[[int, str], None]] = None, log_level: int = 2,
                 library: Optional[str] = None) -> None:
        keeps = []  # type: List[Any]
        super().__init__(_library(library), keeps)
        self._log_failures = failures = []  # type: List[BaseException]
        options = _ContextOptions()
        self._library.context_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.threads, options.log_level, options.max_bytes = threads, log_level, max_bytes or 0
        if log is not None:
            sink = log

            def forward(_user: Any, level: int, message: bytes) -> None:
                try:
                    sink(level, message.decode("utf-8", "replace"))
                except BaseException as failure:  # must not pass through C
                    failures.append(failure)

            options.log = _LogFn(forward)
            keeps.append(options.log)
        self._library.check(self._library.context_create(ctypes.byref(options), self._out()))

    def check_log(self) -> None:
        """Raises the first exception that the log function raised since the last call."""
        if self._log_failures:
            first = self._log_failures[0]
            del self._log_failures[:]
            raise first

# Arrays as volumes --------------------------------------------------------------------------------------------------------------------


def _volume(library: _Library, array: Any, spacing: Sequence[float] = (1, 1, 1), origin: Sequence[float] = (0, 0, 0),
            direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1), space: str = "LPS", modality: Optional[str] = None, output: bool = False) -> _Volume:
    """A view of the array's own memory, which it keeps alive."""
    if not isinstance(array, np.ndarray):
        raise TypeError("expected a numpy array, got %s" % type(array).__name__)
    if array.dtype.name not in _DTYPES and array.dtype.name != "bool":
        raise TypeError("dtype %s is not supported, expected one of %s" % (array.dtype, ", ".join(sorted(_DTYPES))))
    if not array.dtype.isnative:
        raise TypeError("the array has the byte order of another machine; use array.astype(array.dtype.newbyteorder('='))")
    if array.ndim not in (2, 3, 4):
        raise ValueError("the array has %d axes, expected (y, x), (z, y, x) or (c, z, y, x)" % array.ndim)
    if output and not array.flags.writeable:
        raise ValueError("the array for a result is read-only")
    if array.size and any(stride == 0 and count > 1 for stride, count in zip(array.strides, array.shape)):  # repeated voxels: 0 means packed in C
        if output:
            raise ValueError("the array for a result has voxels that share memory")
        array = np.ascontiguousarray(array)
    shape = (1,) * (4 - array.ndim) + array.shape
    strides = (0,) * (4 - array.ndim) + array.strides
    volume = _Volume()
    library.volume_init(ctypes.byref(volume), ctypes.sizeof(volume))
    volume.dtype = _DTYPES.get(array.dtype.name, 1)
    volume.channels, volume.space, volume.modality = shape[0], _choice(space, _SPACES, "space"), _choice(modality, _MODALITIES, "modality")
    volume.dims[:] = [shape[3], shape[2], shape[1]]
    # Strides of axes with one entry mean nothing; "all 0" would mean packed.
    volume.strides[:] = [strides[3 - axis] if shape[3 - axis] > 1 else array.itemsize for axis in range(3)]
    volume.channel_stride = strides[0] if shape[0] > 1 else array.itemsize
    volume.spacing[:], volume.origin[:] = _numbers(spacing, 3, "spacing"), _numbers(origin, 3, "origin")
    volume.direction[:] = _numbers(np.asarray(direction, dtype=float).reshape(-1), 9, "direction")
    reach = sum((count - 1) * abs(stride) for count, stride in zip(shape, strides)) + array.itemsize
    volume.data_bytes = reach if array.size else 0
    if output:
        volume.writable = array.ctypes.data
    else:
        volume.data = array.ctypes.data
    volume._array = array
    return volume


def _numbers(values: Any, count: int, name: str) -> List[float]:
    result = [float(value) for value in values]
    if len(result) != count:
        raise ValueError("%s has %d values, expected %d" % (name, len(result), count))
    return result


def _choice(value: Any, table: Dict[Any, int], name: str) -> int:
    if value not in table:
        raise ValueError("%s is %r, expected one of %s" % (name, value, ", ".join(repr(key) for key in table)))
    return table[value]


def _array(address: int, byte_count: int, dtype: np.dtype, shape: Sequence[int], strides: Sequence[int], owner: Any) -> np.ndarray:
    """A read-only array over memory of the library; every view of it keeps the owner alive."""
    before = -sum((count - 1) * stride for count, stride in zip(shape, strides) if stride < 0)  # bytes below the first element
    memory = (ctypes.c_uint8 * byte_count).from_address(address - before)
    memory._owner = owner
    array = np.ndarray(tuple(shape), dtype, memory, before, tuple(strides))
    array.flags.writeable = False
    return array


class Image(_Handle):
    """A volume in memory of the library's own: `array` is a read-only view of it, (z, y, x) or (c, z, y, x)."""

    _release = "image_release"

    def __init__(self, context: Context, array: Optional[np.ndarray] = None, spacing: Sequence[float] = (1, 1, 1), origin: Sequence[float] = (0, 0, 0),
                 direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1), space: str = "LPS", modality: Optional[str] = None) -> None:
        """A copy of an array. Without an array an empty owner, for `read` and the calls that return images."""
        super().__init__(context._library, context._live())
        if array is not None:
            volume = _volume(self._library, array, spacing, origin, direction, space, modality)
            self._library.check(self._library.image_create(context._get(), ctypes.byref(volume), self._out()))

    @classmethod
    def read(cls, context: Context, path: Union[str, "os.PathLike[str]"], progress: Optional[Callable[[float, str], Any]] = None,
             cancel: Optional["Cancel"] = None) -> "Image":
        """Reads a NIfTI file as ITK does. For a model whose plan names another reader: Model.read_image."""
        image = cls(context)
        run = _FileRun(image._library, _FileOptions(), "file_options_init", progress, cancel)
        run.check(image._library.image_read_with(context._get(), os.fsencode(path), ctypes.byref(run.c), image._out()))
        return image

    def write(self, path: Union[str, "os.PathLike[str]"], progress: Optional[Callable[[float, str], Any]] = None,
              cancel: Optional["Cancel"] = None) -> None:
        """Writes .nii or .nii.gz, whole or not at all."""
        run = _FileRun(self._library, _FileOptions(), "file_options_init", progress, cancel)
        run.check(self._library.image_write_with(self._get(), os.fsencode(path), ctypes.byref(run.c)))

    def _view(self) -> _Volume:
        volume = _Volume()
        volume.struct_size = ctypes.sizeof(volume)
        self._library.check(self._library.image_view(self._get(), ctypes.byref(volume)))
        return volume

    @property
    def array(self) -> np.ndarray:
        v = self._view()
        shape, strides = [v.dims[2], v.dims[1], v.dims[0]], [v.strides[2], v.strides[1], v.strides[0]]
        if v.channels > 1:
            shape.insert(0, v.channels)
            strides.insert(0, v.channel_stride)
        return _array(v.data, v.data_bytes, np.dtype(_NAMES[v.dtype]), shape, strides, self._live())

    @property
    def spacing(self) -> Tuple[float, ...]:
        return tuple(self._view().spacing)

    @property
    def origin(self) -> Tuple[float, ...]:
        return tuple(self._view().origin)

    @property
    def direction(self) -> Tuple[float, ...]:
        return tuple(self._view().direction)


# Runs ---------------------------------------------------------------------------------------------------------------------------------


class Cancel(_Handle):
    """Stops runs, from any thread."""

    _release = "cancel_release"

    def __init__(self) -> None:
        super().__init__(_library())
        self._library.check(self._library.cancel_create(self._out()))

    def request(self) -> None:
        self._library.cancel_request(self._get())


class LabelStatistics(NamedTuple):
    """How much of one label was found."""

    value: int
    voxels: int
    millilitres: float
    touches_border: bool


class Report(NamedTuple):
    """Statistics (one entry per foreground label) and warnings of a run."""

    labels: List[LabelStatistics]
    warnings: List[str]


class Estimate(NamedTuple):
    """What a run would take."""

    peak_bytes: int
    tiles: int
    flops: float


def _take_report(library: _Library, handle: ctypes.c_void_p) -> Report:
    try:
        labels = []
        for index in range(library.report_label_count(handle)):
            stats = _LabelStats()
            stats.struct_size = ctypes.sizeof(stats)
            library.check(library.report_get_label(handle, index, ctypes.byref(stats)))
            labels.append(LabelStatistics(stats.value, stats.voxels, stats.millilitres, bool(stats.touches_border)))
        warnings = [library.report_warning(handle, index).decode("utf-8", "replace") for index in range(library.report_warning_count(handle))]
        return Report(labels, warnings)
    finally:
        library.report_release(handle)


class _FileRun:
    """Progress and cancellation of work on a file. progress(fraction, stage): False stops it, what it raises is raised from the call."""

    def __init__(self, library: _Library, options: Any, init: str, progress: Optional[Callable[[float, str], Any]], cancel: Optional[Cancel]) -> None:
        self.library = library
        self.failure = None  # type: Optional[BaseException]
        self.c = options
        getattr(library, init)(ctypes.byref(options), ctypes.sizeof(options))
        self._watch(progress, cancel)

    def _watch(self, progress: Optional[Callable[[float, str], Any]], cancel: Optional[Cancel], interruptible: bool = True) -> None:
        self._cancel = cancel
        if cancel is not None:
            self.c.cancel = cancel._get()
        if progress is not None or interruptible:  # entering Python now and then is what lets Ctrl-C in

            def forward(_user: Any, fraction: float, stage: bytes) -> int:
                try:
                    return 1 if progress is not None and progress(fraction, stage.decode("utf-8", "replace")) is False else 0
                except BaseException as failure:  # must not pass through C; raised again after the call
                    self.failure = failure
                    return 1

            self.c.progress = self._progress = _ProgressFn(forward)

    def check(self, status: int) -> None:
        if status == OK:
            return
        error = self.library.error(status)
        if self.failure is not None and status == E_CANCELLED:
            raise self.failure
        raise error


class _Run(_FileRun):
    """Options of a run, and everything that must live as long as it runs."""

    def __init__(self, library: _Library, interruptible: bool, tile_step: float = 0, mirror: Optional[Union[bool, Sequence[str]]] = None,
                 precision: Optional[str] = None, body_crop: bool = False, roi: Optional[Sequence[int]] = None,
                 label_subset: Optional[Sequence[int]] = None, max_bytes: Optional[int] = None,
                 progress: Optional[Callable[[float, str], Any]] = None, cancel: Optional[Cancel] = None) -> None:
        self.library = library
        self.failure = None
        self.c = options = _RunOptions()
        library.run_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.tile_step = tile_step
        if mirror is not None:
            axes = ("rows", "columns") if mirror is True else () if mirror is False else tuple(mirror)
            options.mirror_axes = sum({_choice(axis, {"rows": 1, "columns": 2}, "mirror") for axis in axes})
        options.precision = _choice(precision, _PRECISIONS, "precision")
        options.body_crop = 1 if body_crop else 0
        if roi is not None:
            options.roi[:] = [int(value) for value in _numbers(roi, 6, "roi")]
        if label_subset is not None:
            self._subset = (ctypes.c_int32 * max(len(label_subset), 1))(*label_subset)
            options.label_subset, options.label_subset_count = self._subset, len(label_subset)
        options.max_bytes = max_bytes or 0
        self._watch(progress, cancel, interruptible)


_RUNNING = weakref.WeakSet()  # type: Any


def _stop_jobs() -> None:
    for job in list(_RUNNING):
        job.close()


class Job(_Handle):
    """A segmentation on a thread of its own. `labels` and `probabilities` are being written until it has ended.

    Closing (or forgetting) a job cancels it and waits for its end.
    """

    _release = "job_release"

    def __init__(self, library: _Library, run: _FileRun, labels: Any, probabilities: Optional[np.ndarray], keeps: Any) -> None:
        super().__init__(library, keeps)
        self._run = run
        self.labels = labels
        self.probabilities = probabilities
        if not _RUNNING:
            atexit.unregister(_stop_jobs)
            atexit.register(_stop_jobs)  # a job's thread must not want Python when there is none any more
        _RUNNING.add(self)

    def wait(self, timeout: Optional[float] = None) -> bool:
        """True when it has ended well, False after `timeout` seconds. Raises what stopped it: what the progress function raised, or Error."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:  # in short waits, so that Ctrl-C comes through
            left = 0.1 if end is None else min(max(end - time.monotonic(), 0), 0.1)
            status = self._library.job_wait(self._get(), int(left * 1000 + 0.999))
            if status != E_TIMEOUT:
                self._run.check(status)
                return True
            if end is not None and time.monotonic() >= end:
                return False

    def result(self) -> Tuple[np.ndarray, Report]:
        """Waits, and returns labels and report."""
        self.wait()
        return self.labels, self.report

    @property
    def progress(self) -> float:
        return self._library.job_progress(self._get())

    def cancel(self) -> None:
        """Asks it to stop and returns at once."""
        self._library.job_cancel(self._get())

    @property
    def report(self) -> Report:
        handle = ctypes.c_void_p()
        self._library.check(self._library.job_report(self._get(), ctypes.byref(handle)))
        return _take_report(self._library, handle)

# Features -----------------------------------------------------------------------------------------------------------------------------


class Features(_Handle):
    """Patch tokens of the slices of a volume: `tokens` [slices, blocks, rows, columns, channels] is a read-only view of them."""

    _release = "features_release"

    @property
    def tokens(self) -> np.ndarray:
        t = _Tensor()
        t.struct_size = ctypes.sizeof(t)
        self._library.check(self._library.features_view(self._get(), ctypes.byref(t)))
        return _array(t.data, t.data_bytes, np.dtype(_NAMES[t.dtype]), t.shape[:t.ndim], t.strides[:t.ndim], self._live())

    def _grid(self) -> Tuple[int, int, int]:
        shape = self.tokens.shape
        return shape[0], shape[2], shape[3]

    def pca(self, mask: Optional[np.ndarray] = None) -> np.ndarray:
        """Colours of the first three principal components: uint8 [3, slices, rows, columns]. mask: on the input's grid."""
        rgb = np.zeros((3,) + self._grid(), np.uint8)
        out = _volume(self._library, rgb, output=True)
        masked = None if mask is None else _volume(self._library, mask)
        self._library.check(self._library.features_pca(self._get(), None if masked is None else ctypes.byref(masked), ctypes.byref(out)))
        return rgb

    def similarity(self, points: Any) -> np.ndarray:
        """Cosine similarity to the tokens under points (n × x, y, z in mm): float32 [slices, rows, columns]."""
        list_ = np.ascontiguousarray(points, dtype=np.float64).reshape(-1)
        if list_.size == 0 or list_.size % 3:
            raise ValueError("points have %d values, expected x, y, z for each" % list_.size)
        cosine = np.zeros(self._grid(), np.float32)
        out = _volume(self._library, cosine, output=True)
        self._library.check(self._library.features_similarity(self._get(), list_.ctypes.data, list_.size // 3, ctypes.byref(out)))
        return cosine

# Models -------------------------------------------------------------------------------------------------------------------------------


class Label(NamedTuple):
    """One value of a label map."""

    value: int
    name: str
    rgba: Tuple[int, int, int, int]
    coding_scheme: Optional[str]
    code: Optional[str]


class ModelInfo(NamedTuple):
    """What a model is: see meddino_model_info."""

    labels: int
    heads: int
    output_kind: str
    channels: int
    patch: int
    embed_dim: int
    depth: int
    members: int
    tile: Tuple[int, int]
    spacing: Tuple[float, float]
    weights_bytes: int


def _text(value: Optional[bytes]) -> Optional[str]:
    return None if value is None else value.decode("utf-8", "replace")


def _forget(user: Any, _data: Any) -> None:
    _MEMORY_OPEN.pop(user, None)


_FORGET = _FreeFn(_forget)


class Model(_Handle):
    """A network, or several whose outputs are averaged, with plan and labels. Made by `open`, `from_bytes`, `create` and `combine`.

    Options of runs: tile_step, mirror (True, False or ("rows", "columns")), precision ("float32", "bfloat16"), body_crop, roi (x0, x1,
    y0, y1, z0, z1), label_subset, max_bytes, cancel, and progress(fraction, stage): False stops the run, what it raises stops the run
    and is raised from the call.
    """

    _release = "model_release"

    @classmethod
    def open(cls, context: Context, path: Union[str, "os.PathLike[str]"], folds: Sequence[int] = (), checkpoint: Optional[str] = None,
             configuration: Optional[str] = None, rope: Optional[str] = None) -> "Model":
        """Opens a model file, a checkpoint or a folder. rope: "bfloat16" or "float32" where a checkpoint's layout implies the other."""
        model = cls(context._library, context._live())
        options = _ModelOptions()
        model._library.model_options_init(ctypes.byref(options), ctypes.sizeof(options))
        for fold in folds:
            if not 0 <= fold < 64:
                raise ValueError("fold %d, expected 0 to 63" % fold)
            options.fold_mask |= 1 << fold
        options.checkpoint = None if checkpoint is None else checkpoint.encode()
        options.configuration = None if configuration is None else configuration.encode()
        options.rope = _choice(rope, _ROPES, "rope")
        model._library.check(model._library.model_open(context._get(), os.fsencode(path), ctypes.byref(options), model._out()))
        return model

    @classmethod
    def from_bytes(cls, context: Context, data: bytes) -> "Model":
        """Opens a model file or checkpoint in memory. The bytes are not copied."""
        model = cls(context._library, context._live())
        held = bytes(data)
        address = ctypes.cast(ctypes.c_char_p(held), ctypes.c_void_p).value
        key = next(_KEYS)
        _MEMORY_OPEN[key] = held
        model._library.check(model._library.model_open_memory(context._get(), address, len(held), _FORGET, key, model._out()))
        return model

    @classmethod
    def create(cls, context: Context, config_json: str, seed: int = 0) -> "Model":
        """A fresh network with random weights."""
        model = cls(context._library, context._live())
        model._library.check(model._library.model_create(context._get(), config_json.encode(), seed, model._out()))
        return model

    @classmethod
    def combine(cls, models: Sequence["Model"]) -> "Model":
        """One model of the members of all."""
        if not models:
            raise ValueError("no model given, expected at least one")
        model = cls(models[0]._library, [other._live() for other in models])
        handles = (ctypes.c_void_p * len(models))(*[other._get() for other in models])
        model._library.check(model._library.model_combine(handles, len(models), model._out()))
        return model

    def save(self, path: Union[str, "os.PathLike[str]"], precision: Optional[str] = None, progress: Optional[Callable[[float, str], Any]] = None,
             cancel: Optional[Cancel] = None) -> None:
        """Writes one .safetensors file that `open` opens, whole or not at all. precision "bfloat16" halves it and rounds the weights."""
        run = _FileRun(self._library, _SaveOptions(), "save_options_init", progress, cancel)
        run.c.precision = _choice(precision, _PRECISIONS, "precision")
        run.check(self._library.model_save_with(self._get(), os.fsencode(path), ctypes.byref(run.c)))

    def verify(self, progress: Optional[Callable[[float, str], Any]] = None, cancel: Optional[Cancel] = None) -> None:
        """Raises Error when the weights are not those that the file's SHA-256 was made of, or when there is none."""
        run = _FileRun(self._library, _FileOptions(), "file_options_init", progress, cancel)
        run.check(self._library.model_verify(self._get(), ctypes.byref(run.c)))

    def read_image(self, path: Union[str, "os.PathLike[str]"], progress: Optional[Callable[[float, str], Any]] = None,
                   cancel: Optional[Cancel] = None) -> Image:
        """Reads an image file by the rules of the reader that the model's plan names."""
        image = Image.__new__(Image)
        _Handle.__init__(image, self._library, self._live())
        run = _FileRun(self._library, _FileOptions(), "file_options_init", progress, cancel)
        run.check(self._library.image_read_for(self._get(), os.fsencode(path), ctypes.byref(run.c), image._out()))
        return image

    @property
    def info(self) -> ModelInfo:
        i = _ModelInfo()
        i.struct_size = ctypes.sizeof(i)
        self._library.check(self._library.model_get_info(self._get(), ctypes.byref(i)))
        return ModelInfo(i.labels, i.heads, _OUTPUTS.get(i.output_kind, str(i.output_kind)), i.channels, i.patch, i.embed_dim, i.depth, i.members,
                         (i.tile[0], i.tile[1]), (i.spacing[0], i.spacing[1]), i.weights_bytes)

    @property
    def labels(self) -> List[Label]:
        """Background first."""
        result = []
        for index in range(self.info.labels):
            c = _Label()
            c.struct_size = ctypes.sizeof(c)
            self._library.check(self._library.model_get_label(self._get(), index, ctypes.byref(c)))
            rgba = (c.rgba[0], c.rgba[1], c.rgba[2], c.rgba[3])
            result.append(Label(c.value, _text(c.name) or "", rgba, _text(c.coding_scheme), _text(c.code)))
        return result

    def metadata(self, key: str) -> Optional[str]:
        """A text that the model carries, such as "plans"; None if it does not."""
        return _text(self._library.model_metadata(self._get(), key.encode()))

    def estimate(self, shape: Sequence[int], spacing: Sequence[float] = (1, 1, 1), **options: Any) -> Estimate:
        """What a run over a volume of shape (z, y, x) would take."""
        run = _Run(self._library, True, **options)
        volume = _Volume()
        self._library.volume_init(ctypes.byref(volume), ctypes.sizeof(volume))
        volume.dims[:] = [int(extent) for extent in reversed(_numbers(shape, 3, "shape"))]
        volume.spacing[:] = _numbers(spacing, 3, "spacing")
        volume.channels = self.info.channels
        result = _Estimate()
        result.struct_size = ctypes.sizeof(result)
        self._library.check(self._library.estimate_run(self._get(), ctypes.byref(volume), ctypes.byref(run.c), ctypes.byref(result)))
        return Estimate(result.peak_bytes, result.tiles, result.flops)

    def _arguments(self, image: Any, spacing: Any, origin: Any, direction: Any, space: str, modality: Any, out: Any, probabilities: Any) -> Any:
        channels = list(image) if isinstance(image, (list, tuple)) else [image]
        views = [_volume(self._library, channel, spacing, origin, direction, space, modality) for channel in channels]
        if not views:
            raise ValueError("no channel given, expected at least one")
        grid = channels[0].shape[-3:]
        if out is None:
            values = [label.value for label in self.labels]
            out = np.empty(grid, np.uint8 if max(values + [0]) < 256 else np.uint16)
        target = _volume(self._library, out, output=True)
        if probabilities is True:
            probabilities = np.empty((max(self.info.heads, 1),) + ((1,) + grid)[-3:], np.float32)
        elif probabilities is False:
            probabilities = None
        scores = None if probabilities is None else _volume(self._library, probabilities, output=True)
        pointers = (ctypes.POINTER(_Volume) * len(views))(*[ctypes.pointer(view) for view in views])
        return channels, views, pointers, out, target, probabilities, scores

    def segment(self, image: Union[np.ndarray, Sequence[np.ndarray]], spacing: Sequence[float] = (1, 1, 1), origin: Sequence[float] = (0, 0, 0),
                direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1), space: str = "LPS", modality: Optional[str] = None,
                out: Optional[np.ndarray] = None, probabilities: Union[bool, np.ndarray] = False,
                **options: Any) -> Any:
        """Labels an array (z, y, x) or (y, x), or a list of arrays, one per input channel; (c, z, y, x) brings several.

        out: an integer array to write to; probabilities: True, or a float32 array (heads, z, y, x) to write to.
        Returns (labels, report), with probabilities (labels, report, probabilities).
        """
        run = _Run(self._library, True, **options)
        channels, views, pointers, labels, target, scores, scores_view = self._arguments(
            image, spacing, origin, direction, space, modality, out, probabilities)
        handle = ctypes.c_void_p()
        run.check(self._library.segment(
            self._get(), pointers, len(views), ctypes.byref(run.c), ctypes.byref(target), None if scores_view is None else ctypes.byref(scores_view),
            ctypes.byref(handle)))
        report = _take_report(self._library, handle)
        return (labels, report) if scores is None else (labels, report, scores)

    def segment_async(self, image: Union[np.ndarray, Sequence[np.ndarray]], spacing: Sequence[float] = (1, 1, 1), origin: Sequence[float] = (0, 0, 0),
                      direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1), space: str = "LPS", modality: Optional[str] = None,
                      out: Optional[np.ndarray] = None, probabilities: Union[bool, np.ndarray] = False, **options: Any) -> Job:
        """The same on a thread of its own. The arrays must not be changed until the job has ended."""
        run = _Run(self._library, False, **options)
        channels, views, pointers, labels, target, scores, scores_view = self._arguments(
            image, spacing, origin, direction, space, modality, out, probabilities)
        job = Job(self._library, run, labels, scores, (run, self._live(), channels, views, target, scores_view))
        self._library.check(self._library.segment_async(
            self._get(), pointers, len(views), ctypes.byref(run.c), ctypes.byref(target), None if scores_view is None else ctypes.byref(scores_view),
            job._out()))
        return job

    def segment_image(self, image: Image, **options: Any) -> Tuple[Image, Report]:
        """From image to image."""
        run = _Run(self._library, True, **options)
        labels = Image.__new__(Image)
        _Handle.__init__(labels, self._library, (image._live(), self._live()))
        handle = ctypes.c_void_p()
        run.check(self._library.segment_image(self._get(), image._get(), ctypes.byref(run.c), labels._out(), ctypes.byref(handle)))
        return labels, _take_report(self._library, handle)

    def features(self, image: np.ndarray, spacing: Sequence[float] = (1, 1, 1), origin: Sequence[float] = (0, 0, 0),
                 direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1), space: str = "LPS", blocks: Sequence[int] = (), apply_norm: bool = True,
                 input_size: Tuple[int, int] = (0, 0), slices: Tuple[int, int] = (0, 0), **options: Any) -> Features:
        """Patch tokens of the slices of an array. Of the options of a run precision, max_bytes, progress and cancel are used."""
        run = _Run(self._library, True, **options)
        wanted = _FeatureOptions()
        self._library.feature_options_init(ctypes.byref(wanted), ctypes.sizeof(wanted))
        if len(blocks) > 8:
            raise ValueError("%d blocks, expected at most 8" % len(blocks))
        wanted.block_count = len(blocks)
        for index, block in enumerate(blocks):
            wanted.blocks[index] = block
        wanted.apply_norm = 1 if apply_norm else 0
        wanted.input_size[:] = [int(extent) for extent in input_size]
        wanted.slice_begin, wanted.slice_end = slices
        volume = _volume(self._library, image, spacing, origin, direction, space)
        features = Features(self._library, self._live())
        run.check(self._library.features_create(self._get(), ctypes.byref(volume), ctypes.byref(wanted), ctypes.byref(run.c), features._out()))
        return features

# Evaluation ---------------------------------------------------------------------------------------------------------------------------


class StructureScores(NamedTuple):
    """One structure of a prediction beside its reference: see meddino_structure_scores. NaN where a score has no meaning."""

    value: int
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    dice: float
    iou: float
    nsd: float
    hd95_mm: float


def evaluate(context: Context, reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float] = (1, 1, 1),
             structures: Optional[Sequence[Union[int, Sequence[int]]]] = None, tolerance_mm: float = 1, distances: bool = True,
             ignore_label: Optional[int] = None, max_bytes: Optional[int] = None, progress: Optional[Callable[[float, str], Any]] = None,
             cancel: Optional[Cancel] = None) -> List[StructureScores]:
    """Compares two label arrays of one shape. structures: label values, or tuples of values whose union is one structure; None: every
    value found, ascending. spacing is that of the reference in mm."""
    library = context._library
    run = _FileRun(library, _EvaluationOptions(), "evaluation_options_init", progress, cancel)
    run.c.tolerance_mm, run.c.distances, run.c.max_bytes = tolerance_mm, 1 if distances else 0, max_bytes or 0
    if ignore_label is not None:
        run.c.ignore_label = ignore_label
    if structures is not None:
        members = [[int(one)] if isinstance(one, (int, np.integer)) else [int(value) for value in one] for one in structures]
        flat = [value for one in members for value in one]
        values, counts = (ctypes.c_int32 * max(len(flat), 1))(*flat), (ctypes.c_int32 * max(len(members), 1))(*[len(one) for one in members])
        run.c.values, run.c.counts, run.c.structures = values, counts, len(members)
    expected, found = _volume(library, reference, spacing), _volume(library, prediction, spacing)
    handle = ctypes.c_void_p()
    run.check(library.evaluate(context._get(), ctypes.byref(expected), ctypes.byref(found), ctypes.byref(run.c), ctypes.byref(handle)))
    try:
        result = []
        for index in range(library.evaluation_count(handle)):
            s = _StructureScores()
            s.struct_size = ctypes.sizeof(s)
            library.check(library.evaluation_get(handle, index, ctypes.byref(s)))
            result.append(StructureScores(s.value, s.true_positives, s.false_positives, s.false_negatives, s.true_negatives, s.dice, s.iou, s.nsd, s.hd95_mm))
        return result
    finally:
        library.evaluation_release(handle)

# Training -----------------------------------------------------------------------------------------------------------------------------


class Metrics(NamedTuple):
    """What a step, an epoch or a validation was like: see meddino_metrics. NaN where a number has no meaning."""

    step: int
    epoch: int
    loss: float
    cross_entropy: float
    dice_loss: float
    gradient_norm: float
    learning_rate: float
    validation_loss: float
    mean_dice: float
    ema_dice: float
    best_ema_dice: float
    seconds: float
    finished: bool
    is_best: bool
    dino_local_loss: float
    dino_global_loss: float
    koleo_loss: float
    ibot_loss: float
    gram_loss: float
    gram_weight: float
    last_layer_learning_rate: float
    weight_decay: float
    momentum: float
    teacher_temperature: float


class TrainEstimate(NamedTuple):
    """What one update would take."""

    peak_bytes: int
    step_flops: float


class _TrainRun(_FileRun):
    """Options of a call of training, and of a trainer's later calls."""

    def __init__(self, library: _Library, settings: Any, max_bytes: Optional[int], progress: Optional[Callable[[float, str], Any]],
                 cancel: Optional[Cancel], stage: int = 0, gram_teacher: Optional["Model"] = None) -> None:
        super().__init__(library, _TrainOptions(), "train_options_init", progress, cancel)
        if settings is not None:
            text = settings if isinstance(settings, str) else json.dumps(settings)
            self.c.settings_json = text.encode()
        self.c.max_bytes = max_bytes or 0
        self.c.objective = stage
        self.c.gram_teacher = None if gram_teacher is None else gram_teacher._get()


def _tensor(array: Any, name: str) -> _Tensor:
    """A view of the array's own memory, which it keeps alive."""
    if not isinstance(array, np.ndarray):
        raise TypeError("%s: expected a numpy array, got %s" % (name, type(array).__name__))
    if array.dtype.name not in _DTYPES or not array.dtype.isnative:
        raise TypeError("%s: dtype %s is not supported, expected one of %s" % (name, array.dtype, ", ".join(sorted(_DTYPES))))
    if not 1 <= array.ndim <= 8:
        raise ValueError("%s: the array has %d axes, expected at most 8" % (name, array.ndim))
    if not any(array.strides):  # repeated elements: 0 means packed in C
        array = np.ascontiguousarray(array)
    tensor = _Tensor()
    tensor.struct_size, tensor.dtype, tensor.ndim = ctypes.sizeof(tensor), _DTYPES[array.dtype.name], array.ndim
    tensor.shape[:array.ndim], tensor.strides[:array.ndim] = array.shape, array.strides
    tensor.data = array.ctypes.data
    tensor.data_bytes = sum((count - 1) * abs(stride) for count, stride in zip(array.shape, array.strides)) + array.itemsize if array.size else 0
    tensor._array = array
    return tensor


class _SliceSource:
    """A function that gives slices, and what it raised."""

    def __init__(self, library: _Library, get: Callable[[int], np.ndarray], spacing: Sequence[float]) -> None:
        self._library, self._get, self._spacing = library, get, spacing
        self.failure = None  # type: Optional[BaseException]
        self._held = None  # type: Any
        self.thunk = _SliceFn(self._call)

    def _call(self, user: Any, index: int, slice: Any) -> int:
        try:
            array = np.asarray(self._get(index))
            if array.ndim != 2:
                raise ValueError("slice %d has %d axes, expected rows and columns" % (index, array.ndim))
            view = _volume(self._library, array[np.newaxis], tuple(self._spacing) + (1,), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1), "LPS")
            self._held = (array, view)
            ctypes.memmove(slice, ctypes.byref(view), ctypes.sizeof(view))
            return 0
        except BaseException as failure:  # ctypes would swallow it
            self.failure = failure
            return 1


def _slice_options(library: _Library, skip_damaged: bool = False, spacing: float = 0) -> _SliceOptions:
    options = _SliceOptions()
    library.slice_options_init(ctypes.byref(options), ctypes.sizeof(options))
    options.skip_damaged, options.spacing = int(skip_damaged), spacing
    return options


class Dataset(_Handle):
    """Cases to train on: `open` a folder that `prepare` made, or `create` an empty one with the plan and labels of a model and `add` to it.

    A dataset from memory has no folds: every case trains and validates.
    """

    _release = "dataset_release"
    _source = None  # type: Optional[_SliceSource]

    @staticmethod
    def prepare(context: Context, raw: Union[str, "os.PathLike[str]"], prepared: Union[str, "os.PathLike[str]"], settings: Any = None,
                max_bytes: Optional[int] = None, progress: Optional[Callable[[float, str], Any]] = None, cancel: Optional[Cancel] = None) -> None:
        """Checks a raw nnU-Net folder and prepares it under `prepared`/<its name>. settings: {"upscale": 896, ...} or their JSON text."""
        run = _TrainRun(context._library, settings, max_bytes, progress, cancel)
        run.check(context._library.dataset_prepare(context._get(), os.fsencode(raw), os.fsencode(prepared), ctypes.byref(run.c)))

    @classmethod
    def open(cls, context: Context, folder: Union[str, "os.PathLike[str]"], configuration: Optional[str] = None) -> "Dataset":
        """Opens a prepared folder. configuration: needed where several are prepared."""
        dataset = cls(context._library, context._live())
        name = None if configuration is None else configuration.encode()
        dataset._library.check(dataset._library.dataset_open(context._get(), os.fsencode(folder), name, dataset._out()))
        return dataset

    @classmethod
    def create(cls, like: Model) -> "Dataset":
        """An empty dataset for cases like those that the model segments."""
        dataset = cls(like._library, like._live())
        dataset._library.check(dataset._library.dataset_create(like._get(), dataset._out()))
        return dataset

    @classmethod
    def open_slices(cls, context: Context, folder: Union[str, "os.PathLike[str]"], skip_damaged: bool = False) -> "Dataset":
        """Slices to pretrain on: a folder of shards that `meddino curate` made. skip_damaged: pass over what is damaged, and log it."""
        dataset = cls(context._library, context._live())
        options = _slice_options(dataset._library, skip_damaged=skip_damaged)
        dataset._library.check(dataset._library.dataset_open_slices(context._get(), os.fsencode(folder), ctypes.byref(options), dataset._out()))
        return dataset

    @classmethod
    def from_slices(cls, context: Context, count: int, get: Callable[[int], np.ndarray], spacing: Sequence[float] = (1, 1),
                    resample: Optional[float] = None) -> "Dataset":
        """Slices to pretrain on that a function gives whenever one is needed: get(index) returns an array [rows, columns] in Hounsfield units,
        always the same for an index. spacing: mm of columns and rows; resample: the spacing they are brought to. What `get` raises is raised
        from the trainer's call."""
        source = _SliceSource(context._library, get, spacing)
        dataset = cls(context._library, (source, context._live()))
        dataset._source = source
        options = _slice_options(dataset._library, spacing=resample or 0)
        dataset._library.check(dataset._library.dataset_from_slices(context._get(), count, source.thunk, None, ctypes.byref(options), dataset._out()))
        return dataset

    def add(self, identifier: str, image: Union[np.ndarray, Sequence[np.ndarray]], labels: np.ndarray, spacing: Sequence[float] = (1, 1, 1),
            origin: Sequence[float] = (0, 0, 0), direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1), space: str = "LPS",
            max_bytes: Optional[int] = None, progress: Optional[Callable[[float, str], Any]] = None, cancel: Optional[Cancel] = None) -> None:
        """Prepares and keeps one case: arrays as for Model.segment, labels on the same grid. The same identifier replaces a case."""
        channels = list(image) if isinstance(image, (list, tuple)) else [image]
        views = [_volume(self._library, channel, spacing, origin, direction, space) for channel in channels]
        target = _volume(self._library, labels, spacing, origin, direction, space)
        pointers = (ctypes.POINTER(_Volume) * max(len(views), 1))(*[ctypes.pointer(view) for view in views])
        run = _TrainRun(self._library, None, max_bytes, progress, cancel)
        run.check(self._library.dataset_add(self._get(), identifier.encode(), pointers, len(views), ctypes.byref(target), ctypes.byref(run.c)))

    def __len__(self) -> int:
        return int(self._library.dataset_count(self._get()))

    @property
    def identifiers(self) -> List[str]:
        """In training order. Slices have none."""
        names = [_text(self._library.dataset_case(self._get(), index)) for index in range(len(self))]
        return [name for name in names if name is not None]


class TrainingJob(Job):
    """Training on a thread of its own: every epoch that is left. Until it has ended the trainer does nothing else."""

    def result(self) -> Any:
        """Waits, and returns the trainer."""
        self.wait()
        return self.labels


class Trainer(_Handle):
    """One training run. settings: a dict (or JSON text) with the keys of `meddino finetune --print-config`.

    `start` is a segmenter to go on from, a backbone, or None for random weights; `dataset` is where batches come from, None for
    `step_batch` alone. progress(fraction, stage) and cancel hold for every later call of the trainer: progress may return False to stop a
    call, what it raises is raised from the call, and the next call goes on as if nothing had been stopped.

    stage 1, 2 or 3 pretrains on slices instead, with the keys of `meddino pretrain --print-config` and "preset" and "output"; gram_teacher is
    the anchor of stages 2 and 3.
    """

    _release = "trainer_release"
    _source = None  # type: Optional[_SliceSource]

    def __init__(self, context: Context, start: Optional[Model] = None, dataset: Optional[Dataset] = None, settings: Any = None,
                 max_bytes: Optional[int] = None, progress: Optional[Callable[[float, str], Any]] = None, cancel: Optional[Cancel] = None,
                 stage: int = 0, gram_teacher: Optional[Model] = None) -> None:
        self._run = run = _TrainRun(context._library, settings, max_bytes, progress, cancel, stage, gram_teacher)
        self._source = None if dataset is None else dataset._source
        super().__init__(context._library, (run, self._source, context._live()))
        self._finished = False
        self._check(self._library.trainer_create(
            context._get(), None if start is None else start._get(), None if dataset is None else dataset._get(), ctypes.byref(run.c), self._out()))

    @classmethod
    def resume(cls, context: Context, path: Union[str, "os.PathLike[str]"], dataset: Optional[Dataset] = None, max_bytes: Optional[int] = None,
               progress: Optional[Callable[[float, str], Any]] = None, cancel: Optional[Cancel] = None) -> "Trainer":
        """Goes on from a file that `save` wrote, with the bits of a run that was never stopped."""
        trainer = cls.__new__(cls)
        trainer._run = run = _TrainRun(context._library, None, max_bytes, progress, cancel)
        trainer._source = None if dataset is None else dataset._source
        _Handle.__init__(trainer, context._library, (run, trainer._source, context._live()))
        trainer._finished = False
        trainer._check(trainer._library.trainer_resume(
            context._get(), os.fsencode(path), None if dataset is None else dataset._get(), ctypes.byref(run.c), trainer._out()))
        return trainer

    @staticmethod
    def estimate(context: Context, start: Optional[Model] = None, dataset: Optional[Dataset] = None, settings: Any = None,
                 stage: int = 0) -> TrainEstimate:
        """Memory and arithmetic of one update, from shapes alone."""
        run = _TrainRun(context._library, settings, None, None, None, stage)
        result = _TrainEstimate()
        result.struct_size = ctypes.sizeof(result)
        run.check(context._library.trainer_estimate(
            context._get(), None if start is None else start._get(), None if dataset is None else dataset._get(), ctypes.byref(run.c),
            ctypes.byref(result)))
        return TrainEstimate(result.peak_bytes, result.step_flops)

    def _check(self, status: int) -> None:
        failure, self._run.failure = self._run.failure, None
        if self._source is not None and self._source.failure is not None:
            failure, self._source.failure = failure or self._source.failure, None
        if failure is not None and status == E_CANCELLED:
            raise failure
        self._library.check(status)

    def _measured(self, function: Any, *arguments: Any) -> Metrics:
        m = _Metrics()
        m.struct_size = ctypes.sizeof(m)
        self._check(function(self._get(), *(arguments + (ctypes.byref(m),))))
        self._finished = bool(m.finished)
        values = {name: getattr(m, name) for name in Metrics._fields}
        values.update(finished=bool(m.finished), is_best=bool(m.is_best))
        # One NaN object, so that equal metrics compare equal.
        return Metrics(**{name: math.nan if value != value else value for name, value in values.items()})

    def step(self) -> Metrics:
        """One update on the next batch."""
        return self._measured(self._library.trainer_step)

    def step_batch(self, images: np.ndarray, targets: np.ndarray) -> Metrics:
        """One update on a batch of your own: images float32 [batch, channels, rows, columns], normalised; targets [batch, rows, columns] of label
        values, of any integer type. Arrays of any strides are read in place."""
        return self._measured(
            self._library.trainer_step_batch, ctypes.byref(_tensor(images, "images")), ctypes.byref(_tensor(targets, "targets")))

    def epoch(self) -> Metrics:
        """The rest of the epoch, with validation."""
        return self._measured(self._library.trainer_epoch)

    def epochs(self) -> Iterator[Metrics]:
        """Every epoch that is left: `for metrics in trainer.epochs(): ...`"""
        while not self._finished:
            yield self.epoch()

    def validate(self) -> Metrics:
        """Loss and pseudo Dice over the validation batches; nothing changes."""
        return self._measured(self._library.trainer_validate)

    def run_async(self) -> TrainingJob:
        """Every epoch that is left, on a thread of its own."""
        job = TrainingJob(self._library, self._run, self, None, (self._run, self._live()))
        self._run.failure = None
        self._library.check(self._library.trainer_run_async(self._get(), job._out()))
        return job

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes everything that `resume` needs, whole or not at all."""
        self._check(self._library.trainer_save(self._get(), os.fsencode(path)))

    def export(self) -> Model:
        """The model as it stands, usable at once; it does not change when the trainer goes on."""
        model = Model(self._library, self._live().keeps)
        self._check(self._library.trainer_export(self._get(), model._out()))
        return model
