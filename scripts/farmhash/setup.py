"""Metadata of the compiler-free stand-in for pyfarmhash; see farmhash.py."""

from setuptools import setup

setup(
    name="pyfarmhash",
    # The release that TensorFlow Data Validation's requirement allows; the suffix says that it is not the original.
    version="0.3.2+pure.python",
    description="FarmHash fingerprints without a compiler",
    license="MIT",
    py_modules=["farmhash"],
    python_requires=">=3.10",
)
