"""Tokens' bytes → text to show, with stop words found and held back; pure."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class StoppingText:
    """Text that grows until a stop word appears in it; no part of a stop word is ever shown."""

    def __init__(self, stop_words: Sequence[str]) -> None:
        self._stop_words = tuple(word for word in stop_words if word)
        # A character may be spread over several tokens.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.is_stopped = False
        """Whether a stop word has been seen."""

    def feed(self, piece: bytes) -> str:
        """Take the bytes of one token and return what may be shown now."""
        self._held += self._decoder.decode(piece)
        found = [at for word in self._stop_words if (at := self._held.find(word)) >= 0]
        if found:
            self.is_stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = self._possible_start()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def rest(self) -> str:
        """Return what was held back once no more tokens come."""
        shown, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return shown

    def _possible_start(self) -> int:
        """Count the characters at the end that may be the beginning of a stop word."""
        longest = max((len(word) for word in self._stop_words), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(word.startswith(self._held[-length:]) for word in self._stop_words):
                return length
        return 0
