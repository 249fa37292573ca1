"""Reads a slice set with tarfile and, where it is installed, numpy, without any of our code.

usage: read_shards.py SET [--expect-slices N]
Prints "shards read: N slices" or what is wrong with exit 1. The standard library is enough; numpy reads the same files once more.
"""
import argparse
import ast
import io
import json
import pathlib
import struct
import sys
import tarfile
import zlib

try:
    import numpy
except ImportError:
    numpy = None


def npy(data):
    """The header of a .npy file and where its numbers begin."""
    if data[:6] != b"\x93NUMPY" or data[6] != 1:
        sys.exit("not a .npy file of version 1")
    length = struct.unpack("<H", data[8:10])[0]
    return ast.literal_eval(data[10:10 + length].decode("ascii")), 10 + length


def index_rows(data):
    header, start = npy(data)
    (count,), row = header["shape"], struct.Struct("<QIHHIIfIQQ")
    if [field[0] for field in header["descr"]] != ["offset", "bytes", "rows", "columns", "case", "slice", "position", "crc32", "digest"]:
        sys.exit("unknown index: %r" % (header["descr"],))
    if len(data) != start + count * row.size:
        sys.exit("the index has %d bytes for %d rows" % (len(data), count))
    return [row.unpack_from(data, start + number * row.size) for number in range(count)]


def read_shard(part, shard, clip):
    """Every slice by the archive and again by the index."""
    path = part / shard["file"]
    index = index_rows((part / shard["index"]).read_bytes())
    raw = path.read_bytes()
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        if len(members) != len(index):
            sys.exit("%s: %d files, %d rows" % (path, len(members), len(index)))
        for member, row in zip(members, index):
            data = archive.extractfile(member).read()
            if (member.offset_data, member.size) != row[:2] or raw[row[0]:row[0] + row[1]] != data or zlib.crc32(data) != row[7]:
                sys.exit("%s, %s: the index says otherwise" % (path, member.name))
            header, start = npy(data)
            if header["descr"] != "<i2" or header["fortran_order"] or header["shape"] != (row[2], row[3]):
                sys.exit("%s, %s: header %r" % (path, member.name, header))
            values = struct.unpack("<%dh" % (row[2] * row[3]), data[start:])
            if min(values) < clip[0] or max(values) > clip[1]:
                sys.exit("%s, %s: values from %d to %d" % (path, member.name, min(values), max(values)))
            if numpy is not None and numpy.load(io.BytesIO(data)).ravel().tolist() != list(values):
                sys.exit("%s, %s: numpy reads other values" % (path, member.name))
    if numpy is not None and numpy.load(part / shard["index"])["offset"].tolist() != [row[0] for row in index]:
        sys.exit("%s: numpy reads another index" % path)
    return len(index)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("set", type=pathlib.Path)
    parser.add_argument("--expect-slices", type=int)
    options = parser.parse_args()
    total = 0
    for manifest in sorted(options.set.glob("**/set.json")):
        described = json.loads(manifest.read_text())
        total += sum(read_shard(manifest.parent, shard, described["rules"]["clip_hu"]) for shard in described["shards"])
    if total == 0 or options.expect_slices not in (None, total):
        sys.exit("%d slices, expected %s" % (total, options.expect_slices))
    print("shards read: %d slices%s" % (total, "" if numpy is None else ", with numpy too"))


main()
