"""What ``sw`` may import: it has to run on a small host."""

import ast
from pathlib import Path

import pytest

import sw

FOLDER = Path(sw.__path__[0])
READERS = ("golden.data.events", "golden.data.files", "golden.data.video")  #: of clips; NumPy and PyAV only
FILES = [path for path in FOLDER.rglob("*.py") if "tests" not in path.parts]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{x.name}" for x in node.names]
        else:
            names = [x.name for x in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            assert parts[0] not in ("torch", "amaranth", "hw", "sim", "cocotb", "brevitas"), f"{path} imports {name}"
            if parts[0] == "golden":
                shared = parts[1] in ("spec", "encoding") or name.startswith(READERS)
                assert shared or (parts[1] == "integer" and path.name == "golden.py"), f"{path} imports {name}"
            if parts[0] == "matplotlib":
                assert path.name == "picture.py", f"{path} imports {name}"
