"""Puts weights and message definitions, of which the repository has one copy, into the wheel."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["e2ec_core*", "street_scenes*"]),
        "e2ec_core.weights",
        "e2ec_core.msg",
    ],
    package_dir={"e2ec_core.weights": "weights", "e2ec_core.msg": "msg"},
    package_data={
        "e2ec_core": ["py.typed"],
        "e2ec_core.weights": ["*.safetensors", "*.onnx"],
        "e2ec_core.msg": ["*.msg"],
    },
)
