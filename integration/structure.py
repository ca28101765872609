#!/usr/bin/env python3
"""Prints figures of the structure of the Rust code, for a change that is to improve it.

    integration/structure.py [--list] [ROOT]

--list  names what was counted, and not only how much

Code      lines of crates/*/src that are neither blank nor a comment nor a test
Cycles    of files of a crate that import each other. A file imports another by a path in a `use`, or in the code, that
          begins with `crate`, `super` or `self`, to what the file itself defines; what re-exports and declares counts
          for nothing
Long      functions of more than 100 lines, files of more than 300 lines, without comments and tests
Comments  doc comments that begin with a pronoun, or with a question word
"""

import os
import re
import sys

PRONOUNS = """it its itself he she they them their this that these those one another other others such
what who whom whose which where when whether how why whatever whoever the same""".split()
PRONOUNS = [word for word in PRONOUNS if word not in ("the", "same", "other", "when", "where")] + ["the same"]
LONGEST_FUNCTION = 100
LONGEST_FILE = 300


def blank(text):
    """The code with comments and the insides of literals replaced by blanks, so that columns and lines stay."""
    out = list(text)
    at = 0
    pattern = re.compile(
        r"""//[^\n]*|/\*|b?r(\#*)"|b?"|b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^\\'\n])'"""
    )

    def erase(start, end):
        for index in range(start, end):
            if out[index] != "\n":
                out[index] = " "

    while True:
        found = pattern.search(text, at)
        if not found:
            return "".join(out)
        start, end = found.span()
        token = found.group()
        if token == "/*":
            depth = 1
            while depth and end < len(text):
                inner = re.compile(r"/\*|\*/").search(text, end)
                if not inner:
                    end = len(text)
                    break
                depth += 1 if inner.group() == "/*" else -1
                end = inner.end()
        elif token.endswith('"') and "r" in token:
            close = text.find('"' + (found.group(1) or ""), end)
            end = len(text) if close < 0 else close + 1 + len(found.group(1) or "")
        elif token.endswith('"'):
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            end += 1
        erase(start, min(end, len(text)))
        at = min(end, len(text))


def block_end(code, at):
    """Where the block that begins after `at` ends."""
    depth = 0
    for index in range(at, len(code)):
        if code[index] == "{":
            depth += 1
        elif code[index] == "}":
            depth -= 1
            if not depth:
                return index + 1
        elif code[index] == ";" and not depth:
            return index + 1
    return len(code)


def without_tests(code):
    while True:
        found = re.search(r"#\[cfg\(test\)\]", code)
        if not found:
            return code
        end = block_end(code, found.end())
        part = code[found.start() : end]
        code = code[: found.start()] + re.sub(r"[^\n]", " ", part) + code[end:]


class File:
    def __init__(self, path, crate, module):
        self.path = path
        self.crate = crate
        self.module = module  # ("serve", "client"); of lib.rs ()
        self.text = open(path, encoding="utf-8").read()
        self.code = without_tests(blank(self.text))

    def lines(self):
        return sum(1 for line in self.code.splitlines() if line.strip())

    def functions(self):
        """The name and the length of each, in lines of code."""
        for found in re.finditer(r"\bfn\s+(\w+)", self.code):
            body = self.code.find("{", found.end())
            end = block_end(self.code, found.end())
            if 0 <= body < end:
                yield found.group(1), sum(1 for line in self.code[found.start() : end].splitlines() if line.strip())

    def doc_comments(self):
        """The first line of each."""
        lines = self.text.splitlines()
        for number, line in enumerate(lines):
            found = re.match(r"\s*(///|//!)\s?(.*)", line)
            if not found or not found.group(2).strip():
                continue
            before = lines[number - 1] if number else ""
            if not re.match(r"\s*" + re.escape(found.group(1)), before):
                yield found.group(2).strip()

    def paths(self):
        """Paths that begin with crate, super or self, as tuples of names."""
        code = re.sub(r"\bpub\s*(\([^)]*\)\s*)?use\b[^;]*;|\bpub\s*\([^)]*\)", lambda found: " " * len(found.group()), self.code)
        for found in re.finditer(r"\b(crate|super|self)\s*::", code):
            end = found.end()
            yield from expand((found.group(1),), code, end)


def expand(prefix, code, at):
    """The paths that a use tree stands for, after `prefix::`."""
    while at < len(code) and code[at].isspace():
        at += 1
    if at < len(code) and code[at] == "{":
        depth, start = 0, at + 1
        for index in range(at, len(code)):
            if code[index] == "{":
                depth += 1
            elif code[index] == "}":
                depth -= 1
            if (depth == 1 and code[index] == ",") or not depth:
                if code[start:index].strip():
                    yield from expand(prefix, code, start)
                start = index + 1
            if not depth:
                return
        return
    found = re.compile(r"\s*(\w+)\s*(::)?").match(code, at)
    if not found:
        yield prefix
        return
    name = found.group(1)
    if found.group(2):
        yield from expand(prefix + (name,), code, found.end())
    else:
        yield prefix + (name,)


