"""Command lines and YAML files, read into dataclasses by jsonargparse; errors are one line."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from e2ec_core.settings import settings_of

T = TypeVar("T")

_IN_WORDS = {"tuple": "a list", "NoneType": "a mapping of settings, or null"}


class CommandLine:
    """The options of a command: single ones and the fields of dataclasses.

    Types, defaults and helps of a dataclass's options come from its fields and its docstring. In
    names of options `-` and `_` are the same. With `add_config`, a YAML file gives values too.

    Args:
        name: of the command.
        description: for --help.
        usage: what to give, behind the command's name.
        aliases: other names of options, without dashes.
    """

    def __init__(
        self,
        name: str,
        description: str | None,
        *,
        usage: str = "[options]",
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        from argparse import RawDescriptionHelpFormatter

        from jsonargparse import ArgumentParser, DefaultHelpFormatter

        # Keeps the lines of the description.
        bases = (DefaultHelpFormatter, RawDescriptionHelpFormatter)
        formatter = type("Formatter", bases, {"_get_help_string": _help_of})
        self._parser: Any = ArgumentParser(
            prog=f"e2ec {name}",
            description=description,
            usage=f"e2ec {name} {usage}",
            formatter_class=formatter,
            exit_on_error=False,
            allow_abbrev=False,
        )
        self._aliases = aliases or {}
        self._known: set[str] = set()
        self._values: Any = None

    def add(self, *names: str, **options: Any) -> None:
        """Adds an option; arguments as in argparse."""
        self._parser.add_argument(*names, **options)

    def add_config(self, *, required: bool) -> None:
        """Adds --config; the other options replace values of the file."""
        self.add("--config", action="config", required=required, help="YAML file of a run")

    def add_settings(
        self,
        kind: type,
        *,
        skip: Iterable[str] = (),
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds the fields of a dataclass but those to skip; some may have other defaults."""
        skipped = set(skip)
        self._parser.add_class_arguments(kind, skip=skipped)
        self._parser.set_defaults(dict(defaults or {}))
        texts = dict(_texts(kind))
        for action in self._parser._actions:
            action.help = texts.get(action.dest, action.help)
        self._known |= {n for n in _dotted_names(kind) if n.split(".")[0] not in skipped}

    def parse(self, words: Sequence[str]) -> Any:
        """Reads a command line.

        Returns:
            the namespace of values; their types are checked.

        Raises:
            ValueError: says in one line what is wrong with which option.
        """
        words = _config_first([_spelled(word, self._aliases) for word in words])
        if words and words[0].startswith("--config="):
            require_yaml(words[0].partition("=")[2])
        try:
            self._values = self._parser.parse_args(words)
        except Exception as error:
            if type(error).__name__ != "ArgumentError":
                raise
            known = self._known | set(self._parser.get_defaults().keys())
            raise ValueError(one_line(str(error), known)) from error
        return self._values

    def build(self, kind: type[T], **given: Any) -> T:
        """Makes a dataclass of the values that were read for its fields, and of given ones.

        Raises:
            ValueError: a value is out of its range, or no mapping where one is needed.
        """
        _require_mappings(kind, self._values, "")
        made = vars(self._parser.instantiate(self._values))
        return kind(**{name: made[name] for name in _fields(kind) if name in made} | given)


def read_config(kind: type[T], path: str | Path, words: Sequence[str] = ()) -> T:
    """Reads a YAML file into a dataclass.

    Args:
        kind: the dataclass.
        path: the file.
        words: options such as `--optimizer.lr=1e-4` that replace values of the file.

    Raises:
        ValueError: the file is missing or no mapping, a key is unknown, or a value does not fit.
    """
    line = CommandLine("", None)
    line.add_config(required=True)
    line.add_settings(kind)
    line.parse([f"--config={path}", *words])
    return line.build(kind)


def require_yaml(path: str | Path) -> None:
    """Raises ValueError unless the file is a YAML mapping."""
    if not Path(path).is_file():
        raise ValueError(f"config {str(path)!r} does not exist; see config/training/")
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"config {str(path)!r} is not YAML: {reason}") from error
    if not isinstance(values, dict):
        raise ValueError(f"config {str(path)!r} must be a mapping of settings")


