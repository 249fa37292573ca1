#!/usr/bin/env python3
"""abi.py show HEADER | check HEADER BASELINE | update HEADER BASELINE: what programs compiled against meddino.h rely on.

The surface is one line for each value of an enum, struct (size), field (offset, size, type), function, callback, handle and scalar
type, as a 64-bit compiler lays them out. `check` compares it with the recorded one and tells additions from breaks by the rules of
docs/abi.md; `update` records additions, and breaks only under a new MEDDINO_ABI_VERSION. Needs a C compiler (CC, else gcc)."""
import os
import re
import subprocess
import sys
import tempfile


def compiler(*arguments, text=None):
    return subprocess.run([os.environ.get("CC", "gcc"), *arguments], input=text, check=True, stdout=subprocess.PIPE, text=True).stdout


def squeezed(text):
    return re.sub(r" ?([*(),\[\]]) ?", r"\1", " ".join(text.split())).replace(",", ", ")


def nameless(parameters):
    """A parameter list without the parameters' names, which no program depends on."""
    types = []
    for parameter in parameters.split(","):
        parameter = squeezed(parameter)
        named = re.match(r"(.*[*\w][* ])(\w+)((?:\[\d*\])*)$", parameter)
        types.append((named[1].strip() + named[3]) if named and parameter != "void" else parameter)
    return ", ".join(types)


def declared(header):
    """Text lines of the surface with %d for numbers, and the C expressions of these numbers."""
    with open(header, encoding="utf-8") as file:
        raw = file.read()
    text = re.sub(r"^\s*#\s*include.*$", "", raw, flags=re.M)
    text = compiler("-E", "-P", "-x", "c", "-DMEDDINO_API=EXPORTED", "-DMEDDINO_CHECK=", "-", text=text)
    lines = [("abi %d", ["MEDDINO_ABI_VERSION"])]
    for body in re.findall(r"\benum\s*\{([^}]*)\}", text):
        names = [value.split("=")[0].strip() for value in body.split(",") if value.strip()]
        lines += [("enum %s %%d" % name, [name]) for name in names]
    for body, name in re.findall(r"\btypedef\s+struct\s*\{([^}]*)\}\s*(\w+)\s*;", text):
        lines.append(("struct %s %%d" % name, ["sizeof(%s)" % name]))
        for declaration in filter(str.strip, body.split(";")):
            first, *others = declaration.split(",")
            kind = re.match(r"\s*(.*?)[\s*]*\w+\s*(?:\[[^]]*\])*\s*$", first, re.S)[1]
            for declarator in [first[first.index(kind) + len(kind):]] + others:
                stars, field, extent = re.match(r"([\s*]*)(\w+)\s*((?:\[[^]]*\])*)\s*$", declarator).groups()
                place = ["offsetof(%s, %s)" % (name, field), "sizeof(((%s *)0)->%s)" % (name, field)]
                lines.append(("field %s.%s %%d %%d %s" % (name, field, squeezed(kind + stars) + extent), place))
    flat = re.sub(r"\{[^}]*\}", "", text)
    for result, name, parameters in re.findall(r"\bEXPORTED\s+([^;()]*?)(\w+)\s*\(([^()]*)\)\s*;", flat):
        lines.append(("function %s %s(%s)" % (squeezed(result), name, nameless(parameters)), []))
    for result, name, parameters in re.findall(r"\btypedef\s+([^;()]*?)\(\s*\*\s*(\w+)\s*\)\s*\(([^()]*)\)\s*;", flat):
        lines.append(("callback %s %s(%s)" % (squeezed(result), name, nameless(parameters)), []))
    lines += [("handle %s" % name, []) for name in re.findall(r"\btypedef\s+struct\s+(\w+)\s+\1\s*;", flat)]
    lines += [("type %s %s" % (name, kind), []) for kind, name in re.findall(r"\btypedef\s+(?!struct\b)(\w+)\s+(meddino_\w+)\s*;", flat)]
    read = [line.split()[0] for line, _ in lines]
    if (flat.count("EXPORTED"), flat.count("typedef")) != (read.count("function"), sum(map(read.count, ["struct", "callback", "handle", "type"]))):
        sys.exit("abi.py: %s declares something in a way that this script does not read" % os.path.basename(header))
    return lines


def surface(header):
    """The lines of declared() with the numbers that the compiler gives."""
    lines = declared(header)
    numbers = [number for _, expressions in lines for number in expressions]
    source = "#include <stdio.h>\n#include \"%s\"\nint main(void) {\n" % os.path.abspath(header)
    source += "".join('printf("%%lld\\n", (long long)(%s));\n' % number for number in numbers) + "return sizeof(void *) != 8;\n}\n"
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "layout")
        compiler("-std=c99", "-x", "c", "-", "-o", program, text=source)
        values = iter(map(int, subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout.split()))
    return [line % tuple(next(values) for _ in expressions) for line, expressions in lines]


def key(line):
    """What a line is about: the same in both surfaces when the thing is in both."""
    words = line.split()
    if words[0] in ("function", "callback"):
        return words[0] + " " + re.match(r".*?(\w+)\(", line)[1]
    return words[0] + ("" if words[0] == "abi" else " " + words[1])


def bytes_of(line):
    return range(int(line.split()[2]), int(line.split()[2]) + int(line.split()[3]))


def compare(old, new):
    """Lists of what was added and of what breaks programs compiled against `old`."""
    before, after = ({key(line): line for line in lines} for lines in (old, new))
    sizes = {line.split()[1]: int(line.split()[2]) for line in old if line.startswith("struct ")}
    reserved = [line for line in old if line.startswith("field ") and re.search(r"\.reserved\w* ", line)]
    added, broken = [], []
    for name, line in before.items():
        now = after.get(name)
        grown = now and line.startswith("struct ") and int(now.split()[2]) >= int(line.split()[2])
        if now != line and not grown and line not in reserved:
            broken.append("%s is now: %s" % (line, now or "gone"))
        elif now != line and now:
            added.append(now)
    for name, line in after.items():
        if name in before:
            continue
        added.append(line)
        struct = line.split()[1].split(".")[0]
        if line.startswith("field ") and struct in sizes and bytes_of(line).start < sizes[struct]:
            free = [byte for kept in reserved if kept.split()[1].startswith(struct + ".") for byte in bytes_of(kept)]
            if not set(bytes_of(line)) <= set(free):
                broken.append("%s lies within the %d bytes that older callers pass" % (line, sizes[struct]))
    return added, broken


def main():
    task, header = sys.argv[1:3]
    new = surface(header)
    if task == "show":
        print("\n".join(new))
        return 0
    with open(sys.argv[3], encoding="ascii") as file:
        old = file.read().splitlines()
    added, broken = compare(old, new)
    if task == "check":
        for line in broken:
            print("breaks programs: " + line)
        for line in added:
            print("not recorded yet (make update-abi): " + line)
        return 1 if added or broken else 0
    if [line for line in broken if not line.startswith("abi ")] and new[0] == old[0]:
        print("\n".join("breaks programs: " + line for line in broken))
        print("nothing recorded: raise MEDDINO_ABI_VERSION, or keep what was there (docs/abi.md)")
        return 1
    with open(sys.argv[3], "w", encoding="ascii") as file:
        file.write("\n".join(new) + "\n")
    print("%d lines added or changed, %d broken" % (len(added), len(broken)))
    return 0


sys.exit(main())
