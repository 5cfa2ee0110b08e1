"""The parser of ``./zimage``: usage errors and help in both languages."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from ..errors.bilingual import Bilingual
from . import parser_texts as texts
from .terminal import USAGE, say

MAX_DIGITS = 100
"""Maximum number of digits of an integer argument. All limits have fewer."""


class Message(str):
    """A message of argparse, in English, with its Chinese translation.

    Attributes:
        chinese: the translation.
        values: the values that its placeholders were filled with.
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
        """Return both texts with their ``%`` placeholders filled; argparse calls this."""
        return Message(str.__mod__(self, values), self.chinese % values, values)

    def __str__(self) -> str:
        """Return the message itself. The method of ``str`` would return a plain ``str``."""
        return self


@contextmanager
def translated_argparse() -> Iterator[None]:
    """Make argparse use the translations of this module until the context ends.

    argparse looks up each text with the functions ``_`` and ``ngettext`` of its own module.
    """
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
    """Return a text of argparse, as a :class:`Message` if there is a translation."""
    chinese = texts.ARGPARSE_MESSAGES.get(text)
    return text if chinese is None else Message(text, chinese)


def _translate_plural(singular: str, plural: str, number: int) -> str:
    return _translate(singular if number == 1 else plural)


class Parser(argparse.ArgumentParser):
    """A parser that prints usage errors in both languages and exits with 2.

    Args:
        **options: those of ``ArgumentParser``.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        super().__init__(**options, add_help=False, exit_on_error=False)
        self._positionals.title = str(texts.POSITIONALS_TITLE)
        self._optionals.title = str(texts.OPTIONS_TITLE)
        self.add_argument("-h", "--help", action="help", help=str(texts.OPTIONS["--help"]))

    def add(self, name: str, values: Mapping[str, object] | None = None, **options: Any) -> None:
        """Add an argument with its help from :data:`.parser_texts.OPTIONS`.

        Args:
            name: the option or the positional argument.
            values: values for the placeholders of the help.
            **options: those of ``add_argument``.
        """
        command = self.prog.rpartition(" ")[2]
        text = texts.OPTIONS.get(f"{command} {name}") or texts.OPTIONS[name]
        self.add_argument(name, help=str(text.format(**values) if values else text), **options)

    # argparse raises errors in two methods: in parse_args for arguments that are left over, and in
    # parse_known_args, which it also calls for the parser of a command, for all others.

    def parse_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Return the options of a command line; exit with 2 on wrong usage."""
        try:
            return super().parse_args(args, namespace)
        except argparse.ArgumentError as error:
            self.exit_with(describe(error))

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Return the options and the unknown arguments; exit with 2 on wrong usage."""
        try:
            return super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            self.exit_with(describe(error))

    def error(self, message: str) -> NoReturn:
        """Print an error of argparse and exit with 2."""
        self.exit_with(in_both_languages(message))

    def exit_with(self, problem: Bilingual) -> NoReturn:
        """Print a usage error and exit with 2."""
        say(texts.WRONG_USAGE.format(problem=problem, program=self.prog))
        raise SystemExit(USAGE)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that keeps the line breaks of examples and has "usage" in both languages."""

    def add_usage(
        self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None
    ) -> None:
        """Add the line that starts with "usage"."""
        prefix = texts.USAGE_PREFIX if prefix is None else prefix
        super().add_usage(usage, actions, groups, prefix)


def describe(error: argparse.ArgumentError) -> Bilingual:
    """Return the message of a usage error, with a suggestion for a misspelled choice."""
    problem = in_both_languages(error.message)
    if error.argument_name is not None:
        problem = texts.ARGUMENT.format(name=error.argument_name, problem=problem)
    values = error.message.values if isinstance(error.message, Message) else None
    if isinstance(values, Mapping) and "choices" in values:
        # argparse has joined the choices to one string; some versions of Python quote each.
        choices = [choice.strip("'") for choice in values["choices"].split(", ")]
        for choice in difflib.get_close_matches(values["value"], choices, 1):
            problem = texts.SUGGESTION.format(problem=problem, name=choice)
    return problem


def in_both_languages(message: str) -> Bilingual:
    """Return a message of argparse in both languages, or in English for both if it has none."""
    chinese = message.chinese if isinstance(message, Message) else message
    return Bilingual(chinese, str.__str__(message))


def integer(text: str, low: int, high: int) -> int:
    """Return the value of a decimal integer.

    Args:
        text: an argument of the command line.
        low: the smallest value, 0 or more.
        high: the largest value.

    Raises:
        argparse.ArgumentTypeError: it is not an integer from ``low`` to ``high``.
    """
    # int() accepts other digits than ASCII, and raises ValueError for thousands of them.
    is_integer = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not is_integer or not low <= int(text) <= high:
        problem = texts.NOT_AN_INTEGER.format(text=text, low=low, high=high)
        raise argparse.ArgumentTypeError(Message(problem.english, problem.chinese))
    return int(text)
