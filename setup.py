"""Puts the lite weights, of which the repository has one copy, into the wheel as package data."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["e2ec_core*", "street_scenes*"]), "e2ec_core.weights"],
    package_dir={"e2ec_core.weights": "weights"},
    package_data={"e2ec_core": ["py.typed"], "e2ec_core.weights": ["*.safetensors", "*.onnx"]},
)
