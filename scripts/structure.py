"""Count what the structure of pycnn forbids, and fail where there is any.

    python scripts/structure.py [--list] [--report]

- circles: modules that import each other, while running or for annotations alone;
- reach-ins: private names of another module's objects (``network._theta`` outside network.py);
- kind tests: code outside the layers that asks which kind a layer is;
- walks: loops outside the table of tensors that ask layer after layer for its shapes.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYER_CLASSES = {"Dense", "Dropout", "BatchNorm", "LayerNorm", "Residual"}
# Here a layer's kind may be known: where layers are written, rebuilt from plain data, and run.
LAYER_ROOMS = ("layers", "_folding", "backend.numpy.")
# What asks one layer for its shapes; the table of tensors does it for all of them, once.
SHAPE_QUESTIONS = {"output_shape", "shapes", "statistic_shapes", "tensor_specs", "width"}
TABLE = "_architecture"


def modules():
    """Return each module's name below pycnn, and its tree."""
    found = {}
    for path in sorted((ROOT / "pycnn").rglob("*.py")):
        parts = path.relative_to(ROOT / "pycnn").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def for_annotations(tree):
    """Return the nodes that run for the type checker only."""
    nodes = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            nodes.update(inner for child in node.body for inner in ast.walk(child))
    return nodes


def imports(tree, names, annotations):
    """Return the modules of pycnn that a module imports."""
    skipped = set() if annotations else for_annotations(tree)
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name.removeprefix("pycnn.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pycnn":
            base = node.module.removeprefix("pycnn").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                found.add(inner if inner in names else base)
    return found & names - {""}


def circles(graph):
    """Return the sets of modules that reach each other (Tarjan 1972)."""
    index, low, stack, result = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                result.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return result


def chain(graph):
    """Return the longest chain of imports; circles count once."""
    seen = {}

    def longest(node, path):
        if node in path:
            return ()
        if node not in seen:
            tails = [longest(other, (*path, node)) for other in graph[node]]
            seen[node] = (node, *max(tails, key=len, default=()))
        return seen[node]

    return max((longest(node, ()) for node in graph), key=len)


def is_private(name):
    """Tell whether a name is private, and no dunder."""
    return name.startswith("_") and not name.endswith("__")


def private_names(tree):
    """Return the private names that a module defines, of itself or of its objects."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # __slots__
    return {name for name in names if is_private(name)}


def reach_ins(name, tree):
    """Yield where a module uses private names that it does not define."""
    own = private_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            holder = node.value
            if isinstance(holder, ast.Name) and holder.id in ("self", "cls", "ffi", "lib"):
                continue
            if isinstance(holder, ast.Name) and holder.id in ("os", "sys"):
                continue  # sys._getframe
            if node.attr in ("_replace", "_asdict", "_fields"):
                continue  # public, of a NamedTuple
            if ast.unparse(holder) == "super()":
                continue
            yield f"{name}:{node.lineno} {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pycnn"):
            for alias in node.names:
                room = ROOT / node.module.replace(".", "/")
                is_module = (room / f"{alias.name}.py").exists() or (room / alias.name).is_dir()
                if is_private(alias.name) and not is_module and alias.name != "_native":
                    yield f"{name}:{node.lineno} from {node.module} import {alias.name}"


def kind_tests(name, tree):
    """Yield where a module outside the layers asks for a layer's kind."""
    if any(name == room or name.startswith(room.rstrip(".") + ".") for room in LAYER_ROOMS):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            classes = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
            if classes & LAYER_CLASSES:
                yield f"{name}:{node.lineno} {ast.unparse(node)}"
        elif isinstance(node, (ast.Compare, ast.Call)):
            sides = [node.func] if isinstance(node, ast.Call) else [node.left, *node.comparators]
            for side in sides:
                if re.search(r"(\.kind\b|\['kind'\])(\.\w+)?$", ast.unparse(side)):
                    text = ast.unparse(node)
                    if not any(other in text for other in ("dtype", "parameter", "optimizer")):
                        yield f"{name}:{node.lineno} {text}"
                    break


def walks(name, tree):
    """Yield the functions outside the table that ask layer after layer for its shapes."""
    if name == TABLE or name.split(".")[0] == "layers":
        return
    loops = (ast.For, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for loop in ast.walk(function):
            if isinstance(loop, loops) and any(
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in SHAPE_QUESTIONS
                for node in ast.walk(loop)
            ):
                yield f"{name}:{loop.lineno} {function.name}"
                break


def core_kind_tests():
    """Yield where C outside a layer's own file and the table asks for a layer's kind."""
    kinds = re.compile(r"\bPYCNN_(DENSE|DROPOUT|BATCH_NORM|LAYER_NORM|RESIDUAL)\b")
    for path in sorted((ROOT / "csrc").glob("*.c")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            row_of_table = re.search(r"case PYCNN_\w+: return &|\[PYCNN_\w+\] = &", line)
            if kinds.search(line) and not row_of_table:
                yield f"csrc/{path.name}:{number} {line.strip()}"


def longest_functions(trees):
    """Return the longest function's lines, without its docstring, and name."""
    lengths = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                docs = first.end_lineno - first.lineno + 1 if documented else 0
                lengths.append((node.end_lineno - node.lineno + 1 - docs, f"{name}.{node.name}"))
    return max(lengths)


def longest_file(trees):
    """Return the longest file's lines, without documentation and blank lines, and name."""
    lengths = []
    for name, tree in trees.items():
        parts = (
            tree,
            *(n for n in ast.walk(tree) if isinstance(n, (ast.ClassDef, ast.FunctionDef))),
        )
        documented = set()
        for node in parts:
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                documented.update(range(first.lineno, first.end_lineno + 1))
        used = {n.lineno for n in ast.walk(tree) if hasattr(n, "lineno")} - documented
        lengths.append((len(used), name))
    return max(lengths)


def main():
    """Count, print, and fail where a count is not zero."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print each of them")
    parser.add_argument("--report", action="store_true", help="also what is only measured")
    arguments = parser.parse_args()
    trees = modules()
    names = set(trees)
    running = {name: imports(tree, names, False) - {name} for name, tree in trees.items()}
    annotated = {name: imports(tree, names, True) - {name} for name, tree in trees.items()}
    counts = {
        "circles while running": [" ".join(circle) for circle in circles(running)],
        "circles of annotations": [" ".join(circle) for circle in circles(annotated)],
        "reach-ins": [x for name, tree in trees.items() for x in reach_ins(name, tree)],
        "kind tests": [x for name, tree in trees.items() for x in kind_tests(name, tree)],
        "kind tests in C": list(core_kind_tests()),
        "walks": [x for name, tree in trees.items() for x in walks(name, tree)],
    }
    for what, places in counts.items():
        print(f"{len(places):4d} {what}")
        if arguments.list:
            print(*(f"       {place}" for place in places), sep="\n")
    if arguments.report:
        print("longest function: {} lines, {}".format(*longest_functions(trees)))
        print("longest file: {} lines of code, {}".format(*longest_file(trees)))
        deepest = chain(running)
        print(f"deepest chain of imports: {len(deepest)}, {' > '.join(deepest)}")
    sys.exit(any(counts.values()))


if __name__ == "__main__":
    main()
