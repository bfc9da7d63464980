"""Write the C core as two files, pycnn.c and pycnn.h, to be dropped into somebody's project.

    python scripts/amalgamate.py FOLDER

What the files of csrc/ share becomes static, and a name that two of them use each in its own way
gets the file's name appended. The kernels' templates stand there once: the file, whose name has to
stay, includes itself for each instruction set. One program can be linked with two versions, where
one has a prefix of its own, as has what includes its header:

    cc -O2 -DPYCNN_PREFIX=mine_ -c pycnn.c      # mine_train, mine_predict, ...

WebAssembly's kernels stay out: hardly anyone hands the file to compilers that could use them.
"""

import re
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"

COMMENT = re.compile(r"/\*.*?\*/", re.S)
# A name that is no field's; comments and texts are words too, and nobody's names.
WORD = re.compile(
    r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|(?<!->)(?<!\.)\b[A-Za-z_]\w*", re.S
)
INCLUDE = re.compile(r'^#include "(\w+\.h)"\n', re.M)
TEMPLATE = re.compile(r'^#include "(\w+_template\.h)"\n', re.M)
MACRO = re.compile(r"^ *# *define (\w+)", re.M)
CALL = re.compile(r"^PYCNN_API\b[^(;]*?\bpycnn_(\w+)\(", re.M)
# What to compile of the file, and how it has itself compiled so.
SECTION = "PYCNN_TEMPLATE"
ITSELF = f'#define {SECTION} {{}}\n#include "pycnn.c"\n#undef {SECTION}\n'
TABLES = re.compile(r"^extern PYCNN_PRIVATE [^;]*;\n", re.M)

# What a file names at its outermost level, in the form that clang-format gives it.
ENUM = re.compile(r"^(?:typedef )?enum \{([^}]*)\}", re.M)
NAMES = [
    re.compile(r"^(?:static|ALWAYS_INLINE|THREAD_FUNCTION)\b[^;=(){}]*?\b(\w+)\(", re.M),
    re.compile(r"^static [^;=(){}]*?\b(\w+)(?:\[[^\]]*\])* = ", re.M),
    re.compile(r"^typedef [^(;{]*?\b(\w+)(?= __attribute__|\(|;)", re.M),
    re.compile(r"^\} (\w+);", re.M),
    re.compile(r"^(?:typedef )?(?:struct|union) (\w+) \{", re.M),
]

PREFIX = """\
/* Another prefix than pycnn_, so that two versions can be linked into one program. */
#if defined(PYCNN_PREFIX)
#define PYCNN_JOIN_(prefix, name) prefix##name
#define PYCNN_JOIN(prefix, name) PYCNN_JOIN_(prefix, name)
"""


def names(text):
    """Return what `text` names for itself."""
    text = COMMENT.sub("", text)
    found = {name for pattern in NAMES for name in pattern.findall(text)}
    found.update(
        name for body in ENUM.findall(text) for name in re.findall(r"(?:^|,)\s*(\w+)", body)
    )
    return found - {"SUFFIX"}


def definition(table):
    """Return a pattern of where a table that files share is defined."""
    return re.compile(rf"^(?=[\w *]*\b{table}\b(\[\w+\])? = )", re.M)


def in_order(sources, tables):
    """Return the names of the sources, each behind those that define the tables it reads.

    The one that opens the system's headers, which define macros as they like, comes last.
    """
    homes = {t: s for t in tables for s, text in sources.items() if definition(t).search(text)}
    before = {
        s: [homes[t] for t in tables if t in text and homes.get(t, s) != s]
        for s, text in sources.items()
    }
    before["threads.c"] = [s for s in sources if s != "threads.c"]
    return TopologicalSorter(before).static_order()


