"""Patch tokens as arrays."""

from __future__ import annotations

import ctypes
from typing import Any, Optional, Tuple, Union

import numpy as np

from ._handles import Handle
from ._structs import DTYPE_NAMES, _Tensor
from ._types import Array
from .volumes import Volume, borrowed, placed, result_view, view


class Features(Handle):
    """Patch tokens of the slices of a volume: `tokens` [slices, blocks, rows, columns, channels] is a read-only view of them."""

    _release = "features_release"

    @property
    def tokens(self) -> Array:
        """float32 [slices, blocks, rows, columns, channels]; the view keeps them alive."""
        t = _Tensor()
        t.struct_size = ctypes.sizeof(t)
        self._library.check(self._library.features_view(self._get(), ctypes.byref(t)))
        return borrowed(t.data, t.data_bytes, DTYPE_NAMES[t.dtype], t.shape[:t.ndim], t.strides[:t.ndim], self._live())

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Array:
        tokens = self.tokens if dtype is None else self.tokens.astype(dtype, copy=False)
        return tokens.copy() if copy else tokens

    def _grid(self) -> Tuple[int, int, int]:
        shape = self.tokens.shape
        return shape[0], shape[2], shape[3]

    def pca(self, mask: Union[None, Array, Volume] = None) -> Array:
        """Colours of the first three principal components: uint8 [3, slices, rows, columns]. mask: on the input's grid."""
        rgb = np.zeros((3,) + self._grid(), np.uint8)
        out = result_view(self._library, rgb)
        masked = None if mask is None else view(self._library, placed(mask))
        self._library.check(self._library.features_pca(self._get(), None if masked is None else ctypes.byref(masked), ctypes.byref(out)))
        return rgb

    def similarity(self, points: Any) -> Array:
        """Cosine similarity to the mean of the tokens under points (n × x, y, z in mm, in the input's space): float32 [slices, rows, columns]."""
        flat = np.ascontiguousarray(points, dtype=np.float64).reshape(-1)
        if flat.size == 0 or flat.size % 3:
            raise ValueError("points have %d values, expected x, y, z for each" % flat.size)
        cosine = np.zeros(self._grid(), np.float32)
        out = result_view(self._library, cosine)
        self._library.check(self._library.features_similarity(self._get(), flat.ctypes.data, flat.size // 3, ctypes.byref(out)))
        return cosine
