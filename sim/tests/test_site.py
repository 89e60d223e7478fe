"""The site is built without a warning, and has what a reader looks for."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_site(pytestconfig, tmp_path):
    """Only where the extra ``docs`` is installed (``make site`` does that)."""
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page, words in (("index.html", "Quick start"), ("api.html", "throughput_test"), ("guide/model.html", "sw compile")):
        assert words in (tmp_path / page).read_text(encoding="utf-8")
