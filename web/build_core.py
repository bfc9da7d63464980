"""Compile the core to WebAssembly for the page, and write down how its structs lie in memory.

    python web/build_core.py [--zig COMMAND]

It needs Zig (PyPI: ziglang) and pycparser, which cffi brings. Into web/build/ it writes core.wasm,
with kernels of relaxed SIMD, core_plain.wasm, for browsers without it, layout.ts, and the digits
that pycnn brings. A module imports nothing; it exports what src/core.ts calls, and the rest of the
core stays away.
"""

import argparse
import gzip
import os
import re
import shlex
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pycparser import c_ast, c_parser

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent / "csrc"
BUILD = HERE / "build"
MOST_BYTES = 120_000  # of a module, compressed
# What is compiled to be fast, without kernels of an instruction set and with them.
FAST = ({"kernels_baseline", "activation", "loss", "optimizer"}, {"kernels_wasm"})
SIZES = {"double": 8, "uint64_t": 8, "int": 4, "size_t": 4, "pointer": 4}


def declarations():
    """Return the headers' declarations, parsed."""
    text = "".join((CSRC / name).read_text("utf-8") for name in ("pycnn.h", "pycnn_file.h"))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r'^\s*#.*$|extern "C" \{|^\}$', "", text, flags=re.M).replace("PYCNN_API", "")
    types = "typedef unsigned size_t; typedef unsigned long long uint64_t;\n"
    return c_parser.CParser().parse(types + text)


def calls():
    """Return the names of the functions that the page calls."""
    text = (HERE / "src" / "core.ts").read_text("utf-8")
    return sorted(set(re.findall(r'"(pycnn_\w+|page_\w+|malloc|free)"', text)))


def enum_values(enumeration):
    """Yield the names and values of an enum."""
    for value, item in enumerate(enumeration.values.enumerators):
        yield item.name, value if item.value is None else int(item.value.value)


def layout(struct, structs, enums):
    """Return where a struct's fields lie on wasm32, with the types of their elements; its size."""
    at, widest, fields = 0, 1, {}
    for declaration in struct.decls:
        kind, count = declaration.type, 1
        if isinstance(kind, c_ast.ArrayDecl):
            size = kind.dim
            count = int(size.value) if isinstance(size, c_ast.Constant) else enums[size.name]
            kind = kind.type
        name = "pointer" if isinstance(kind, c_ast.PtrDecl) else kind.type.names[0]
        bytes_, align = structs[name][1:] if name in structs else (SIZES[name], SIZES[name])
        at = -(-at // align) * align
        fields[declaration.name] = (at, name)
        at, widest = at + count * bytes_, max(widest, align)
    return fields, -(-at // widest) * widest, widest


def read_headers():
    """Return the enums' values and the structs' layouts."""
    tree = declarations()
    enums, structs = {}, {}
    for node in tree.ext:
        inner = getattr(node.type, "type", None)
        for kind in (node.type, inner):
            if isinstance(kind, c_ast.Enum) and kind.values:
                enums.update(enum_values(kind))
        if isinstance(inner, c_ast.Struct) and inner.decls:
            structs[node.name] = layout(inner, structs, enums)
    return enums, structs


def typescript(enums, structs):
    """Return a module with the enums and the layouts."""
    lines = ["// Made by build_core.py of csrc/pycnn.h: values, and where fields lie on wasm32."]
    lines += [f"export const {name} = {value};" for name, value in enums.items()]
    for name, (fields, size, _) in structs.items():
        lines.append(f"export const {name} = {{")
        lines.append(f"  SIZE: {size},")
        lines += [f'  {field}: [{at}, "{kind}"],' for field, (at, kind) in fields.items()]
        lines.append("} as const;")
    return "\n".join(lines) + "\n"


def assertions(structs):
    """Return C that does not compile where the compiler lays a struct out otherwise."""
    lines = ['#include "pycnn.h"', '#include "pycnn_file.h"']
    for name, (fields, size, _) in structs.items():
        lines.append(f'_Static_assert(sizeof({name}) == {size}, "{name}");')
        for field, (at, _) in fields.items():
            lines.append(f'_Static_assert(offsetof({name}, {field}) == {at}, "{name}.{field}");')
    return "\n".join(lines) + "\n"


def compile_core(output, zig, exports, *options):
    """Compile one module, and say how large it is.

    Speed is the kernels' alone, so that all else is made small. The options are for the kernels
    and for what chooses them: the plain ones are to stay as they are written.
    """
    objects = BUILD / output.stem
    objects.mkdir(exist_ok=True)
    flags = ["-target", "wasm32-wasi", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    flags += ["-DPYCNN_NO_THREADS", "-DPYCNN_NO_GETENV", f"-I{CSRC}"]
    core = [path for path in sorted(CSRC.glob("*.c")) if path.name != "pycnn_file.c"]
    fast = [path for path in core if path.stem in FAST[bool(options)]]
    small = [path for path in core if path not in fast] + [HERE / "core.c", BUILD / "layout.c"]
    made = {source: objects / f"{source.stem}.o" for source in [*fast, *small]}

    def compile_one(source):
        own = ["-Os" if source in fast else "-Oz"]
        own += options if source.stem in ("cpu", "kernels", "kernels_wasm") else []
        run([*zig, "cc", *flags, *own, "-c", source, "-o", made[source]])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, made))
    link = ["-target", "wasm32-wasi", "-mexec-model=reactor", "-Wl,-z,stack-size=131072"]
    link += ["-Wl,--strip-all", *(f"-Wl,--export={name}" for name in exports)]
    run([*zig, "cc", *link, *made.values(), "-o", output])
    size = len(gzip.compress(output.read_bytes(), 9, mtime=0))
    print(f"{output.name}: {output.stat().st_size:,} bytes, compressed {size:,}")
    if size > MOST_BYTES:
        raise SystemExit(f"{output.name} is larger than {MOST_BYTES:,} bytes")


def run(command):
    """Run a program, and end where it fails."""
    if subprocess.run(list(map(str, command)), check=False).returncode != 0:
        raise SystemExit(f"{command[0]} has failed")


def digits():
    """Return the digits as bytes, 64 pixels of 0 ... 16 each, and behind all of them the labels."""
    with zipfile.ZipFile(HERE.parent / "pycnn" / "datasets" / "digits.npz") as archive:
        arrays = [archive.read(name) for name in ("images.npy", "labels.npy")]
    # Behind ten bytes, the last two of which say how long it is, comes a header.
    return b"".join(array[10 + int.from_bytes(array[8:10], "little") :] for array in arrays)


def main():
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zig", default=f"{sys.executable} -m ziglang", help="the command")
    zig = shlex.split(parser.parse_args().zig)
    BUILD.mkdir(exist_ok=True)
    enums, structs = read_headers()
    (BUILD / "layout.ts").write_text(typescript(enums, structs), encoding="utf-8")
    (BUILD / "layout.c").write_text(assertions(structs), encoding="utf-8")
    (BUILD / "digits.bin").write_bytes(digits())
    exports = calls()
    compile_core(BUILD / "core.wasm", zig, exports, "-msimd128", "-mrelaxed-simd")
    compile_core(BUILD / "core_plain.wasm", zig, exports)


if __name__ == "__main__":
    main()
