"""The rules of the house that a machine can check: who imports whom, and what is written where."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import leukoscope
from leukoscope import errors

ROOT = Path(leukoscope.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

ORDER = (
    "errors",
    "labels",
    "interval",
    "text",
    "storage",
    "records",
    "progress",
    "config",
    "runfolder",
    "scores",
    "data",
    "sources",
    "painted",
    "trust",
    "models",
    "scoring",
    "training",
    "explain",
    "deploy",
    "evaluation",
    "report",
    "pipelines",
    "cli",
)
"""From bottom to top: a room imports only from rooms that stand before it, and from itself."""

HEAVY = {
    "accelerate",
    "filelock",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "pandas",
    "pyarrow",
    "safetensors",
    "scipy",
    "seaborn",
    "sklearn",
    "torch",
}
TORCH_ROOMS = (
    "models/",
    "training/",
    "data/augment.py",
    "data/loader.py",
    "deploy/export.py",
    "explain/attribution.py",
    "explain/maps.py",
)


def get_name(path):
    return path.relative_to(ROOT).as_posix()


def get_room(module):
    """`leukoscope.data.images` -> `data`; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def get_module(path):
    parts = ("leukoscope", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


@functools.cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def list_imports(tree, *, top_only=False):
    """Full names of what a file imports. `from leukoscope import x` and `from leukoscope.data
    import x` name the module x. With `top_only`, what is imported when the file is."""
    if top_only:
        # Blocks that run at import count; functions and `if TYPE_CHECKING` do not.
        nodes, queue = [], list(tree.body)
        while queue:
            node = queue.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                queue += node.orelse
                continue
            nodes.append(node)
            queue += ast.iter_child_nodes(node)
    else:
        nodes = list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                below = ROOT.parent / (node.module.replace(".", "/") + f"/{alias.name}")
                is_module = below.is_dir() or below.with_suffix(".py").is_file()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return found


def test_the_reader_of_imports_reads():
    """The checks below see nothing if this sees nothing."""
    source = (
        "import os.path\nfrom leukoscope import pipelines, __version__\n"
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import b\n"
        "try:\n    from leukoscope.data import images\nexcept ImportError:\n    pass\n"
        "class A:\n    import c\n    def f(self):\n        from leukoscope.errors import RunError\n"
    )
    top = {"os.path", "leukoscope.pipelines", "leukoscope", "b", "c", "leukoscope.data.images"}
    assert list_imports(ast.parse(source), top_only=True) == top
    assert list_imports(ast.parse(source)) == top | {"torch", "leukoscope.errors"}
    with pytest.raises(AssertionError, match="relative"):
        list_imports(ast.parse("from . import x"))
    assert len(FILES) > 30


# -- which way imports go ---------------------------------------------------------------------


def test_every_room_has_its_place():
    rooms = {get_room(get_module(path)) for path in FILES}
    assert rooms - {"", "__main__", "recipes"} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_imports_go_down(path):
    room = get_room(get_module(path))
    if room == "__main__":
        return
    rooms = {get_room(name) for name in list_imports(parse(path)) if name.startswith("leukoscope.")}
    allowed = set(ORDER[: ORDER.index(room) + 1]) if room in ORDER else set()
    if room == "evaluation":
        allowed -= {"models", "training", "explain"}  # it knows score tables, no networks
    if room == "trust":
        allowed -= {"data", "sources", "painted"}  # it knows score tables
    if room == "models":
        allowed = {"errors", "models"}  # no files, no configuration, no images
    assert rooms <= allowed


def test_no_files_import_each_other_in_a_circle():
    graph = {
        get_module(path): {
            name for name in list_imports(parse(path)) if name.startswith("leukoscope.")
        }
        for path in FILES
    }
    done = set()

    def visit(module, road):
        assert module not in road, " -> ".join([*road, module])
        if module not in done:
            for name in graph[module]:
                visit(name, [*road, module])
            done.add(module)

    for module in graph:
        visit(module, [])


@pytest.mark.parametrize(
    "path", [path for path in FILES if get_name(path).startswith("models/")], ids=get_name
)
def test_networks_know_nothing_of_files(path):
    names = {name.split(".")[0] for name in list_imports(parse(path))}
    assert not names & {"io", "os", "pathlib", "json", "PIL", "safetensors", "shutil", "tempfile"}
    called = {n.func.id for n in ast.walk(parse(path)) if isinstance(n, ast.Call)
              and isinstance(n.func, ast.Name)}  # fmt: skip
    assert "open" not in called


# -- weight stays at the edge -----------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_torch_is_imported_only_where_networks_are(path):
    name, tree = get_name(path), parse(path)
    top = {module.split(".")[0] for module in list_imports(tree, top_only=True)}
    anywhere = {module.split(".")[0] for module in list_imports(tree)}
    if name.startswith(TORCH_ROOMS):
        return
    assert "torch" not in top
    if name not in ("pipelines/runs.py", "pipelines/deploy.py", "explain/explainer.py"):
        assert not anywhere & {"torch", "accelerate", "safetensors"}
    if not name.startswith(("evaluation/", "report/")):
        assert not top & HEAVY


LIGHT = ["leukoscope.cli.app", "leukoscope.cli.render", "leukoscope.report.decision_words"]
LIGHT += [
    get_module(path)
    for path in FILES
    if get_name(path).startswith(
        ("data/", "sources/", "painted/", "deploy/", "explain/", "pipelines/", "trust/")
    )
    and not get_name(path).startswith(TORCH_ROOMS)
]


def test_light_modules_import_nothing_heavy():
    script = f"import sys; import {', '.join(LIGHT)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "leukoscope" in loaded and "typer" in loaded
    assert not loaded & HEAVY


# -- what is written where --------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "__init__.py"], ids=get_name
)
def test_init_files_hold_a_docstring_only(path):
    tree = parse(path)
    assert ast.get_docstring(tree)
    if path.parent == ROOT:
        names = [target.id for node in tree.body[1:] for target in node.targets]
        assert names == ["__version__", "__all__"]
    elif get_name(path) == "pipelines/__init__.py":
        # The Python API: one name for each use case, wherever in the room it lives.
        *imports, last = tree.body[1:]
        assert all(node.module.startswith("leukoscope.pipelines.") for node in imports)
        assert [target.id for target in last.targets] == ["__all__"]
        listed = ast.literal_eval(last.value)
        assert set(listed) == {alias.name for node in imports for alias in node.names}
        assert not any(name.startswith("_") for name in listed)
    else:
        assert len(tree.body) == 1


