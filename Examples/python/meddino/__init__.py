"""meddino for Python: the C API through ctypes, arrays through numpy.

    import meddino
    context = meddino.Context()
    model = meddino.Model.open(context, "organs.safetensors")
    labels, report = model.segment(meddino.Volume.from_sitk(image))
    sitk.WriteImage(labels.to_sitk(), "labels.nii.gz")

Arrays are indexed (z, y, x), with several channels (c, z, y, x); they are used in place, whatever their strides. spacing, origin and
direction are in the order x, y, z, millimetres, LPS (or RAS with space="RAS"), as SimpleITK gives them; a Volume has them beside its array.

The library is loaded when the first context is made (or by `load`), never at import. It is looked for at the path given to `load`,
at the environment variable MEDDINO_LIBRARY, inside this package, and where the system keeps its libraries.
"""

from . import pictures
from ._library import build_info, load, version
from ._runs import RunOptions
from ._version import __version__
from .contexts import Cancel, Context
from .datasets import Dataset
from .errors import (
    E_CANCELLED, E_FORMAT, E_INTERNAL, E_INVALID, E_IO, E_NOMEM, E_SHAPE, E_STATE, E_TIMEOUT, E_UNSUPPORTED, OK, CancelledError, Error, FileError,
    FormatError, InvalidError, NoMemoryError, ShapeError, StateError, UnsupportedError)
from .evaluation import StructureScores, evaluate
from .features import Features
from .images import Image
from .jobs import Job, LabelStatistics, Report
from .models import Estimate, Label, Model, ModelInfo
from .pretraining import Pretrainer
from .training import Metrics, TrainEstimate, Trainer, TrainingJob
from .volumes import Volume

__all__ = [
    "Cancel", "CancelledError", "Context", "Dataset", "E_CANCELLED", "E_FORMAT", "E_INTERNAL", "E_INVALID", "E_IO", "E_NOMEM", "E_SHAPE", "E_STATE",
    "E_TIMEOUT", "E_UNSUPPORTED", "Error", "Estimate", "Features", "FileError", "FormatError", "Image", "InvalidError", "Job", "Label",
    "LabelStatistics", "Metrics", "Model", "ModelInfo", "NoMemoryError", "OK", "Pretrainer", "Report", "RunOptions", "ShapeError", "StateError",
    "StructureScores", "TrainEstimate", "Trainer", "TrainingJob", "UnsupportedError", "Volume", "__version__", "build_info", "evaluate", "load",
    "pictures", "version"]
