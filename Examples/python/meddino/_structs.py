"""The structs, callbacks and constants of meddino.h for ctypes. Tests compare them with the recorded layouts."""

from __future__ import annotations

import ctypes
from typing import Dict, Optional

DTYPES: Dict[str, int] = {
    "uint8": 1, "int16": 2, "uint16": 3, "int32": 4, "float32": 5, "float16": 6, "float64": 7, "int8": 9, "uint32": 10, "int64": 11, "uint64": 12}
DTYPE_NAMES: Dict[int, str] = {code: name for name, code in DTYPES.items()}
DTYPE_NAMES[8] = "uint16"  # bfloat16: numpy has no name for it; the bits are given as they are
SPACES: Dict[str, int] = {"LPS": 1, "RAS": 2}
MODALITIES: Dict[Optional[str], int] = {None: 0, "CT": 1, "MR": 2}
PRECISIONS: Dict[Optional[str], int] = {None: 0, "float32": 1, "bfloat16": 2, "f32": 1, "bf16": 2}
ROPES: Dict[Optional[str], int] = {None: 0, "bfloat16": 1, "float32": 2, "bf16": 1, "f32": 2}
OUTPUTS: Dict[int, str] = {1: "labels", 2: "regions", 3: "none"}

# Pointers are plain numbers here: _callbacks.py wants 0 where C has NULL, not None.
_LogFn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p)
_ProgressFn = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_size_t, ctypes.c_double, ctypes.c_size_t)
_FreeFn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_SliceFn = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_size_t, ctypes.c_int64, ctypes.c_size_t)


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


class _SliceOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("skip_damaged", ctypes.c_int32), ("concurrent", ctypes.c_int32), ("spacing", ctypes.c_double),
                ("done", ctypes.c_void_p)]


_PRETRAINING = ("dino_local_loss", "dino_global_loss", "koleo_loss", "ibot_loss", "gram_loss", "gram_weight", "last_layer_learning_rate",
                "weight_decay", "momentum", "teacher_temperature", "teacher_entropy", "teacher_patch_entropy")


class _Metrics(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("step", ctypes.c_int64), ("epoch", ctypes.c_int64)] + [
        (name, ctypes.c_double) for name in ("loss", "cross_entropy", "dice_loss", "gradient_norm", "learning_rate", "validation_loss", "mean_dice",
                                             "ema_dice", "best_ema_dice", "seconds")] + [("finished", ctypes.c_int32), ("is_best", ctypes.c_int32)] + [
                                                 (name, ctypes.c_double) for name in _PRETRAINING]


class _TrainEstimate(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("peak_bytes", ctypes.c_uint64), ("step_flops", ctypes.c_double)]
