"""A text in Chinese and English."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bilingual:
    """The same text in both languages.

    Attributes:
        chinese: the Chinese text; it may have placeholders in braces.
        english: the English text, with the same placeholders.
    """

    chinese: str
    english: str

    def format(self, **values: object) -> Bilingual:
        """Return both texts with their placeholders filled.

        Args:
            **values: values by the name of their placeholder. A bilingual value gives each text
                its own language.
        """
        return Bilingual(
            self.chinese.format(**{name: chinese(value) for name, value in values.items()}),
            self.english.format(**{name: english(value) for name, value in values.items()}),
        )

    def __str__(self) -> str:
        """Return one line with both texts."""
        return f"{self.chinese} / {self.english}"


def chinese(value: object) -> object:
    """Return the Chinese text of a bilingual value, and any other value unchanged."""
    return value.chinese if isinstance(value, Bilingual) else value


def english(value: object) -> object:
    """Return the English text of a bilingual value, and any other value unchanged."""
    return value.english if isinstance(value, Bilingual) else value
