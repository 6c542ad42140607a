"""The rules of the house, read from the source with `ast`.

Each rule is a function from a source tree to a list of complaints, so that it can be tried on a
small tree that breaks it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "transferscope"

ORDER = (
    "errors",
    "tasks",
    "suites",
    "study",
    "predictions",
    "store",
    "builders",
    "engine",
    "execution",
    "matrix",
    "stats",
    "analysis",
    "selection",
    "readers",
    "plots",
    "report",
    "cli",
    "api",
    "__main__",
)
"""The packages from top to bottom: a module imports only what stands above its own package."""

TORCH = ("engine", "execution")
"""The packages that may import what `HEAVY` names."""

SURFACE = "analysis.surface"
"""The methods of the records. They import what they call, when they are called, from below: the
records stand above `plots` and `report`, which read them, and a person calls `analysis.plot`."""

FILELESS = ("matrix", "stats", "analysis", "plots")
"""The packages that open no files."""

HEAVY = ("torch", "transformers", "peft", "safetensors", "accelerate", "ray")
"""What only those may import."""

RESULT_FILES = ("analysis.json", "exhibits.json", "report.html", "figures")
"""Names inside a results folder, and `predictions/`: known to `results` alone."""

RICH_PRINTERS = ("Console", "get_console", "print", "print_json", "Live", "Progress", "track")
"""What writes to the terminal; tables and text are data until cli/ prints them."""

FILE_MODULES = ("pathlib", "shutil", "tempfile", "glob")
FILE_CALL = re.compile(r"open|(read|scan|write|sink)_\w+")


class Module(NamedTuple):
    """One source file of a package."""

    name: str
    """Dotted, without the package: `suites.blink`; empty for the package itself."""
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.split(".")[0]


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def modules(package: Path) -> list[Module]:
    """All modules of a package, by name."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, parse(path)))
    return found


