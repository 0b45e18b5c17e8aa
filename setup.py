"""Lets tools that do not read pyproject.toml by themselves build the library e2ec_core."""

from setuptools import setup

setup()
