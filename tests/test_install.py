"""What `pip install .` installs draws pictures from any folder: the weights come with the wheel."""
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import pytest

from run_notebooks import ROOT

NEEDED = ("sgdiff", "data", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "A folder with what the wheel of a clean copy of this tree holds."
    lacks = [package for package in ("pip", "setuptools") if not find_spec(package)]
    if lacks: pytest.skip(f"building a wheel without a network needs {' and '.join(lacks)} here")
    folder = tmp_path_factory.mktemp("install")
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
               "--no-build-isolation", "--wheel-dir", "wheels", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "wheels").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_wheel_brings_all_shipped_weights(site):
    shipped = ROOT / "data" / "toy"
    files = {p.relative_to(shipped): p.read_bytes() for p in shipped.rglob("*") if p.is_file()}
    installed = site / "sgdiff" / "weights"
    there = {p.relative_to(installed): p.read_bytes() for p in installed.rglob("*") if p.is_file()}
    assert sorted(there) == sorted(files) and there == files
    assert (site / "sgdiff" / "app" / "static" / "graph_canvas.js").exists()


def test_an_installed_package_draws_in_an_empty_folder(site, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "SGDIFF_WEIGHTS"}
    words = ["generate", "sheep left of tree", "--steps", "2", "--out", "picture.png"]
    done = subprocess.run(
        [sys.executable, "-m", "sgdiff.cli", *words],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