def one_line(message: str, known: Iterable[str]) -> str:
    """Says an error of jsonargparse in one line, with the nearest known name of an unknown one."""
    text = " ".join(message.split())
    key = ".".join(re.findall(r'Parser key "([^"]+)"', text))
    if found := re.search(r"(?:arguments(?: are required)?: |[Oo]ption ')([^\s'=,]+)", text):
        if "required" in text:
            return f"setting {'.'.join(filter(None, (key, found[1])))!r} is missing; give it"
        group = found_group[1] if (found_group := re.search(r"Group '([^']+)'", text)) else key
        name = ".".join(filter(None, (group, found[1].lstrip("-"))))
        if "unrecognized" in text and not found[1].startswith("-"):
            return f"{found[1]!r} is no option; options begin with --"
        return f"unknown setting {name!r}{nearest(name, known)}"
    value = re.search(r"(?:Got|Given) value: (.*)$", text)
    wanted = re.search(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[([^\]]*)\])", text)
    if key and value and wanted:
        kind = _IN_WORDS.get(wanted[1], wanted[1])
        must = f"it must be {kind}" if kind else f"choose one of {wanted[2]}"
        return f"{key} is {_shown(value[1])}; {must}"
    return re.sub(r"^argument (--\S+): expected one argument", r"option \1 lacks its value", text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Names the known setting that is most like an unknown one, as the end of a sentence."""
    known = sorted(known)
    last = name.split(".")[-1]
    alike = [k for k in known if k.split(".")[-1] == last]
    alike += difflib.get_close_matches(name, known, 1)
    alike += [k for k in known if difflib.get_close_matches(last, [k.split(".")[-1]])]
    return f"; did you mean {alike[0]!r}?" if alike else "; --help lists the settings"


def _shown(text: str) -> str:
    """Text with quotes, and numbers and the like without."""
    try:
        return repr(text) if isinstance(yaml.safe_load(text), str) else text
    except yaml.YAMLError:
        return repr(text)


def _spelled(word: str, aliases: Mapping[str, str]) -> str:
    """The word with its option's name as the parser knows it."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    name = name.replace("-", "_")
    return f"--{aliases.get(name, name)}{equals}{value}"


def _config_first(words: Sequence[str]) -> list[str]:
    """Puts --config=FILE before the options that replace its values."""
    for position, word in enumerate(words):
        if word.startswith("--config="):
            return [word, *words[:position], *words[position + 1 :]]
        if word == "--config" and position + 1 < len(words):
            rest = [*words[:position], *words[position + 2 :]]
            return [f"--config={words[position + 1]}", *rest]
    return list(words)


def _fields(kind: Any) -> list[str]:
    return [item.name for item in dataclasses.fields(kind) if item.init]


def _dotted_names(kind: Any, prefix: str = "") -> Iterator[str]:
    """The names of all settings, also of those in lists: `optimizer.lr`, `train.images`."""
    hints = typing.get_type_hints(kind)
    for name in _fields(kind):
        yield prefix + name
        for inner in (hints[name], *typing.get_args(hints[name])):
            if dataclasses.is_dataclass(inner):
                yield from _dotted_names(inner, f"{prefix}{name}.")


def _help_of(formatter: Any, action: Any) -> str:
    """The text of an option and its default, without the Python type, which the text tells."""
    text: str = action.help or ""
    said = not action.option_strings or action.default in (None, "", False, "==SUPPRESS==")
    return text if said else f"{text} (default: %(default)s)"


def _texts(kind: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and helps of the settings that declare a meaning."""
    hints = typing.get_type_hints(kind)
    for name, declared in settings_of(kind).items():
        accepted = f"; {declared.accepted}" if declared.accepted else ""
        yield prefix + name, f"{declared.text.rstrip('.')}{accepted}".replace("%", "%%")
    for name in _fields(kind):
        if dataclasses.is_dataclass(hints[name]):
            yield from _texts(hints[name], f"{prefix}{name}.")


def _require_mappings(kind: Any, values: Any, where: str) -> None:
    """Raises ValueError where a value stands in place of a mapping of settings."""
    hints = typing.get_type_hints(kind)
    for name in _fields(kind):
        if not dataclasses.is_dataclass(hints[name]):
            continue
        value = values[name]
        if not hasattr(value, "keys"):
            raise ValueError(f"{where}{name} is {value!r}; it must be a mapping of settings")
        _require_mappings(hints[name], value, f"{where}{name}.")
