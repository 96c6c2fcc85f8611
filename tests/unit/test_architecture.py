"""The rules of the house that a machine can check: who imports whom, what is written where, the
five rules that keep it small, and its words."""

import ast
import functools
import re
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
    "spread",
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
    "smear",
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
        ("data/", "sources/", "painted/", "deploy/", "explain/", "pipelines/", "smear/", "trust/")
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
            parts = 4 if ast.unparse(node.func) in ("FileError", "ImageError") else 3
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


# -- the five rules ---------------------------------------------------------------------------
#
# 1. A fact is a value with a code; sentences are made in `report/` and `cli/` (`pipelines/`, above
# them, hands them on). 2. One type per thing. 3. Every JSON file is a record. 4. Computing, drawing
# and wording are three places. 5. One page frame.

TOP = ("report/", "cli/", "pipelines/", "__main__.py")
"""Where sentences may be made."""

OWN_ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}


def list_texts(tree):
    """(line, string) of every string of a file, docstrings and what errors say left out."""
    skipped = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else ():
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                skipped.add(one.value)
        if isinstance(node, ast.Raise):
            skipped |= set(ast.walk(node))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rsplit(".", 1)[-1]
            if name in OWN_ERRORS | {"ValueError", "error_type"} or name == "cast":
                skipped |= set(ast.walk(node))
        for note in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if note is not None:
                skipped |= set(ast.walk(note))  # types in quotes
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.lineno, node.value


def is_sentence(text):
    """Four words or more: a name, a key or a column is shorter."""
    return " " in text.strip() and len(re.findall(r"[A-Za-z]{2,}", text)) >= 4


def test_the_reader_of_texts_reads():
    source = (
        '"""A module that says much more."""\n'
        'def f(x: "Mapping[str, int | None | float]"):\n    """It says what it does here."""\n'
        '    if x:\n        raise DataError("one two three four", "b", "c")\n'
        '    return f"it is {x} that is said here"\n'
    )
    assert [text for _, text in list_texts(ast.parse(source)) if is_sentence(text)] == [
        " that is said here"
    ]


ERROR_PARTS = {
    "data/audit.py": 3,
    "data/catalog.py": 11,
    "data/images.py": 4,
    "data/readers.py": 7,
    "data/splits.py": 2,
    "data/tables.py": 2,
    "deploy/bundle.py": 2,
    "deploy/graphs.py": 1,
    "painted/cells.py": 1,
    "records.py": 1,
    "smear/reference.py": 2,
    "trust/record.py": 1,
}
"""How many parts of error messages a file puts together before it raises (one is the disclaimer
that every bundle carries)."""

SQL = {"sources/cache.py"}


@pytest.mark.parametrize(
    "path", [path for path in FILES if not get_name(path).startswith(TOP)], ids=get_name
)
def test_no_sentence_below_the_report(path):
    if get_name(path) in SQL:
        return
    found = [(line, text) for line, text in list_texts(parse(path)) if is_sentence(text)]
    assert len(found) <= ERROR_PARTS.get(get_name(path), 0), found


PARSERS = {"data/annotations.py", "sources/cache.py", "training/checkpoint.py"}
"""Files that read JSON themselves (bounded in size, from a database or a header, or of unknown
kind) and hand it to `parse_record` as it is."""


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_json_is_read_by_records_alone(path):
    """What comes out of a JSON file is a record, so nobody can index it."""
    called = {ast.unparse(n.func) for n in ast.walk(parse(path)) if isinstance(n, ast.Call)}
    if get_name(path) in PARSERS:
        assert {"json.loads", "parse_record"} <= called
    elif get_name(path) != "records.py":
        assert not called & {"json.load", "json.loads", "read_json", "records.read_json"}
    indexed = {
        ast.unparse(n.value.func)
        for n in ast.walk(parse(path))
        if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Call)
    }
    assert not indexed & {"json.load", "json.loads", "dump_record"}


EVALUATION = [path for path in FILES if get_name(path).startswith("evaluation/")]


@pytest.mark.parametrize("path", EVALUATION, ids=get_name)
def test_evaluation_computes(path):
    modules = list_imports(parse(path))
    drawing = {"jinja2", "markupsafe", "matplotlib", "seaborn"}
    assert not {name.split(".")[0] for name in modules} & drawing
    assert not {name for name in modules if name.startswith(("leukoscope.storage", "csv"))}
    called = {ast.unparse(n.func).rsplit(".", 1)[-1] for n in ast.walk(parse(path))
              if isinstance(n, ast.Call)}  # fmt: skip
    assert not called & {"open", "write_text", "write_bytes", "save_record", "replacing"}


