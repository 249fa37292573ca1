"""The wheel: tag, RECORD, contents, the same bytes twice; what the reader of ELF files says of good and damaged ones."""

import base64
import csv
import email
import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import harness
from harness import ROOT, check, raises

import meddino

BACKEND = os.path.join(ROOT, "Examples", "python", "backend")
sys.path.insert(0, BACKEND)
import elf_needs  # noqa: E402
import meddino_wheel  # noqa: E402

FOLDER = tempfile.mkdtemp(prefix="meddino-wheel-")
LIMIT = 45e6  # bytes


def elf(libraries, versions, machine=62, soname=b"libmeddino.so.1"):
    """A library of nothing but its dynamic section, for the reader."""
    strings, places = b"\0", {}
    for text in list(libraries) + [soname] + [one for _, names in versions for one in names] + [library for library, _ in versions]:
        places[text] = len(strings)
        strings += text + b"\0"
    base = 64 + 2 * 56
    table = base + len(strings)
    verneed = b""
    for number, (library, names) in enumerate(versions):
        last = number == len(versions) - 1
        size = 16 + 16 * len(names)
        verneed += struct.pack("<HHIII", 1, len(names), places[library], 16, 0 if last else size)
        for entry, name in enumerate(names):
            verneed += struct.pack("<IHHII", 0, 0, 2, places[name], 0 if entry == len(names) - 1 else 16)
    tags = [(1, places[one]) for one in libraries] + [(14, places[soname]), (5, base), (0x6ffffffe, table), (0x6fffffff, len(versions)), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    total = table + len(verneed) + len(dynamic)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, total, total, 8)
    segments += struct.pack("<IIQQQQQQ", 2, 6, table + len(verneed), table + len(verneed), 0, len(dynamic), len(dynamic), 8)
    return header + segments + strings + verneed + dynamic


def tags():
    plain = elf([b"libc.so.6"], [(b"libc.so.6", [b"GLIBC_2.2.5", b"GLIBC_2.28"])])
    found = elf_needs.needs(plain)
    check(found == elf_needs.Needs("x86_64", "libmeddino.so.1", ["libc.so.6"], {"GLIBC_2.2.5", "GLIBC_2.28"}), str(found))
    check(elf_needs.platform_tag(found) == "manylinux_2_28_x86_64")

    def tag(*versions, **options):
        return elf_needs.platform_tag(elf_needs.needs(elf([b"libc.so.6"], [(b"libc.so.6", list(versions))], **options)))

    check(tag(b"GLIBC_2.2.5", b"GLIBC_2.9") == "manylinux_2_17_x86_64")
    check(tag(b"GLIBC_2.17", machine=183) == "manylinux_2_17_aarch64")
    check(tag(b"GLIBC_2.34", b"GLIBC_2.4") == "manylinux_2_34_x86_64")
    both = elf([b"libc.so.6", b"libstdc++.so.6"], [(b"libc.so.6", [b"GLIBC_2.17"]), (b"libstdc++.so.6", [b"GLIBCXX_3.4.29", b"CXXABI_1.3.9"])])
    check(elf_needs.platform_tag(elf_needs.needs(both)) == "manylinux_2_34_x86_64")
    check(tag(b"GLIBCXX_3.4.30") == "manylinux_2_35_x86_64" and tag(b"CXXABI_1.3.13", b"GCC_3.0") == "manylinux_2_34_x86_64")
    check(tag(b"GLIBC_ABI_DT_RELR") == "manylinux_2_36_x86_64")
    raises(ValueError, lambda: tag(b"GLIBCXX_3.4.99"), "GLIBCXX_3.4.99")
    raises(ValueError, lambda: tag(b"OPENBLAS_1"), "OPENBLAS_1")
    raises(ValueError, lambda: tag(b"GLIBC_PRIVATE"), "GLIBC_PRIVATE")
    raises(ValueError, lambda: elf_needs.platform_tag(elf_needs.needs(elf([b"libopenblas.so.0"], [(b"libc.so.6", [b"GLIBC_2.17"])]))), "libopenblas")
    raises(ValueError, lambda: elf_needs.needs(b"nothing"), "ELF")
    raises(ValueError, lambda: elf_needs.needs(elf([], [(b"c", [b"GLIBC_2.17"])], machine=8)), "machine 8")
    for length in range(len(plain)):  # cut anywhere
        raises(ValueError, lambda: elf_needs.needs(plain[:length]))