def one_source(sources, headers, templates):
    """Return the text of the sources as one; all three are texts by the names of files.

    Templates stand at its beginning, once. Where one is to be compiled, the file includes itself.
    """
    tables = re.findall(
        r"\bpycnn_\w+", "".join("".join(TABLES.findall(t)) for t in headers.values())
    )
    numbers = {name: number for number, name in enumerate(templates, start=1)}
    seen = set()

    def header(match):
        name = match[1]
        if name in seen:
            return ""
        seen.add(name)
        return INCLUDE.sub(header, headers[name]) if name in headers else match[0]

    units, shared = {}, {}
    for name in in_order(sources, tables):
        units[name] = sources[name]
        for table in tables:
            units[name] = definition(table).sub("static ", units[name])
        shared[name] = "".join(templates[used] for used in TEMPLATE.findall(sources[name]))
    owners = Counter(
        name
        for text in [*(units[unit] + shared[unit] for unit in units), "".join(headers.values())]
        for name in names(text)
    )
    result = [f"#if defined({SECTION})"]
    for name, text in templates.items():
        result.append(f"#{'if' if numbers[name] == 1 else 'elif'} {SECTION} == {numbers[name]}")
        result.append(f"/* {f' {name} ':-^94} */\n\n{text}")
    result += ["#endif", "#else", "#define PYCNN_PRIVATE static", "#define HAVE_WASM 0"]
    for unit, text in units.items():
        ending = unit.removesuffix(".c")
        common = {name for name in names(shared[unit]) if owners[name] > 1}
        own = {name: f"{name}_{ending}" for name in names(text) - common if owners[name] > 1}
        text = WORD.sub(lambda word, own=own: own.get(word[0], word[0]), text)
        renamed = "".join(f"#define {name} {name}_{ending}\n" for name in sorted(common))
        text = TEMPLATE.sub(lambda match, renamed=renamed: renamed + match[0], text, count=1)
        text = TEMPLATE.sub(lambda match: ITSELF.format(numbers[match[1]]), text)
        result.append(f"/* {f' {unit} ':-^94} */\n\n" + INCLUDE.sub(header, text))
        macros = {*common, *MACRO.findall(units[unit]), *MACRO.findall(shared[unit])}
        result += [f"#undef {macro}" for macro in sorted(macros)]
    result.append("#endif")
    return TABLES.sub("", "\n".join(result)) + "\n"


def with_prefix(header):
    """Return a public header whose calls can have another prefix."""
    calls = "".join(
        f"#define pycnn_{n} PYCNN_JOIN(PYCNN_PREFIX, {n})\n" for n in CALL.findall(header)
    )
    before, brace, behind = header.partition('#ifdef __cplusplus\nextern "C" {')
    return f"{before}{PREFIX}{calls}#endif\n\n{brace}{behind}"


def amalgamate():
    """Return the texts of the files by their names."""
    files = {path.name: path.read_text("utf-8") for path in sorted(CSRC.glob("*.[ch]"))}
    files.pop("kernels_wasm.c", None)
    sources = {name: text for name, text in files.items() if name.endswith(".c")}
    templates = {name: text for name, text in files.items() if name.endswith("_template.h")}
    headers = {
        name: re.sub(r"^#ifndef \w+_H\n#define \w+_H\n|^#endif\n\Z", "", text, flags=re.M)
        for name, text in files.items()
        if name.endswith(".h") and name not in templates and not name.startswith("pycnn")
    }
    public = [
        n for n in files if n == "pycnn.h" or (n == "pycnn_file.h" and "pycnn_file.c" in files)
    ]
    core = one_source(sources, headers, templates)
    licence = (ROOT / "LICENSE").read_text("utf-8").strip().replace("\n", "\n * ")
    banner = f"/* {{}}, made by pycnn's scripts/amalgamate.py.\n *\n * {licence}\n */\n"
    banner = re.sub(r" +$", "", banner, flags=re.M)
    made = {
        name: banner.format("A header of pycnn.c") + with_prefix(files[name]) for name in public
    }
    title = "The core as one file, which has to be called pycnn.c"
    return made | {"pycnn.c": banner.format(title) + core}


def without_comments(text):
    """Return a source of which the first comment alone is left: what a compiler reads."""
    licence, end, code = text.partition("*/\n")
    code = WORD.sub(lambda word: " " if word[0].startswith("/*") else word[0], code)
    lines = (line.rstrip() for line in code.splitlines())
    return licence + end + "\n".join(filter(None, lines)) + "\n"


def write(folder, comments=True):
    """Write them, the source with its comments or without; the folder is made if need be."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in amalgamate().items():
        short = name.endswith(".c") and not comments
        Path(folder, name).write_text(
            without_comments(text) if short else text, encoding="utf-8", newline="\n"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(sys.argv[1])
