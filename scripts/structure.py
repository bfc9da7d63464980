"""Count what the structure of pycnn forbids, and fail where there is any.

    python scripts/structure.py [--list] [--report]

- circles: modules that import each other, while running or for annotations alone;
- reach-ins: private names of another module's objects (``network._theta`` outside network.py);
- kind tests: code outside the layers that asks which kind a layer is;
- walks: loops outside the table of tensors that ask layer after layer for its shapes;
- foreign names: functions that a header of the core declares and another file defines.

What it reads is text, not types: whoever wants to can fool it. tests/test_structure.py has the
ways that it knows.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Where a layer's kind may be known: where layers are written, rebuilt from plain data, and run, or
# said in a format for other programs.
LAYER_ROOMS = ("layers", "_folding", "backend.numpy")
LAYER_ROOMS += ("_io.onnx", "_io.c_layers", "_io.c_source", "_io.weights")
# What asks one layer for its shapes; the table of tensors does it for all of them, once.
SHAPE_QUESTIONS = {"output_shape", "shapes", "statistic_shapes", "tensor_specs", "spec"}
REPEATING = {"map", "reduce", "accumulate", "starmap"}
# The one walk, and where a layer walks over those that it is made of.
TABLE, WITHIN_A_LAYER = "_architecture", "layers._composite"


def layer_classes_and_kinds():
    """Return the names of the layers' classes, and what they call their kinds."""
    classes, kinds = set(), set()
    for path in (ROOT / "pycnn" / "layers").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "kind":
                    kinds |= {line.value.value} - {""}
                    classes |= {node.name} - {"Layer"}
    return classes, kinds


LAYER_CLASSES, KINDS = layer_classes_and_kinds()


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
            if node.id == "__slots__":
                names |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    return {name for name in names if isinstance(name, str) and is_private(name)}


def own_classes(tree):
    """Return the names of a module's classes."""
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


OF_TYPING = {"Any", "None", "Self", "Callable", "Sequence", "Mapping", "Iterable", "Iterator"}


