#!/usr/bin/env python3
"""manpages.py PROGRAM VERSION DATE DOCUMENT FOLDER: writes the manual pages of the command line, meddino.1 and one page a command.

Options come from the program itself (--experimental-dump-help), exit codes and environment variables from the tables of DOCUMENT
(docs/command-line.md), so that there is one place for each. DATE: YYYY-MM-DD."""
import json
import os
import re
import subprocess
import sys
import textwrap

ASCII = {"…": "...", "–": "\\(en", "×": "\\(mu", "“": "\\(lq", "”": "\\(rq", "’": "\\(aq"}


def escaped(text):
    """Text as roff prints it unchanged: no escapes of its own, no hyphen where a minus sign is meant."""
    text = text.replace("\\", "\\e")
    text = re.sub(r"(?<![\w-])-{1,2}\w[\w-]*", lambda found: found[0].replace("-", "\\-"), text)
    text = "".join(ASCII.get(letter, letter if ord(letter) < 128 else "\\[u%04X]" % ord(letter)) for letter in text)
    return re.sub(r"`([^`]*)`", lambda found: "\\fB" + re.sub(r"(?<!\\)-", r"\\-", found[1]) + "\\fR", text)


def prose(text):
    """A paragraph: a sentence starts a line, no line over 78 bytes, none that begins with a control character."""
    lines = []
    for sentence in re.split(r"(?<=[.:;])\s+", " ".join(text.split())):
        lines += textwrap.wrap(escaped(sentence), 78, break_long_words=False, break_on_hyphens=False)
    return ["\\&" + line if line[:1] in ".'" else line for line in lines]


def bold(text):
    return "\\fB" + text.replace("-", "\\-") + "\\fR"


def italic(text):
    return "\\fI" + escaped(text).replace("-", "\\-").replace("\\\\-", "\\-") + "\\fR"


def shown(parts):
    return [part for part in parts or [] if part.get("shouldDisplay", True)]


def placeholder(argument):
    text = italic(argument.get("valueName") or "value")
    return text + (" ..." if argument.get("isRepeating") else "")


def dashed(name):
    return bold(("--" if name["kind"] == "long" else "-") + name["name"])


def entry(argument):
    """One argument or option with its value, meaning and default."""
    if argument["kind"] == "positional":
        head = placeholder(argument)
    else:
        head = ", ".join(dashed(name) for name in sorted(argument["names"], key=lambda name: len(name["name"]) > 1))
        if argument["kind"] == "option":
            head += " " + placeholder(argument)
    text = argument.get("abstract") or "Names of commands."
    if argument.get("defaultValue"):
        text += " (default: %s)" % argument["defaultValue"]
    return [".TP", head] + prose(text)


def usage(path, command):
    """The line that calls a command: what must be given, and that there are options."""
    words = [bold(" ".join(path))]
    arguments = shown(command.get("arguments"))
    if any(argument["kind"] != "positional" for argument in arguments):
        words.append("[" + italic("options") + "]")
    for argument in arguments:
        value = placeholder(argument)
        if argument["kind"] == "positional":
            words.append("[" + value + "]" if argument["isOptional"] else value)
        elif not argument["isOptional"]:
            words.append(dashed(argument["preferredName"]) + " " + value)
    return [".HP", " ".join(words)]


def description(command):
    lines = prose(command["abstract"])
    for paragraph in (command.get("discussion") or "").splitlines():
        lines += [".PP"] + prose(paragraph)
    return lines


def options(command, heading):
    """Arguments, options, then options under the titles they have. `heading` is the macro of their headings."""
    groups = {"Arguments": [], "Options": []}
    for argument in shown(command.get("arguments")):
        title = "Arguments" if argument["kind"] == "positional" else argument.get("sectionTitle") or "Options"
        groups.setdefault(title, []).append(argument)
    lines = []
    for title, group in groups.items():
        if group:
            head = [".SH " + escaped(title.upper())] if heading == ".SH" else [".SS " + escaped(title.capitalize())]
            lines += head + [line for argument in group for line in entry(argument)]
    return lines


def table(document, title):
    """The rows of the first table under a heading of a Markdown file."""
    section = re.search(r"^## %s$(.*?)(?=^## |\Z)" % re.escape(title), document, re.S | re.M)
    rows = re.findall(r"^\| *(.+?) *\| *(.+?) *\|$", section[1] if section else "", re.M)[2:]
    if not rows:
        sys.exit("manpages.py: no table under \"%s\" in the document" % title)
    return rows


def page(path, command, root, document, version, date):
    name = "-".join(path)
    others = [path[0]] if len(path) > 1 else []
    children = shown(root.get("subcommands")) if len(path) == 1 else []
    lines = ['.\\" Made by Install/manpages.py from the program\'s own help.']
    lines += ['.TH %s 1 "%s" "meddino %s" "User Commands"' % (name.upper().replace("-", "\\-"), date, version)]
    abstract = command["abstract"].rstrip(".")
    if not re.match(r"[A-Z]{2}", abstract):
        abstract = abstract[0].lower() + abstract[1:]
    lines += [".SH NAME", name.replace("-", "\\-") + " \\- " + escaped(abstract)]
    inner = shown(command.get("subcommands")) if len(path) > 1 else []
    lines += [".SH SYNOPSIS"]
    if len(path) == 1:
        lines += [".HP", bold(name) + " " + italic("command") + " [" + italic("options") + "] " + italic("argument") + " ..."]
    for one in [None] + inner:
        if one or (len(path) > 1 and not inner):
            lines += usage(path + [one["commandName"]] if one else path, one or command)
    lines += [".SH DESCRIPTION"] + description(command)
    if children:
        lines += [".SH COMMANDS"]
        for child in children:
            lines += [".TP", bold(name + "-" + child["commandName"]) + "(1)" if child["commandName"] != "help" else bold("help") + " " + italic("command")]
            lines += prose(child["abstract"])
            others += [name + "-" + child["commandName"]] if child["commandName"] != "help" else []
    for one in inner:
        lines += [".SH " + " ".join(path[1:] + [one["commandName"]]).upper()] + description(one) + options(one, ".SS")
    lines += [] if inner else options(command, ".SH")
    lines += [".SH EXIT STATUS"] + [line for code, text in table(document, "Exit codes") for line in [".TP", bold(code)] + prose(text)]
    if len(path) == 1:
        lines += [".SH ENVIRONMENT"] + [line for names, text in table(document, "Environment") for line in [".TP", escaped(names)] + prose(text)]
    lines += [".SH SEE ALSO"] + [".BR %s (1)%s" % (other.replace("-", "\\-"), "," if other != others[-1] else "") for other in others]
    return "\n".join(lines) + "\n"


def main():
    program, version, date, document, folder = sys.argv[1:]
    dump = json.loads(subprocess.run([program, "--experimental-dump-help"], check=True, stdout=subprocess.PIPE).stdout)
    if dump["serializationVersion"] != 0:
        sys.exit("manpages.py: help of layout %s, this script knows 0" % dump["serializationVersion"])
    with open(document, encoding="utf-8") as file:
        document = file.read()
    root = dump["command"]
    os.makedirs(folder, exist_ok=True)
    for command in [root] + shown(root.get("subcommands")):
        path = [root["commandName"]] + ([command["commandName"]] if command is not root else [])
        if path[1:] == ["help"]:
            continue
        with open(os.path.join(folder, "-".join(path) + ".1"), "w", encoding="ascii") as file:
            file.write(page(path, command, root, document, version, date))


main()
