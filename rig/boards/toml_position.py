"""Where in a TOML file a key stands, so that an error can point at it.

The standard library's reader tells no positions; tree-sitter's grammar does.
"""

from __future__ import annotations

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

_SEGMENTS = {"bare_key", "quoted_key"}
_TABLES = {"table", "table_array_element"}


def key_position(source: bytes, path: tuple[str, ...]) -> tuple[int, int] | None:
    """Line and column, both from 1, of the key `path` (`("boards", "kitchen", "reset")`).

    None when the file does not spell it out. `source` must be valid TOML in UTF-8.
    """
    tree = Parser(Language(tree_sitter_toml.language())).parse(source)
    node = _find(tree.root_node, path)
    if node is None:
        return None
    row, byte = node.start_point
    line = source.split(b"\n")[row]
    return row + 1, len(line[:byte].decode()) + 1


def _find(scope: Node, path: tuple[str, ...]) -> Node | None:
    """The key node of `path` below `scope`; of a table opened several times, any that has it."""
    header: Node | None = None
    for child in scope.named_children:
        if child.type not in _TABLES and child.type != "pair":
            continue
        segments = _segments(child.named_children[0])
        names = tuple(name for name, _ in segments)
        if len(names) <= len(path) and names == path[: len(names)]:
            rest = path[len(names) :]
            if not rest:
                return segments[-1][1]
            inner = child if child.type in _TABLES else child.named_children[-1]
            found = _find(inner, rest)
            if found is not None:
                return found
        elif len(names) > len(path) and names[: len(path)] == path:
            header = header or segments[len(path) - 1][1]
    return header


def _segments(key: Node) -> list[tuple[str, Node]]:
    """A key's parts: `boards."my board"` -> boards, my board."""
    if key.type in _SEGMENTS:
        text = (key.text or b"").decode()
        return [(text[1:-1] if key.type == "quoted_key" else text, key)]
    return [part for child in key.named_children for part in _segments(child)]
