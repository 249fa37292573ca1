"""What a shared library needs of the system: the libraries it names and the symbol versions it wants of them, and the manylinux tag of that.

Source: the ELF specification's dynamic section, the Linux Standard Base's symbol versioning, PEP 600.
"""

from __future__ import annotations

import re
import struct
from typing import Dict, List, NamedTuple, Set, Tuple

MACHINES = {62: "x86_64", 183: "aarch64"}
# What every manylinux system has; what else a library needs would have to come along.
SYSTEM = re.compile(r"(lib(c|m|mvec|dl|rt|pthread|util|resolv)\.so\.\d+|libgcc_s\.so\.1|libstdc\+\+\.so\.6|ld-linux.*\.so\.\d+)$")
# The first glibc whose distributions come with a compiler's runtime that has a symbol version.
RUNTIMES: Dict[str, List[Tuple[Tuple[int, ...], Tuple[int, int]]]] = {
    "GLIBCXX": [((3, 4, 19), (2, 17)), ((3, 4, 22), (2, 24)), ((3, 4, 24), (2, 27)), ((3, 4, 28), (2, 31)), ((3, 4, 29), (2, 34)),
                ((3, 4, 30), (2, 35)), ((3, 4, 33), (2, 39))],
    "CXXABI": [((1, 3, 7), (2, 17)), ((1, 3, 10), (2, 24)), ((1, 3, 11), (2, 27)), ((1, 3, 12), (2, 31)), ((1, 3, 13), (2, 34)),
               ((1, 3, 14), (2, 39)), ((1, 3, 15), (2, 39))],
    "GCC": [((4, 8, 0), (2, 17)), ((7, 0, 0), (2, 27)), ((12, 0, 0), (2, 35)), ((14, 0, 0), (2, 39))],
}
OLDEST = (2, 17)  # manylinux2014, the oldest that pip's users still meet


class Needs(NamedTuple):
    """Of one library."""

    machine: str
    soname: str
    libraries: List[str]
    versions: Set[str]


def _text(data: bytes, at: int) -> str:
    return data[at:data.index(b"\0", at)].decode()


def needs(data: bytes) -> Needs:
    """Reads a 64-bit little-endian ELF library. Raises ValueError where it is something else, or damaged."""
    try:
        return _needs(data)
    except (struct.error, LookupError, UnicodeDecodeError) as failure:
        raise ValueError("the library is damaged: %s" % failure) from failure


def _needs(data: bytes) -> Needs:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("the library is no 64-bit little-endian ELF file")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if kind != 3 or machine not in MACHINES:
        raise ValueError("the ELF file has type %d and machine %d, expected a shared library (3) of %s" % (kind, machine, MACHINES))
    at, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    loads: List[Tuple[int, int, int]] = []
    dynamic = b""
    for index in range(count):
        segment, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at + index * size)
        if segment == 1:
            loads.append((address, offset, length))
        elif segment == 2:
            dynamic = data[offset:offset + length]
    tags: List[Tuple[int, int]] = [struct.unpack_from("<qQ", dynamic, place) for place in range(0, len(dynamic) - 15, 16)]

    def offset_of(address: int) -> int:
        for start, offset, length in loads:
            if start <= address < start + length:
                return offset + address - start
        raise ValueError("the library is damaged: no segment holds the address %d" % address)

    single: Dict[int, int] = dict(tags)
    if not {0, 5} <= set(single):  # its end, and the names
        raise ValueError("the library is damaged: its dynamic section is cut")
    strings = offset_of(single[5])
    libraries = [_text(data, strings + value) for tag, value in tags if tag == 1]
    versions: Set[str] = set()
    if 0x6ffffffe in single:  # DT_VERNEED
        place = offset_of(single[0x6ffffffe])
        for _ in range(single[0x6fffffff]):
            _, entries, _, first, after = struct.unpack_from("<HHIII", data, place)
            entry = place + first
            for _ in range(entries):
                _, _, _, name, following = struct.unpack_from("<IHHII", data, entry)
                versions.add(_text(data, strings + name))
                entry += following
            place += after
    return Needs(MACHINES[machine], _text(data, strings + single[14]) if 14 in single else "", libraries, versions)


def _number(text: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def glibc(found: Needs) -> Tuple[int, int]:
    """The oldest glibc on whose distributions the library loads. Raises ValueError where it needs what no manylinux system promises."""
    missing = [name for name in found.libraries if not SYSTEM.match(name)]
    if missing:
        raise ValueError("the library needs %s, which not every Linux has: link it statically" % ", ".join(missing))
    result = OLDEST
    for version in sorted(found.versions):
        name, _, number = version.partition("_")
        if version == "GLIBC_ABI_DT_RELR":
            result = max(result, (2, 36))
        elif not re.match(r"[0-9.]+$", number):
            if version != "CXXABI_TM_1":
                raise ValueError("the library needs %s, which is not known here" % version)
        elif name == "GLIBC":
            major, minor = _number(number)[:2]
            result = max(result, (major, minor))
        else:
            least = [system for runtime, system in RUNTIMES.get(name, []) if _number(number) <= runtime]
            if not least:
                raise ValueError("the library needs %s, which is newer than what is known here" % version)
            result = max(result, least[0])
    return result


def platform_tag(found: Needs) -> str:
    """Such as manylinux_2_34_x86_64."""
    return "manylinux_%d_%d_%s" % (*glibc(found), found.machine)