def wheel():
    os.environ["SOURCE_DATE_EPOCH"] = "1700000000"
    library = os.path.realpath(meddino.load())
    with open(library, "rb") as file:
        data = file.read()
    name = meddino_wheel.build_wheel(FOLDER, {"library": library})
    check(re.match(r"meddino-%s-py3-none-manylinux_2_\d+_(x86_64|aarch64)\.whl$" % re.escape(meddino.__version__), name), name)
    path = os.path.join(FOLDER, name)
    check(os.path.getsize(path) < LIMIT, "%d bytes" % os.path.getsize(path))
    with open(path, "rb") as file:
        first = file.read()
    check(meddino_wheel.build_wheel(FOLDER, {"library": library}) == name)
    with open(path, "rb") as file:
        check(file.read() == first)
    with zipfile.ZipFile(path) as archive:
        check(archive.testzip() is None)
        names = archive.namelist()
        info = "meddino-%s.dist-info/" % meddino.__version__
        rows = list(csv.reader(io.StringIO(archive.read(info + "RECORD").decode())))
        check([row[0] for row in rows] == names and rows[-1] == [info + "RECORD", "", ""])
        for recorded, digest, size in rows[:-1]:
            content = archive.read(recorded)
            want = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            check(digest == want and int(size) == len(content), recorded)
        check(archive.read("meddino/libmeddino.so.1") == data)
        check({"meddino/__init__.py", "meddino/py.typed", info + "licenses/LICENSE", info + "licenses/LICENSES-OF-PARTS"} <= set(names))
        check(not [one for one in names if "__pycache__" in one])
        check(b"Apache License" in archive.read(info + "licenses/LICENSE") and b"OpenBLAS" in archive.read(info + "licenses/LICENSES-OF-PARTS"))
        metadata = email.message_from_string(archive.read(info + "METADATA").decode())
        check(metadata["Name"] == "meddino" and metadata["Version"] == meddino.__version__ and metadata["License-Expression"] == "Apache-2.0")
        check(metadata["Requires-Python"] == ">=3.9" and "numpy>=1.22" in metadata.get_all("Requires-Dist"))
        check("import meddino" in metadata.get_payload())
        tag = email.message_from_string(archive.read(info + "WHEEL").decode())
        check(tag["Tag"] == "-".join(name[:-4].split("-")[2:]) and tag["Root-Is-Purelib"] == "false")


def others():
    """Without a library, editable, from source; what is refused."""
    named = os.environ.pop("MEDDINO_LIBRARY", None)
    try:
        check(meddino_wheel.build_wheel(FOLDER) == "meddino-%s-py3-none-any.whl" % meddino.__version__)
        with zipfile.ZipFile(os.path.join(FOLDER, meddino_wheel.build_editable(FOLDER))) as archive:
            check(archive.read("__editable__.meddino.pth").decode().strip() == os.path.dirname(BACKEND))
        with tarfile.open(os.path.join(FOLDER, meddino_wheel.build_sdist(FOLDER))) as archive:
            names = {one.name.split("/", 1)[1] for one in archive.getmembers()}
            check({"PKG-INFO", "pyproject.toml", "LICENSE", "meddino/__init__.py", "backend/meddino_wheel.py"} <= names)
            archive.extractall(FOLDER, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        unpacked = os.path.join(FOLDER, "meddino-%s" % meddino.__version__, "backend", "meddino_wheel.py")
        done = subprocess.run([sys.executable, "-B", unpacked, "--output", FOLDER], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check(done.returncode == 0 and done.stdout.decode().strip().endswith("-py3-none-any.whl"), done.stdout.decode())
    finally:
        if named is not None:
            os.environ["MEDDINO_LIBRARY"] = named
    other = os.path.join(FOLDER, "libother.so")
    with open(other, "wb") as file:
        file.write(elf([b"libc.so.6"], [(b"libc.so.6", [b"GLIBC_2.17"])], soname=b"libother.so"))
    raises(ValueError, lambda: meddino_wheel.build_wheel(FOLDER, {"library": other}), "soname")
    done = subprocess.run([sys.executable, "-B", os.path.join(BACKEND, "meddino_wheel.py"), "--library", "/no/such.so"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    check(done.returncode == 1 and b"/no/such.so" in done.stdout and b"Traceback" not in done.stdout, done.stdout.decode())


def versions():
    """The package, the header and the library agree."""
    with open(os.path.join(ROOT, "include", "meddino.h")) as file:
        header = re.findall(r"define MEDDINO_VERSION_\w+ (\d+)", file.read())
    check(meddino.__version__ == ".".join(header), "meddino/_version.py: %s, include/meddino.h: %s" % (meddino.__version__, header))
    check(meddino.version() == tuple(int(one) for one in header))


def main():
    tags()
    wheel()
    others()
    versions()
    harness.end("test_wheel.py")


main()