REPORT = [path for path in FILES if get_name(path).startswith("report/")]


def test_pages_have_one_frame():
    templates = sorted(path.name for path in (ROOT / "report/templates").iterdir())
    assert [name for name in templates if name.endswith(".html.j2")] == ["page.html.j2"]
    assert [name for name in templates if name.endswith(".css")] == ["page.css"]
    for path in FILES:
        if "jinja2" in {name.split(".")[0] for name in list_imports(parse(path))}:
            assert get_name(path) in ("report/frame.py", "report/model_card.py")


def list_classes():
    """(name, fields, file) of every class."""
    for path in FILES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef):
                fields = [
                    one.target.id
                    for one in node.body
                    if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
                ]
                yield node.name, fields, get_name(path)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Interval", "interval.py"),
        ("Outputs", "scores.py"),
        ("Note", "trust/notes.py"),
        ("Reference", "trust/record.py"),
        ("EvaluationRecord", "evaluation/record.py"),
        ("Scorer", "scoring.py"),
        ("Page", "report/page.py"),
    ],
)
def test_one_type_per_thing(name, place):
    assert [file for one, _, file in list_classes() if one == name] == [place]


def test_one_type_has_a_value_with_bounds():
    found = [name for name, fields, _ in list_classes() if {"low", "high"} <= set(fields)]
    assert found == ["Interval"]


def test_one_leakage_status():
    found = [
        get_name(path)
        for path in FILES
        for node in parse(path).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LeakageStatus"
    ]
    assert found == ["scores.py"]


# -- words ------------------------------------------------------------------------------------

BANNED_IN_NAMES = {
    *("verdict", "floor", "floors", "home", "refuse", "refused", "refusal", "refuses"),
    *("foreign", "mixture", "kin", "kinship", "hinge", "twins", "namesake", "sureness", "settle"),
    *("lent", "spent", "dealt", "carved", "told", "tell", "tells", "judged", "judge", "namesake"),
    *("promised", "promise"),
}
"""Private words where a public one exists; the public ones stand in the contributors' table."""

WORD_PREFIX = re.compile("_?word_")
"""Who words something describes it: `describe_*`, and only in `report/`."""


def split_name(name):
    """`leakageStatus_NK` -> leakage, status, nk."""
    return [part.casefold() for part in re.findall(r"[A-Za-z][a-z]*", name)]


def list_names(tree):
    """Names that a file gives: functions, classes, arguments, fields, variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


@pytest.mark.parametrize("path", FILES, ids=get_name)
def test_names_use_the_fields_words(path):
    found = {name for name in list_names(parse(path)) if BANNED_IN_NAMES & set(split_name(name))}
    assert found == set()
    assert not BANNED_IN_NAMES & set(split_name(path.stem))


BANNED_IN_TEXT = (
    *(r"\bverdicts?\b", r"\bfloors?\b", r"\brefus(e|es|ed|al|ing)\b", r"\bat home\b"),
    *(r"\bnamed right\b", r"\bhow sure\b", r"\bon whose blood\b", r"\bforeign\b", r"\bmixture\b"),
    *(r"\bsets? of names\b", r"\bnames that fit\b", r"\bsettle[ds]?\b", r"\bsureness\b"),
    *(r"\bkin\b", r"\bnamesakes?\b", r"\btwins\b", r"\bkinds? of cells?\b"),
)  # fmt: skip


def list_user_texts():
    """(place, text) of what users read: pages, terminal, help, errors, README and guides."""
    for path in FILES:
        skipped = set()
        for node in ast.walk(parse(path)):
            body = getattr(node, "body", None)
            if isinstance(body, list) and not get_name(path).startswith("cli/app"):
                skipped |= {one.value for one in body if isinstance(one, ast.Expr)}
        for node in ast.walk(parse(path)):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and node not in skipped and " " in node.value:
                yield f"{get_name(path)}:{node.lineno}", node.value
    root = ROOT.parents[1]
    for path in [root / "README.md", *(root / "docs").glob("*.md"), *ROOT.rglob("*.toml")]:
        if path.is_file():
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                yield f"{path.name}:{number}", line
    for path in (Path(__file__).parents[1] / "golden/pages").glob("*.txt"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield f"{path.name}:{number}", line


def test_texts_use_the_fields_words():
    found = [
        (place, pattern, text[:80])
        for place, text in list_user_texts()
        for pattern in BANNED_IN_TEXT
        if re.search(pattern, text, re.IGNORECASE)
    ]
    assert found == []
