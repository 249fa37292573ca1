"""Builds the wheel (PEP 427) and the source archive, with the standard library alone: a PEP 517 and 660 backend, and a command.

    meddino_wheel.py [--library libmeddino.so] [--output FOLDER]

With a library (or MEDDINO_LIBRARY, or --config-settings library=PATH of pip) it lies inside the wheel, whose tag says the oldest glibc and the
processor that the library works with. Without one the wheel is for any machine and finds the library that the system has.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import pathlib
import re
import stat
import sys
import tarfile
import time
import zipfile
from typing import Any, Dict, List, Mapping, Optional, Tuple

import elf_needs

HERE = pathlib.Path(__file__).resolve().parent.parent
SONAME = "libmeddino.so.1"


def _project() -> Dict[str, Any]:
    for name in ("tomllib", "tomli", "pip._vendor.tomli"):
        try:
            toml = __import__(name, fromlist=["loads"])
        except ImportError:
            continue
        project: Dict[str, Any] = toml.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return project
    raise SystemExit("Python 3.11, tomli or pip is needed to read pyproject.toml")


def _version() -> str:
    found = re.search(r'^__version__ = "([^"]+)"$', (HERE / "meddino/_version.py").read_text(encoding="utf-8"), re.M)
    if found is None:
        raise ValueError("meddino/_version.py has no __version__")
    return found.group(1)


def _licences() -> Dict[str, bytes]:
    """The project's licence, and those of the parts that are linked into the library."""
    files = {"LICENSE": HERE / "LICENSE", "LICENSES-OF-PARTS": HERE / "LICENSES-OF-PARTS"}
    found = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    parts = HERE.parent.parent / "Install/debian/copyright"
    if "LICENSES-OF-PARTS" not in found and parts.is_file():
        found["LICENSES-OF-PARTS"] = parts.read_bytes()
    return found


def _metadata() -> str:
    project = _project()
    lines = ["Metadata-Version: 2.4", "Name: " + project["name"], "Version: " + _version(), "Summary: " + project["description"],
             "License-Expression: " + project["license"], "Requires-Python: " + project["requires-python"],
             "Keywords: " + ",".join(project["keywords"])]
    lines += ["License-File: " + name for name in _licences()]
    lines += ["Classifier: " + one for one in project["classifiers"]]
    lines += ["Requires-Dist: " + one for one in project["dependencies"]]
    for extra, wanted in project["optional-dependencies"].items():
        lines += ["Provides-Extra: " + extra] + ["Requires-Dist: %s; extra == '%s'" % (one, extra) for one in wanted]
    lines += ["Description-Content-Type: text/markdown", "", (HERE / project["readme"]).read_text(encoding="utf-8")]
    return "\n".join(lines)


def _modules() -> Dict[str, bytes]:
    files = sorted(path for path in (HERE / "meddino").iterdir() if path.suffix == ".py" or path.name == "py.typed")
    return {"meddino/" + path.name: path.read_bytes() for path in files}


def _when() -> Tuple[int, ...]:
    """SOURCE_DATE_EPOCH, by which the same files give the same wheel; zip knows nothing before 1980."""
    return time.gmtime(max(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), 315532800))[:6]


def _record_line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return "%s,sha256=%s,%d\n" % (name, digest, len(data))


def _write(folder: str, tag: str, pure: bool, files: Dict[str, bytes]) -> str:
    """A wheel of the files, with its metadata. Returns its name."""
    stem = "meddino-%s" % _version()
    info = stem + ".dist-info/"
    files[info + "METADATA"] = _metadata().encode()
    files[info + "WHEEL"] = ("Wheel-Version: 1.0\nGenerator: meddino_wheel\nRoot-Is-Purelib: %s\nTag: %s\n" % (str(pure).lower(), tag)).encode()
    for name, data in _licences().items():
        files[info + "licenses/" + name] = data
    record = "".join(_record_line(name, data) for name, data in files.items())
    files[info + "RECORD"] = (record + info + "RECORD,,\n").encode()
    target = pathlib.Path(folder) / ("%s-%s.whl" % (stem, tag))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _when())  # type: ignore[arg-type]
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | (0o755 if name.endswith(SONAME) else 0o644)) << 16
            wheel.writestr(entry, data)
    os.replace(partial, target)
    return target.name


def _with_library(path: Optional[str]) -> Tuple[str, bool, Dict[str, bytes]]:
    if not path:
        return "py3-none-any", True, _modules()
    data = pathlib.Path(path).read_bytes()
    found = elf_needs.needs(data)
    if found.soname != SONAME:
        raise ValueError("%s has the soname %s, expected %s" % (path, found.soname or "(none)", SONAME))
    if not _version().startswith(_header_version()):
        raise ValueError("meddino/_version.py says %s, include/meddino.h %s" % (_version(), _header_version()))
    return "py3-none-" + elf_needs.platform_tag(found), False, {**_modules(), "meddino/" + SONAME: data}


def _header_version() -> str:
    """That of include/meddino.h; empty outside the project's tree."""
    header = HERE.parent.parent / "include/meddino.h"
    if not header.is_file():
        return ""
    text = header.read_text(encoding="utf-8")
    return ".".join(re.findall(r"define MEDDINO_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text))


# What pip and build call ----------------------------------------------------------------------------------------------------------------


def get_requires_for_build_wheel(config_settings: Optional[Mapping[str, Any]] = None) -> List[str]:
    """Nothing beside build-system.requires."""
    return []


get_requires_for_build_sdist = get_requires_for_build_editable = get_requires_for_build_wheel


def build_wheel(wheel_directory: str, config_settings: Optional[Mapping[str, Any]] = None, metadata_directory: Optional[str] = None) -> str:
    """PEP 517."""
    path = (config_settings or {}).get("library") or os.environ.get("MEDDINO_LIBRARY")
    return _write(wheel_directory, *_with_library(path))


def build_editable(wheel_directory: str, config_settings: Optional[Mapping[str, Any]] = None, metadata_directory: Optional[str] = None) -> str:
    """PEP 660: this folder on the path."""
    return _write(wheel_directory, "py3-none-any", True, {"__editable__.meddino.pth": (str(HERE) + "\n").encode()})


def build_sdist(sdist_directory: str, config_settings: Optional[Mapping[str, Any]] = None) -> str:
    """The package and this backend; the library is built from the project's tree."""
    stem = "meddino-%s" % _version()
    files = {"PKG-INFO": _metadata().encode(), **_licences(), **_modules()}
    for name in ("pyproject.toml", "README.md", "backend/meddino_wheel.py", "backend/elf_needs.py"):
        files[name] = (HERE / name).read_bytes()
    target = pathlib.Path(sdist_directory) / (stem + ".tar.gz")
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(stem + "/" + name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
            archive.addfile(entry, io.BytesIO(data))
    return target.name


def main(arguments: List[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Builds the wheel of meddino.")
    parser.add_argument("--library", default=os.environ.get("MEDDINO_LIBRARY"), help="libmeddino.so, to lie inside the wheel")
    parser.add_argument("--output", default="dist", help="the folder to write to (dist)")
    options = parser.parse_args(arguments)
    try:
        name = _write(options.output, *_with_library(options.library))
    except (OSError, ValueError) as failure:
        sys.stderr.write("meddino_wheel: %s\n" % failure)
        return 1
    print(os.path.join(options.output, name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
