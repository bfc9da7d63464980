"""Write the C core as two files, pycnn.c and pycnn.h, to be dropped into somebody's project.

    python scripts/amalgamate.py FOLDER

What the files of csrc/ share becomes static, and a name that two of them use each in its own way,
as the kernels' templates do for each instruction set, gets the file's name appended. So one program
can be linked with two versions, where one has a prefix of its own, as has what includes its header:

    cc -O2 -DPYCNN_PREFIX=mine_ -c pycnn.c      # mine_train, mine_predict, ...

WebAssembly's kernels stay out: they are a fifth of a file that goes into every wheel, for compilers
that hardly anyone hands it to.
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
    """Return the text of the sources as one; all three are texts by the names of files."""
    tables = re.findall(
        r"\bpycnn_\w+", "".join("".join(TABLES.findall(t)) for t in headers.values())
    )
    seen = set()

    def template(match):
        body = templates[match[1]]
        if match[1] in seen:  # told about where it first stands
            body = re.sub(r"\n[ \n]*\n", "\n\n", COMMENT.sub("", body))
        seen.add(match[1])
        return body

    def header(match):
        name = match[1]
        if name in seen:
            return ""
        seen.add(name)
        return INCLUDE.sub(header, headers[name]) if name in headers else match[0]

    units = {}
    for name in in_order(sources, tables):
        text = TEMPLATE.sub(template, sources[name])
        for table in tables:
            text = definition(table).sub("static ", text)
        units[name] = text
    owners = Counter(
        name for text in [*units.values(), "".join(headers.values())] for name in names(text)
    )
    result = []
    for unit, text in units.items():
        own = {
            name: f"{name}_{unit.removesuffix('.c')}" for name in names(text) if owners[name] > 1
        }
        text = WORD.sub(lambda word, own=own: own.get(word[0], word[0]), text)
        result.append(f"/* {f' {unit} ':-^94} */\n\n" + INCLUDE.sub(header, text))
        result += [f"#undef {macro}" for macro in sorted(set(MACRO.findall(text)))]
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
    settings = "#define PYCNN_PRIVATE static\n#define HAVE_WASM 0\n\n"
    core = settings + one_source(sources, headers, templates)
    licence = (ROOT / "LICENSE").read_text("utf-8").strip().replace("\n", "\n * ")
    banner = f"/* {{}}, made by pycnn's scripts/amalgamate.py.\n *\n * {licence}\n */\n"
    banner = re.sub(r" +$", "", banner, flags=re.M)
    made = {
        name: banner.format("A header of pycnn.c") + with_prefix(files[name]) for name in public
    }
    return made | {"pycnn.c": banner.format("The core as one file") + core}


def for_compilers(text):
    """Return what a compiler reads of a source: no comment but the first, and no indentation."""
    licence, end, code = text.partition("*/\n")
    code = WORD.sub(lambda word: " " if word[0].startswith("/*") else word[0], code)
    lines = (line.strip() for line in code.splitlines())
    return licence + end + "\n".join(filter(None, lines)) + "\n"


def write(folder, short=False):
    """Write them, the source as short as a compiler bears it or as it is; makes the folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in amalgamate().items():
        text = for_compilers(text) if short and name.endswith(".c") else text
        Path(folder, name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(sys.argv[1])