def imports(module: Module, known: set[str]) -> Iterator[tuple[str, int]]:
    """Full dotted names that a module imports anywhere in it, with their lines."""
    above = [PACKAGE, *module.name.split(".")] if module.name else [PACKAGE]
    if module.path.name != "__init__.py":
        above = above[:-1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = above[: len(above) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            full = [f"{origin}.{alias.name}" for alias in node.names]
            named = {name for name in full if name in known}
            if origin == PACKAGE:  # a name of the package itself is not a module, but its version
                named |= set(full) - {f"{PACKAGE}.__version__"}
            elif len(named) < len(full):
                named.add(origin)
            yield from ((name, node.lineno) for name in sorted(named))
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            name = node.func.id if isinstance(node.func, ast.Name) else name
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value), node.lineno


def import_complaints(package: Path) -> list[str]:
    """Imports against the order, or of a heavy library outside the engine."""
    rank = {package: place for place, package in enumerate(ORDER)}
    every = modules(package)
    known = {f"{PACKAGE}.{module.name}" for module in every if module.name}
    wrong = []
    for module in every:
        own = module.package
        if own and own not in rank:
            wrong.append(f"{module.name}: no such package; give it a place in ORDER")
            continue
        for name, line in imports(module, known):
            top, _, rest = name.partition(".")
            where = f"{module.name or PACKAGE}:{line} imports {name}"
            if top in HEAVY and own not in TORCH:
                wrong.append(f"{where}, which only the engine may")
            if top != PACKAGE or not own or name == PACKAGE:
                continue
            other = rest.split(".")[0]
            if other not in rank:
                wrong.append(f"{where}, not a module: name the module it is defined in")
            elif own in FILELESS and other in TORCH:
                wrong.append(f"{where}: the analysis must not import the engine")
            elif rank[other] > rank[own] and module.name != SURFACE:
                wrong.append(f"{where}, which stands below it")
    return wrong


def cycle_complaints(package: Path) -> list[str]:
    """Modules that import each other, however far round."""
    every = modules(package)
    known = {f"{PACKAGE}.{module.name}" for module in every if module.name}
    needs: dict[str, set[str]] = {}
    for module in every:
        names = {name for name, _ in imports(module, known) if module.name != SURFACE}
        found = {name if name in known else name.rpartition(".")[0] for name in names}
        needs[f"{PACKAGE}.{module.name}"] = found & known - {f"{PACKAGE}.{module.name}"}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return [f"{' imports '.join(reversed(error.args[1]))}: a circle"]
    return []


def called(node: ast.AST) -> str | None:
    """The last name of what a call calls: `open` of `open(...)`, `write_csv` of `t.write_csv()`."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def file_complaints(package: Path) -> list[str]:
    """Places in packages of pure computation that open a file."""
    wrong = []
    for module in modules(package):
        if module.package not in FILELESS:
            continue
        for name, line in imports(module, set()):
            if name.split(".")[0] in FILE_MODULES:
                wrong.append(f"{module.name}:{line} imports {name}: it opens no files")
        for node in ast.walk(module.tree):
            name = called(node)
            if isinstance(node, ast.Call) and name and FILE_CALL.fullmatch(name):
                wrong.append(f"{module.name}:{node.lineno} calls {name}: it opens no files")
    return wrong


def print_complaints(package: Path) -> list[str]:
    """Places outside cli/ that print or exit."""
    wrong = []
    for module in modules(package):
        if module.package == "cli":
            continue
        for name, line in imports(module, set()):
            if name.split(".")[0] == "typer" or name == "rich":
                wrong.append(f"{module.name}:{line} imports {name}: only cli/ prints")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich."):
                wrong += [
                    f"{module.name}:{node.lineno} imports {alias.name}: only cli/ prints"
                    for alias in node.names
                    if alias.name in RICH_PRINTERS
                ]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ("print", "exit", "quit", "SystemExit"):
                    wrong.append(f"{module.name}:{node.lineno} calls {node.func.id}: cli/'s work")
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and (node.value.id, node.attr)
                in (("sys", "exit"), ("sys", "stdout"), ("sys", "stderr"), ("os", "_exit"))
            ):
                wrong.append(f"{module.name}:{node.lineno} uses sys.{node.attr}: cli/'s work")
    return wrong


def is_result_path(text: str) -> bool:
    """Whether a string is (part of) a path in a results folder; a sentence is not."""
    if re.search(r"\s", text):
        return False
    parts = text.split("/")
    return any(part in RESULT_FILES for part in parts) or "predictions" in parts[:-1]


def path_complaints(package: Path) -> list[str]:
    """Strings outside store/ that name a file or folder of a results folder.

    A string that stands alone is documentation, one in `__all__` a name.
    """
    wrong = []
    for module in modules(package):
        if module.package == "store":
            continue
        nodes = list(ast.walk(module.tree))
        excused = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        excused |= {
            id(name)
            for node in nodes
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            for name in ast.walk(node.value)
        }
        wrong += [
            f"{module.name}:{node.lineno} names {node.value!r}: only store/ knows"
            for node in nodes
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in excused
            and is_result_path(node.value)
        ]
    return wrong


def size_complaints(package: Path) -> list[str]:
    """Files over 400 lines and functions over 60."""
    wrong = []
    for module in modules(package):
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if lines > 400:
            wrong.append(f"{module.name}: {lines} lines, over 400")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > 60:
                    wrong.append(
                        f"{module.name}:{node.lineno} {node.name}: {length} lines, over 60"
                    )
    return wrong


def name_complaints(package: Path) -> list[str]:
    """Classes and modules whose name stands for two things."""
    places: dict[str, list[str]] = {}
    for module in modules(package):
        if module.path.name != "__init__.py":
            places.setdefault(f"module {module.path.stem}", []).append(module.name)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(f"class {node.name}", []).append(module.name)
    return [f"{name}: in {' and '.join(found)}" for name, found in places.items() if found[1:]]


def entry_complaints(package: Path) -> list[str]:
    """Entries of the package that are neither in `ORDER` nor Python's."""
    known = {*ORDER, "__init__", "__main__", "py", "__pycache__"}
    return [path.name for path in sorted(package.iterdir()) if path.stem not in known]


def machine_path_complaints(files: list[Path]) -> list[str]:
    """Lines that name a folder of one machine."""
    absolute = re.compile(r"(?<![\w.~/])/(?:home|work|tmp|root|Users)/")
    wrong = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # not a text file
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if found := absolute.search(line):
                wrong.append(f"{path.name}:{number} names {line[found.start() :][:40]}")
    return wrong


RULES = (
    import_complaints,
    cycle_complaints,
    file_complaints,
    print_complaints,
    path_complaints,
    size_complaints,
    name_complaints,
    entry_complaints,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule):
    assert rule(ROOT / PACKAGE) == []


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_tracked_file_names_a_folder_of_one_machine():
    assert machine_path_complaints(tracked()) == []


# The rules themselves, tried on trees that break them.

FINE = {
    "__init__.py": '"""Lazy."""\n',
    "errors.py": "class DataError(ValueError): ...\n",
    "suites/__init__.py": "from transferscope.suites.blink import BLINK\n",
    "suites/blink.py": "from ..errors import DataError\nBLINK = ()\n",
    "analysis.py": (
        '"""Written as `analysis.json`."""\n'
        "def read(data, name='the analysis'):\n"
        "    raise ValueError(f'{name}: analysis.json is damaged')\n"
    ),
    "store.py": "from pathlib import Path\nNAME = Path('predictions/x') / 'analysis.json'\n",
    "execution/runner.py": "import torch\n",
    "report/__init__.py": "__all__ = ['figures']\n",
    "stats.py": (
        "from transferscope import errors\n"
        "from transferscope.suites import blink\n"
        "Items = ('predictions', 'counts')\n"
    ),
    "cli.py": "import typer\nfrom transferscope import execution, stats\nprint()\nexit()\n",
}


def tree(folder: Path, **changes: str) -> Path:
    """A small package that keeps all rules, with some files replaced (`a__b` is `a/b.py`)."""
    package = folder / PACKAGE
    files = FINE | {name.replace("__", "/") + ".py": text for name, text in changes.items()}
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


def test_a_tree_that_keeps_all_rules_raises_no_complaint(tmp_path):
    assert [complaint for rule in RULES for complaint in rule(tree(tmp_path))] == []


@pytest.mark.parametrize(
    ("rule", "name", "text", "complaint"),
    [
        (import_complaints, "errors", "import transferscope.stats\n", "stands below it"),
        (import_complaints, "errors", "from . import stats\n", "stands below it"),
        (import_complaints, "suites__blink", "from ..stats import Items\n", "stands below it"),
        (import_complaints, "errors", "def f():\n    from transferscope.cli import x\n", "below"),
        (
            import_complaints,
            "stats",
            "from transferscope.execution import runner\n",
            "must not import the engine",
        ),
        (import_complaints, "stats", "from transferscope import pgf\n", "not a module"),
        (import_complaints, "stats", "def f():\n    import torch.nn as nn\n", "only the engine"),
        (import_complaints, "readers__lm", "from peft import LoraConfig\n", "only the engine"),
        (import_complaints, "cli", "import importlib as i\ni.import_module('torch')\n", "only the"),
        (import_complaints, "helpers", "", "no such package"),
        (cycle_complaints, "suites__blink", "from transferscope.suites import BLINK\n", "a circle"),
        (file_complaints, "stats", "def f(p):\n    return open(p)\n", "calls open"),
        (file_complaints, "stats", "from pathlib import Path\n", "imports pathlib"),
        (
            file_complaints,
            "matrix",
            "def f(pl):\n    return pl.scan_parquet('x')\n",
            "scan_parquet",
        ),
        (print_complaints, "stats", "print('x')\n", "calls print"),
        (print_complaints, "store", "import sys\nsys.exit(2)\n", "uses sys.exit"),
        (print_complaints, "store", "raise SystemExit(2)\n", "calls SystemExit"),
        (
            print_complaints,
            "execution__runner",
            "from rich.console import Console\n",
            "imports Console",
        ),
        (
            path_complaints,
            "cli",
            "def f(out):\n    return out / 'analysis.json'\n",
            "analysis.json",
        ),
        (path_complaints, "cli", "def f(out):\n    return f'{out}/report.html'\n", "report.html"),
        (path_complaints, "readers__own", "GLOB = 'predictions/*.parquet'\n", "predictions/"),
        (path_complaints, "analysis", "NAME = 'analysis.json'\n", "analysis.json"),
        (size_complaints, "stats", "x = 1\n" * 401, "401 lines"),
        (name_complaints, "report__blink", "", "in report.blink and suites.blink"),
        (name_complaints, "report__a", "class DataError: ...\n", "in errors and report.a"),
        (entry_complaints, "helpers", "", "helpers.py"),
        (size_complaints, "stats", "def f():\n" + "    x = 1\n" * 60, "61 lines"),
    ],
)
def test_a_broken_rule_raises_exactly_one_complaint(tmp_path, rule, name, text, complaint):
    (found,) = rule(tree(tmp_path, **{name: text}))
    assert complaint in found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("cd {}home/me/x", 1),
        ("see `{}tmp/out`", 1),
        ("../home/main and https://example.org/home/ and ~/tmp/x", 0),
    ],
)
def test_a_machine_path_is_found(tmp_path, text, count):
    file = tmp_path / "a.md"
    file.write_text(text.format("/"), encoding="utf-8")
    assert len(machine_path_complaints([file])) == count