def annotations_of(function):
    """Return the classes that a function's arguments are annotated with."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    found = {}
    for argument in every:
        if argument.annotation is not None:
            words = re.findall(r"\w+", ast.unparse(argument.annotation))
            found[argument.arg] = next(
                (w for w in words if w[0].isupper() and w not in OF_TYPING), None
            )
    return found


def foreign_holders(tree):
    """Return the nodes of names, and of attributes of self, that hold another module's objects."""
    own = own_classes(tree)
    attributes, found = {}, set()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for turn in range(2):  # what an attribute of self is, the first turn finds
        for function in functions:
            types = annotations_of(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and len(node.targets) == 1:
                    target, value = ast.unparse(node.targets[0]), ast.unparse(node.value)
                    known = types.get(value) or attributes.get(value)
                    if target.startswith("self."):
                        attributes[target] = known
                    elif known:
                        types[target] = known
            if turn:
                for node in ast.walk(function):
                    if isinstance(node, (ast.Name, ast.Attribute)):
                        kind = types.get(ast.unparse(node)) or attributes.get(ast.unparse(node))
                        if kind is not None and kind not in own:
                            found.add(node)
    return found


# What takes the name of an attribute as text.
OF_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # public, for all their names
BY_NAME = {"getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller"}


def private_uses(tree):
    """Yield where a private name is asked for: the node, what holds it, and the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node, node.value, node.attr
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
                yield from ((node, node.args[0], text.value) for text in texts_in(node.args))
        elif isinstance(node, ast.Subscript):
            holder = node.value
            if isinstance(holder, ast.Call) and ast.unparse(holder.func) == "vars":
                yield from ((node, holder.args[0], text.value) for text in texts_in([node.slice]))
            elif isinstance(holder, ast.Attribute) and holder.attr == "__dict__":
                yield from ((node, holder.value, text.value) for text in texts_in([node.slice]))


def texts_in(nodes):
    """Return which of some expressions are texts."""
    return [n for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def reach_ins(name, tree, of_all):
    """Yield where a module uses private names of others; `of_all` are those that any defines."""
    own, foreign = private_names(tree), foreign_holders(tree)
    for node, holder, attribute in private_uses(tree):
        if not is_private(attribute) or attribute not in of_all - OF_TUPLES:
            continue
        inherits = isinstance(holder, ast.Call) and ast.unparse(holder.func) == "super"
        if inherits or ast.unparse(holder) in ("self", "cls"):
            continue
        if attribute not in own or holder in foreign:
            yield f"{name}:{node.lineno} {ast.unparse(node)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pycnn"):
            for alias in node.names:
                room = ROOT / node.module.replace(".", "/")
                is_module = (room / f"{alias.name}.py").exists() or (room / alias.name).is_dir()
                if is_private(alias.name) and not is_module and alias.name != "_native":
                    yield f"{name}:{node.lineno} from {node.module} import {alias.name}"


def within(name, rooms):
    """Tell whether a module is one of some rooms, or in one."""
    return any(name == room or name.startswith(room + ".") for room in rooms)


def words_of(*nodes):
    """Return the names and the texts within some nodes."""
    inner = [node for outer in nodes if outer is not None for node in ast.walk(outer)]
    names = {node.id for node in inner if isinstance(node, ast.Name)}
    names |= {node.attr for node in inner if isinstance(node, ast.Attribute)}
    return names, {node.value for node in inner if isinstance(node, ast.Constant)}


def is_kind(node):
    """Tell whether an expression is what a layer calls its kind, or made of it."""
    text = ast.unparse(node)
    own = re.search(r"(\.kind|\['kind'\])(\.\w+(\(.*\))?)?$", text)
    return bool(own) and not re.search(r"dtype|parameter|optimizer|schedule|initializer", text)


def kind_tests(name, tree):
    """Yield where a module outside the layers asks for a layer's kind."""
    if within(name, LAYER_ROOMS):
        return
    groups = {  # constants that hold classes of layers: FLAT = (Dense, Dropout)
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and words_of(node.value)[0] & LAYER_CLASSES
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, (ast.Tuple, ast.Set, ast.BinOp))
    }
    classes = LAYER_CLASSES | groups
    for node in ast.walk(tree):
        found = False
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function in ("isinstance", "issubclass"):
                found = bool(words_of(*node.args[1:])[0] & classes)
            elif isinstance(node.func, ast.Attribute) and is_kind(node.func.value):
                found = node.func.attr not in ("upper", "lower", "title", "replace")
            elif function.endswith(".get"):
                found = any(map(is_kind, node.args[:1]))
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names, texts = words_of(*sides)
            asks = any(re.match(r"type\(|.*__class__", ast.unparse(side)) for side in sides)
            found = any(map(is_kind, sides)) or bool(texts & KINDS)
            found |= asks and bool(names & classes)
        elif isinstance(node, ast.Match):
            patterns = [case.pattern for case in node.cases]
            names, texts = words_of(*patterns)
            found = is_kind(node.subject) or bool(names & classes or texts & KINDS)
        elif isinstance(node, ast.Subscript):
            found = is_kind(node.slice)
        elif isinstance(node, ast.Dict):
            found = bool(words_of(*node.keys)[1] & KINDS or words_of(*node.keys)[0] & classes)
        if found:
            yield f"{name}:{node.lineno} {ast.unparse(node).splitlines()[0]}"