def list_public(body, prefix=""):
    """(name, node) of public functions, classes and methods."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from list_public(node.body, f"{prefix}{node.name}.")


INHERITED = {"forward", "invoke", "extra_repr"}
"""Methods that a library defines and documents."""


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_everything_public_has_a_docstring(path):
    tree = parse(path)
    text = ast.get_docstring(tree) or ""
    assert text.split("\n")[0].endswith((".", ":")), "the first line says the subject"
    bare = [
        name
        for name, node in list_public(tree.body)
        if not ast.get_docstring(node) and name.rsplit(".", 1)[-1] not in INHERITED
    ]
    assert bare == []


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_names_keep_their_promise(path):
    assert path.stem not in {"utils", "common", "helpers", "misc"}
    tree = parse(path)
    for name, node in list_public(tree.body):
        if name.startswith("check_"):
            returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            assert not any(returned), f"{name} raises or returns nothing"


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_printing_and_exiting_are_left_to_the_command_line(path):
    if get_name(path).startswith("cli/") or path.name == "__main__.py":
        return
    called = {ast.unparse(n.func) for n in ast.walk(parse(path)) if isinstance(n, ast.Call)}
    assert not called & {"print", "exit", "sys.exit", "os._exit", "input", "breakpoint"}


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_errors_are_the_packages_own_and_in_three_parts(path):
    own = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
    # ValueError inside a pydantic validator and KeyboardInterrupt are what their callers ask for.
    # `error_type` is one of the package's own, chosen by the caller (`records`).
    others = {"ValueError", "KeyboardInterrupt", "error_type"} | (
        {"Exit"} if "cli/" in get_name(path) else set()
    )
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(call).rsplit(".", 1)[-1]
            assert name in own | others or name.startswith("_"), f"line {node.lineno}: {name}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in own:
            parts = 4 if ast.unparse(node.func) == "ImageError" else 3
            assert len(node.args) == parts, f"line {node.lineno}"
            for part in node.args:
                text = ast.unparse(part).strip("'\"")
                # The constructor ends each part with a full stop.
                assert not text.removesuffix("...").endswith("."), f"line {node.lineno}: {text}"


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_nothing_unfinished(path):
    text = path.read_text(encoding="utf-8")
    for word in ("TODO", "FIXME", "XXX", "NotImplementedError"):
        assert word not in text


# -- closed choices ---------------------------------------------------------------------------


def list_choices():
    """(file, value) of every string in a `Literal[...]` of the package."""
    for path in FILES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
                for leaf in ast.walk(node.slice):
                    if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                        yield get_name(path), leaf.value


def list_strings(path):
    """Every string that stands in a file outside of `Literal[...]`."""
    found = set()
    queue = [parse(path)]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        queue += ast.iter_child_nodes(node)
    return found


def test_every_choice_is_used_by_source_or_tests():
    choices = set(list_choices())
    assert len(choices) > 20
    used = set()
    for path in [*FILES, *Path(__file__).parents[1].rglob("test_*.py")]:
        used |= list_strings(path)
    # Settings are also given as `key=value`.
    used |= {text.split("=", 1)[1] for text in used if "=" in text}
    assert sorted((file, value) for file, value in choices if value not in used) == []