def exports(files, modules):
    """{module: {name: path}} of what is re-exported, or imported under a name: the path that it stands for."""
    found = {}
    for file in files:
        for use in re.finditer(r"\buse\s+((?:\w|::|[{},*\s])+);", file.code):
            for names in expand((), use.group(1).strip(), 0):
                first = names[0]
                if first not in ("crate", "super", "self"):
                    # A child's.
                    if file.module + (first,) not in modules:
                        continue
                    names = ("self",) + names
                if len(names) > 1:
                    found.setdefault(file.module, {})[names[-1]] = names
    return found


def resolve(module, path, modules, exported, depth=0):
    """The module where what a path names is defined."""
    names = list(path)
    at = list(module)
    first = names.pop(0)
    if first == "crate":
        at = []
    elif first == "super":
        at = at[:-1]
    while names and names[0] == "super":
        names.pop(0)
        at = at[:-1]
    while names and tuple(at + [names[0]]) in modules:
        at.append(names.pop(0))
    if names and depth < 9:
        further = exported.get(tuple(at), {}).get(names[0])
        if further and further != path:
            return resolve(tuple(at), further, modules, exported, depth + 1)
    return tuple(at)


def components(edges):
    """The strongly connected components of more than one node."""
    index, low, stack, on, found = {}, {}, [], set(), []

    def visit(start):
        work = [(start, iter(sorted(edges.get(start, ()))))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on.add(start)
        while work:
            node, following = work[-1]
            for other in following:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on.add(other)
                    work.append((other, iter(sorted(edges.get(other, ())))))
                    break
                if other in on:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while True:
                        other = stack.pop()
                        on.discard(other)
                        part.append(other)
                        if other == node:
                            break
                    if len(part) > 1:
                        found.append(sorted(part))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def files_of(root):
    crates = os.path.join(root, "crates")
    for crate in sorted(os.listdir(crates)):
        source = os.path.join(crates, crate, "src")
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                if not name.endswith(".rs") or name == "tests.rs":
                    continue
                path = os.path.join(folder, name)
                module = os.path.relpath(path, source)[:-3].split(os.sep)
                if "tests" in module:
                    continue
                if module[-1] in ("lib", "main", "mod"):
                    module.pop()
                yield File(path, crate, tuple(module))


def main():
    arguments = sys.argv[1:]
    listed = "--list" in arguments
    roots = [argument for argument in arguments if argument != "--list"]
    if any(root.startswith("-") for root in roots) or len(roots) > 1:
        sys.exit(__doc__)
    root = roots[0] if roots else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    files = list(files_of(root))

    def show(what, entries):
        print(what)
        if listed:
            for entry in entries:
                print("    " + entry)

    crates = sorted({file.crate for file in files})
    lines = {crate: sum(file.lines() for file in files if file.crate == crate) for crate in crates}
    show("%d lines of code in %d files" % (sum(lines.values()), len(files)), ["%s %d" % item for item in lines.items()])

    cycles = []
    for crate in crates:
        own = [file for file in files if file.crate == crate]
        modules = {file.module for file in own}
        exported = exports(own, modules)
        edges = {}
        for file in own:
            for path in file.paths():
                target = resolve(file.module, path, modules, exported)
                if target != file.module:
                    edges.setdefault(file.module, set()).add(target)
        for part in components(edges):
            cycles.append(crate + ": " + ", ".join("::".join(module) for module in part))
    show("%d import cycles between the files of a crate" % len(cycles), cycles)

    functions = [
        "%s %s %d" % (os.path.relpath(file.path, root), name, length)
        for file in files
        for name, length in file.functions()
        if length > LONGEST_FUNCTION
    ]
    show("%d functions of more than %d lines" % (len(functions), LONGEST_FUNCTION), functions)
    long = [
        "%s %d" % (os.path.relpath(file.path, root), file.lines()) for file in files if file.lines() > LONGEST_FILE
    ]
    show("%d files of more than %d lines" % (len(long), LONGEST_FILE), long)

    comments = [(file, comment) for file in files for comment in file.doc_comments()]
    pattern = re.compile(r"(%s)\b" % "|".join(PRONOUNS), re.IGNORECASE)
    begun = [
        "%s %s" % (os.path.relpath(file.path, root), comment) for file, comment in comments if pattern.match(comment)
    ]
    share = 100 * len(begun) / max(len(comments), 1)
    show("%d of %d doc comments begin with a pronoun or a question word: %.1f %%" % (len(begun), len(comments), share), begun)


main()
