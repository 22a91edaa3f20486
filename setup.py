"""What pyproject.toml cannot say: a wheel brings the weights of data/toy along, as sgdiff/weights.

An editable install needs no copy: it finds data/toy beside the package."""
from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithWeights(build_py):
    "The modules of the package, and beside them the shipped weights."

    def run(self):
        super().run()
        if not self.editable_mode:
            copytree("data/toy", Path(self.build_lib, "sgdiff", "weights"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithWeights})