def asks_for_shapes(node, helpers=()):
    """Tell whether code asks a layer for its shapes, itself or through its module's functions."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            function = ast.unparse(inner.func).rpartition(".")[2]
            if isinstance(inner.func, ast.Attribute) and function in SHAPE_QUESTIONS:
                return True
            if function in helpers:
                return True
    return False


def passes_units_on(loop):
    """Tell whether a loop gives what one layer has to the next: ``fan_in = layer.units``."""
    if not isinstance(loop, ast.For):
        return False
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and re.search(r"\.(units|output_shape|fan_out)$", ast.unparse(node.value))
        for node in ast.walk(loop)
    )


def walks(name, tree):
    """Yield the functions that ask layer after layer for its shapes, but for one in the table."""
    loops = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    # A layer's own methods ask for its own.
    helpers = {f.name for f in functions if asks_for_shapes(f)} - SHAPE_QUESTIONS
    found = []
    for function in functions:
        for loop in ast.walk(function):
            repeats = isinstance(loop, loops)
            if isinstance(loop, ast.Call):
                repeats = ast.unparse(loop.func).rpartition(".")[2] in REPEATING
                if repeats and words_of(*loop.args[:1])[0] & (helpers | SHAPE_QUESTIONS):
                    found.append(f"{name}:{loop.lineno} {function.name}")
                    break
            if (repeats and asks_for_shapes(loop, helpers)) or passes_units_on(loop):
                found.append(f"{name}:{loop.lineno} {function.name}")
                break
    if name != WITHIN_A_LAYER:
        yield from found[1:] if name == TABLE else found


def core_kinds():
    """Return the names of the kinds of layers in the core's header."""
    text = (ROOT / "csrc" / "pycnn.h").read_text(encoding="utf-8")
    (body,) = re.findall(r"typedef enum \{([^}]*)\} pycnn_layer_kind;", text)
    return set(re.findall(r"\b(PYCNN_\w+) = \d+", body))


def without_comments(text):
    """Return C's text without its comments, line by line."""
    return re.sub(r"/\*.*?\*/", lambda match: "\n" * match[0].count("\n"), text, flags=re.S)


def core_kind_tests(texts):
    """Yield where C outside a layer's own file and the table asks for a layer's kind."""
    kinds = re.compile(rf"\b({'|'.join(core_kinds())})\b")
    # One kind's operations, and a kind that is held against something.
    operations = {
        name for text in texts.values() for name in re.findall(r"\blayer_ops (pycnn_\w+) = ", text)
    }
    kept = re.compile(r"[=!]= ?&?(" + "|".join(operations or {"-"}) + r")\b")
    asked = re.compile(
        r"(?<!optimizer)(?<!loss)(->|\.)kind *([=!<>]=|[<>])|switch \([^)]*layer[^)]*kind"
    )
    for name, text in texts.items():
        for number, line in enumerate(without_comments(text).splitlines(), start=1):
            row_of_table = name == "layer.c" and re.search(r"\[PYCNN_\w+\] = &", line)
            declared = name in ("pycnn.h", "pycnn_file.c")  # which names them to files
            if row_of_table or declared:
                continue
            if kinds.search(line) or kept.search(line) or asked.search(line):
                yield f"csrc/{name}:{number} {line.strip()}"


def foreign_names(texts):
    """Yield the functions that a header declares and a file of another name defines."""
    defined = {}
    for name, text in texts.items():
        if name.endswith(".c"):
            plain = without_comments(text)
            for found in re.finditer(r"^\w[^\n;=#]*?\b(pycnn_\w+)\([^;{]*\)\s*\{", plain, re.M):
                defined.setdefault(found[1], name)
    for name, text in texts.items():
        if not name.endswith(".h") or name == "pycnn.h" or "template" in name:
            continue
        for function in re.findall(
            r"^\w[^\n;{=#]*?\b(pycnn_\w+)\([^;{]*\);", without_comments(text), re.M
        ):
            home = defined.get(function, name)
            if home.rpartition(".")[0] != name.rpartition(".")[0]:
                yield f"csrc/{name} declares {function} of {home}"


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
    of_all = set().union(*map(private_names, trees.values()))
    core = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "csrc").glob("*.[ch]"))
    }
    running = {name: imports(tree, names, False) - {name} for name, tree in trees.items()}
    annotated = {name: imports(tree, names, True) - {name} for name, tree in trees.items()}
    counts = {
        "circles while running": [" ".join(circle) for circle in circles(running)],
        "circles of annotations": [" ".join(circle) for circle in circles(annotated)],
        "reach-ins": [x for name, tree in trees.items() for x in reach_ins(name, tree, of_all)],
        "kind tests": [x for name, tree in trees.items() for x in kind_tests(name, tree)],
        "kind tests in C": list(core_kind_tests(core)),
        "foreign names in C": list(foreign_names(core)),
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
