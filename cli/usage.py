"""The parser of ``./zimage``: usage errors and help in both languages."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from ..errors.bilingual import Bilingual
from . import parser_texts as texts
from .terminal import USAGE, say


class Message(str):
    """A message of argparse, in English, with its Chinese translation.

    Attributes:
        chinese: the translation.
        values: values of the placeholders.
    """

    chinese: str
    values: object

    def __new__(cls, english: str, chinese: str, values: object = None) -> Message:
        """Return the English text with its translation."""
        message = super().__new__(cls, english)
        message.chinese = chinese
        message.values = values
        return message

    def __mod__(self, values: Any) -> Message:
        """Return the message with its placeholders filled, as argparse does it."""
        return Message(str.__mod__(self, values), self.chinese % values, values)

    def __str__(self) -> str:
        """Return the message itself: ``str`` would lose the translation."""
        return self


@contextmanager
def translated_argparse() -> Iterator[None]:
    """Have argparse use our translations. It takes its texts from these two functions."""
    module: Any = argparse
    gettext, ngettext = module._, module.ngettext
    module._ = _translate
    module.ngettext = _translate_plural
    try:
        yield
    finally:
        module._ = gettext
        module.ngettext = ngettext


def _translate(text: str) -> str:
    chinese = texts.ARGPARSE_MESSAGES.get(text)
    return text if chinese is None else Message(text, chinese)


def _translate_plural(singular: str, plural: str, number: int) -> str:
    return _translate(singular if number == 1 else plural)


class Parser(argparse.ArgumentParser):
    """Prints usage errors in both languages and exits with 2.

    Args:
        **options: those of ``ArgumentParser``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{"formatter_class": Formatter, **options}, add_help=False, exit_on_error=False
        )
        self._positionals.title = str(texts.POSITIONALS_TITLE)
        self._optionals.title = str(texts.OPTIONS_TITLE)
        self.add_argument("-h", "--help", action="help", help=str(texts.OPTIONS["--help"]))

    def add(self, name: str, values: Mapping[str, object] | None = None, **options: Any) -> None:
        """Add an argument with its help.

        Args:
            name: the option or the positional argument.
            values: values for the placeholders of the help.
            **options: those of ``add_argument``.
        """
        command = self.prog.rpartition(" ")[2]
        text = texts.OPTIONS.get(f"{command} {name}") or texts.OPTIONS[name]
        self.add_argument(name, help=str(text.format(**values) if values else text), **options)

    def parse_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Parse a command line, and exit with 2 on wrong usage."""
        try:
            return super().parse_args(args, namespace)
        except argparse.ArgumentError as error:
            self.exit_with(describe(error))

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Parse the arguments of a command, and exit with 2 on wrong usage."""
        try:
            return super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            self.exit_with(describe(error))

    def error(self, message: str) -> NoReturn:
        """Print an error of argparse and exit."""
        self.exit_with(in_both_languages(message))

    def exit_with(self, problem: Bilingual) -> NoReturn:
        """Print what is wrong and exit with 2."""
        say(texts.WRONG_USAGE.format(problem=problem, program=self.prog))
        raise SystemExit(USAGE)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of examples, and has "usage" in both languages."""

    def add_usage(
        self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None
    ) -> None:
        """Add the line that starts with "usage"."""
        prefix = texts.USAGE_PREFIX if prefix is None else prefix
        super().add_usage(usage, actions, groups, prefix)


def describe(error: argparse.ArgumentError) -> Bilingual:
    """Return an error about one argument, with the choice that was probably meant."""
    problem = in_both_languages(error.message)
    if error.argument_name is not None:
        problem = texts.ARGUMENT.format(name=error.argument_name, problem=problem)
    values = error.message.values if isinstance(error.message, Message) else None
    if isinstance(values, Mapping) and "choices" in values:
        choices = [choice.strip("'") for choice in values["choices"].split(", ")]
        if names := _similar(values["value"], choices):
            problem = texts.SUGGESTION.format(problem=problem, name=names[0])
    return problem


def _similar(value: str, choices: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(value, choices, 1)


def in_both_languages(message: str) -> Bilingual:
    """Return a message of argparse in both languages. An unknown one stays in English."""
    chinese = message.chinese if isinstance(message, Message) else message
    return Bilingual(chinese, str.__str__(message))


def integer(text: str, low: int, high: int) -> int:
    """Return an integer within limits.

    Raises:
        argparse.ArgumentTypeError: it is not an integer, or outside the limits.
    """
    is_integer = text.isascii() and text.isdigit() and len(text) <= 100
    if not is_integer or not low <= int(text) <= high:
        problem = texts.NOT_AN_INTEGER.format(text=text, low=low, high=high)
        raise argparse.ArgumentTypeError(Message(problem.english, problem.chinese))
    return int(text)
