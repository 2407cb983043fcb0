"""Crashes that are spoken of: prose, source code and tables that hold the words of a crash.

People paste logs with what they have to say of them, and firmware logs its own strings. The words
alone do not tell; what stands around them does, and whether registers or a backtrace follow.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rig.console.crash.text import LIKE

_I = re.IGNORECASE

_HEAD = re.compile(
    r"guru medit|(?:core\s+\d\s+)?panic\S{0,3}ed\s*\(|abort\(\) was|assert failed|assertion"
    r"|\*\*\*error|a stack overflow in|stack canary|stack smash|corrupt heap|brownout det"
    r"|terminate called",
    _I,
)
_LED_UP_TO = re.compile(
    r"(?:\b(?:the|an?|this|that|with|gets?|getting|got|saw|sees?|seen|seeing|of|by|following"
    r"|infamous|dreaded|says?|fix(?:es|ed)?|because|never|if|when|whenever|and|or|prints?|printed"
    r"|throws?|throwing|like) +"
    r"|[\w;(](?<!\bb)[\"'`]|[\w,;(] +[\"'`]"  # not a host's `b'...'`, `msg="..."` or `1,"..."`
    r"|^\s*(?://|/\*|#+) *)$",
    _I,
)
"""What stands before the words: a sentence, a call, a comment, a heading."""
_FORMAT = re.compile(r"%(?:s|d|u|i|p|0?\d*[lh]*[xXdu])(?![A-Za-z0-9])")
"""A placeholder that was never filled in: source code."""
_REASONED = re.compile(r"reason: *$", _I)
_NAMED = re.compile(r"stack canary watchpoint triggered *\(|stack canary[\w ]*$", _I)


@lru_cache(LIKE)
def spoken_of(text: str) -> bool:
    """Whether a line (cleaned) is more likely to speak of a crash than to be one.

    Such a line counts only where the body of a crash follows it.
    """
    head = _HEAD.search(text)
    if head is None:
        return False
    before, words = text[: head.start()], text[head.start() :]
    if _LED_UP_TO.search(before) or _FORMAT.search(words):
        return True
    if before[-1:] in ("`", '"'):
        # Quoted, and the sentence or the table goes on behind the quote.
        closed = words.find(before[-1])
        if closed > 0 and re.match(r"(?: \w| *\| *\w)", words[closed + 1 :]):
            return True
    if head[0].lower() == "stack canary":
        return not (_REASONED.search(before) or _NAMED.match(words))
    return False
