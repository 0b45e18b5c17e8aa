"""Finds parameter files that cannot be read, and parameters that are for other nodes only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import yaml


class _Loader(yaml.SafeLoader):
    """Takes the lists of launch files, which launch_ros writes as tuples of Python."""


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _Loader.construct_sequence)


def unreadable_parameters(arguments: Sequence[str]) -> str | None:
    """Describes the first parameter file that rcl would refuse, in one line; None without one."""
    for option, name in _ros_options(arguments):
        if option != "--params-file":
            continue
        try:
            content = _read(name)
        except OSError as error:
            return f"parameter file {name!r} cannot be read: {error.strerror}"
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            return f"parameter file {name!r} is not YAML: {' '.join(str(error).split())}"
        for value in _strays(content):
            return (
                f"parameter file {name!r} has {value} without ros__parameters (two underscores) "
                "above it; write NODE: {ros__parameters: {NAME: VALUE}}"
            )
    return None


def _read(name: str) -> object:
    """Reads a parameter file as rcl does."""
    return yaml.load(Path(name).read_text(encoding="utf-8"), _Loader)


def _strays(content: object, prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of values that do not stand below `ros__parameters`."""
    if not isinstance(content, dict):
        if content is not None:
            yield repr(prefix or content)
        return
    for key, value in content.items():
        if key != "ros__parameters":
            yield from _strays(value, f"{prefix}.{key}" if prefix else str(key))


def unmatched_parameters(arguments: Sequence[str], node: str) -> list[str]:
    """Describes the given parameters that cannot reach a node.

    rcl reads the same arguments and leaves such parameters out without a word.

    Args:
        arguments: command line of the process.
        node: fully qualified name of the node, e.g. `/left/e2ec`.

    Returns:
        one line for each parameter file and argument of which no part is for the node.
    """
    problems = []
    for option, value in _ros_options(arguments):
        if option == "--params-file":
            sections = list(_sections(_read(value)))
            given = f"parameter file {value!r}"
        else:
            sections = re.findall(r"^([^:]+):[^:=]", value.partition(":=")[0])
            given = f"parameter {value!r}"
            if not sections:  # `-p NAME:=VALUE` is for every node
                continue
        if not sections:
            problems.append(f"{given} holds no parameters")
        elif not any(_pattern(section).fullmatch(node) for section in sections):
            names = ", ".join(repr(section) for section in sections)
            problems.append(
                f"{given} is ignored: it names {names}, and this node is {node!r}; "
                f"write {node!r} or '/**'"
            )
    return problems


def _ros_options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields the parameter options after `--ros-args` with their values."""
    inside = False
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        if word in ("--ros-args", "--"):
            inside = word == "--ros-args"
        elif inside and word in ("--params-file", "-p", "--param"):
            yield ("--params-file" if word == "--params-file" else "-p"), following


def _sections(content: object, prefix: str = "") -> Iterator[str]:
    """Yields the node names, with namespaces and wildcards, whose parameters a file holds."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == "ros__parameters":
            yield prefix
        else:
            yield from _sections(value, f"{prefix}/{str(key).strip('/')}")


def _pattern(section: str) -> re.Pattern[str]:
    """`*` stands for one part of a name, `**` for any number of parts."""
    parts = ["(/[^/]+)*" if p == "**" else "/[^/]+" if p == "*" else f"/{re.escape(p)}"
             for p in section.strip("/").split("/")]  # fmt: skip
    return re.compile("".join(parts))
