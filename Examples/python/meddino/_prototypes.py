"""Results and arguments of every function of meddino.h, by name without `meddino_`."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Tuple

from ._structs import _FreeFn

_P, _S, _I, _Z = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_size_t
PROTOTYPES: Dict[str, Tuple[Any, List[Any]]] = {
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
    "trainer_finished": (ctypes.c_int32, [_P]),
    "trainer_run_async": (_I, [_P, _P]), "trainer_save": (_I, [_P, _S]), "trainer_resume": (_I, [_P, _S, _P, _P, _P]),
    "trainer_export": (_I, [_P, _P]), "trainer_release": (None, [_P]),
    "slice_options_init": (None, [_P, _Z]), "dataset_open_slices": (_I, [_P, _S, _P, _P]),
    "dataset_from_slices": (_I, [_P, ctypes.c_int64, _P, _P, _P, _P]),
}