# What happens on import, each in an interpreter of its own.


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy():
    heavy = (*HEAVY, "scipy.stats", "xarray", "altair", "polars", "matplotlib")
    code = f"import sys, {PACKAGE}; print(*(set({heavy!r}) & set(sys.modules)))"
    assert python(code) == ""


WITHOUT = """
import importlib, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # None there: as if not installed
for name in sys.argv[2:]:
    importlib.import_module(name)
    print(name)
"""


def outside_the_engine() -> list[str]:
    found = [module.name for module in modules(ROOT / PACKAGE) if module.package not in TORCH]
    return [f"{PACKAGE}.{name}" if name else PACKAGE for name in found]


def test_all_but_the_engine_imports_where_no_torch_is_installed():
    names = outside_the_engine()
    assert python(WITHOUT, ",".join(HEAVY), *names).split() == names


def test_a_blocked_library_is_really_blocked():
    with pytest.raises(AssertionError, match="import of tomllib halted"):
        python(WITHOUT, "tomllib", "tomllib")


def test_every_public_name_is_there_and_documented():
    import transferscope

    assert transferscope.__all__
    for name in transferscope.__all__:
        value = getattr(transferscope, name)
        if callable(value):
            text = value.__doc__ or ""
            # A dataclass without a docstring gets its signature as one.
            assert text.strip(), name
            assert not text.startswith(f"{name}("), name
