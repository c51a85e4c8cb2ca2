"""Text of others, made safe for a terminal and a log: nothing in it moves the cursor, hides text or forges a line."""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line and paragraph separators, characters that change the direction of what follows
# or are not seen at all, and halves of characters, which cannot be written.
_CONTROL = r"\x00-\x1f\x7f-\x9f"
_UNSEEN = r"\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROL}{_UNSEEN}]")
# The line breaks between the members of a JSON document are its own; within its strings they are escaped.
_UNSAFE_IN_JSON = re.compile(rf"(?!\n)[{_CONTROL}{_UNSEEN}]")
_WITH_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    r"""The text on one line. Invisible characters are written as Python escapes: `\x1b`, `\n`, `\u202e`."""
    return _UNSAFE.sub(_escape, text)


def lines(text: str, indent: str = "    ") -> str:
    """The text with its line breaks. Every line but the first is indented, so that none looks like one of our own."""
    return f"\n{indent}".join(one_line(line) for line in text.rstrip("\r\n").replace("\r\n", "\n").split("\n"))


def json_text(document: str) -> str:
    r"""The same JSON document, with the invisible characters of its strings as JSON escapes: `\u009b`, `\u202e`."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _WITH_NAMES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
