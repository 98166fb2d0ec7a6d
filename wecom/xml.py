"""XML from outside, read without ever following it anywhere.

WeChat's own SDK for this message format had an external-entity hole in 2018. No document of the platform has a DOCTYPE,
so one with a DOCTYPE is refused before it is parsed, and the parser resolves nothing and fetches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from lxml import etree

DEEPEST = 16
MOST_LEAVES = 5000
LONGEST_PATH = 512

_DOCTYPE = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# What XML 1.0 can't carry: control characters and lone surrogates.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlRefused(Exception):
    """Not a document that we read; ``reason`` is one of a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def refuse_doctype(document: bytes) -> None:
    """Raise ``XmlRefused`` for a document that declares anything, or hides it in another encoding than UTF-8."""
    if b"\0" in document or document[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise XmlRefused("encoding")
    if _DOCTYPE.search(document):
        raise XmlRefused("doctype")


def parse(document: bytes) -> etree._Element:
    """The root element. Raises ``XmlRefused``."""
    refuse_doctype(document)
    # A new parser each time: lxml's are not to be shared, and the cost is small.
    parser = etree.XMLParser(
        # Whatever the document says of its encoding: one that is declared could hide a DOCTYPE from the search above.
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError):
        raise XmlRefused("not well-formed") from None
    if root.getroottree().docinfo.doctype:
        raise XmlRefused("doctype")
    return root


def leaves(root: etree._Element) -> list[tuple[str, str]]:
    """Every element without children, as (path below the root, text), in the document's order.

    Paths are names joined by ``/``; text loses the white space around it. Raises ``XmlRefused`` for a document that
    is deeper, has more leaves or longer paths than any of the platform's.
    """
    found: list[tuple[str, str]] = []

    def walk(element: etree._Element, path: str, depth: int) -> None:
        for child in element:
            name = f"{path}/{child.tag}" if path else str(child.tag)
            # Each leaf has its path: long ones would make gigabytes of a document of a megabyte.
            if depth >= DEEPEST or len(found) >= MOST_LEAVES or len(name) > LONGEST_PATH:
                raise XmlRefused("too large")
            if len(child):
                walk(child, name, depth + 1)
            else:
                found.append((name, (child.text or "").strip()))

    walk(root, "", 0)
    return found


def write(pairs: Sequence[tuple[str, str]]) -> bytes:
    """A document with these leaves, the reverse of ``leaves``; neighbours with a common path share its elements.

    A repeated path repeats the last element of it. Characters that XML can't carry are left out.
    """
    out: list[str] = ["<xml>"]
    open_path: list[str] = []
    for path, text in pairs:
        *parents, name = path.split("/")
        common = 0
        while common < min(len(parents), len(open_path)) and parents[common] == open_path[common]:
            common += 1
        out += [f"</{tag}>" for tag in reversed(open_path[common:])]
        out += [f"<{tag}>" for tag in parents[common:]]
        open_path = parents
        out.append(f"<{name}>{_text(text)}</{name}>")
    out += [f"</{tag}>" for tag in reversed(open_path)]
    out.append("</xml>")
    return "".join(out).encode()


def _text(text: str) -> str:
    text = _NOT_XML.sub("", text)
    # As the platform does it. The plain way for what would end the section early, what a reader would take for a
    # declaration, and a carriage return, which a section turns into a line feed.
    if "]]>" in text or "<!" in text or "\r" in text:
        return escape(text, {"\r": "&#13;"})
    return f"<![CDATA[{text}]]>"
