"""Patterns of channels (protocol §2)."""
from __future__ import annotations

import re
from typing import Iterator

PAIRS_AND_STARS = re.compile(r"\\[*\\]|\*+|.", re.DOTALL)


class Pattern:
    """Matches in one pass over a name, whatever the pattern: peers choose names."""

    def __init__(self, pattern: str) -> None:
        # Bit i of a state: the parts before part i have matched. Stars side by side are one part.
        self._literal: dict[str, int] = {}
        self._flat = self._deep = 0  # the parts that are * and **
        bit = 1
        for part in parts(pattern):
            if part == "*":
                self._flat |= bit
            elif part.startswith("**"):
                self._deep |= bit
            else:
                self._literal[part[-1]] = self._literal.get(part[-1], 0) | bit
            bit <<= 1
        self._all = bit

    def match(self, name: str) -> bool:
        stars = self._flat | self._deep
        state = 1 | (1 & stars) << 1
        for char in name:
            state = state & (self._deep if char == "/" else stars) | (state & self._literal.get(char, 0)) << 1
            state |= (state & stars) << 1
        return bool(state & self._all)


def parts(pattern: str) -> Iterator[str]:
    return (m.group() for m in PAIRS_AND_STARS.finditer(pattern))


def is_pattern(text: str) -> bool:
    return any(part.startswith("*") for part in parts(text))
