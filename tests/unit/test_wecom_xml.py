"""XML from outside: read without being followed anywhere, written so that it reads the same."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wecom.callback import encrypt_of, read_event
from wecom.errors import CallbackMalformed, EventUnreadable
from wecom.xml import DEEPEST, LONGEST_PATH, MOST_LEAVES, XmlRefused, leaves, parse, refuse_doctype, write

# A machine under load is slow, which is no finding.
IN_ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

DECLARES = {
    "external entity": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><Encrypt>&a;</Encrypt></xml>',
    "laughs": b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><xml><Encrypt>&b;</Encrypt></xml>',
    "DOCTYPE alone": b"<!DOCTYPE xml><xml><Encrypt><![CDATA[QUJD]]></Encrypt></xml>",
    "in small letters": b"<!doctype xml><xml><Encrypt><![CDATA[QUJD]]></Encrypt></xml>",
    "with blanks": b"<! \n\tDOCTYPE xml><xml><Encrypt><![CDATA[QUJD]]></Encrypt></xml>",
    "behind a comment": b"<!-- x --><!DOCTYPE xml><xml><Encrypt><![CDATA[QUJD]]></Encrypt></xml>",
    "behind the delivery": b"<xml><Encrypt><![CDATA[QUJD]]></Encrypt></xml><!DOCTYPE xml>",
    "an ENTITY alone": b'<xml><!ENTITY a "b"><Encrypt><![CDATA[QUJD]]></Encrypt></xml>',
    "from elsewhere": b'<!DOCTYPE xml SYSTEM "http://127.0.0.1:1/x.dtd"><xml><Encrypt><![CDATA[QUJD]]></Encrypt></xml>',
}
WHOLE = (
    '<?xml version="1.0" encoding="{}"?><!DOCTYPE x [<!ENTITY a "b">]>'
    "<xml><Event>&a;</Event><Encrypt>&a;</Encrypt></xml>"
)
# In UTF-7 the signs themselves are written with letters, so that no search for them finds any.
UTF7 = (
    b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE x [+ADwAIQ-ENTITY a "b"+AD4]+AD4'
    b"<xml><Event>+ACY-a;</Event><Encrypt><![CDATA[QUJD]]></Encrypt></xml>"
)


@pytest.mark.parametrize("case", DECLARES)
def test_what_declares_anything_is_refused_in_both_layers(case: str) -> None:
    document = DECLARES[case]
    with pytest.raises(XmlRefused, match="doctype"):
        refuse_doctype(document)
    with pytest.raises(XmlRefused, match="doctype"):
        parse(document)
    # The outer document holds a ciphertext that a search for bytes would find.
    with pytest.raises(CallbackMalformed, match="doctype"):
        encrypt_of(document)
    with pytest.raises(EventUnreadable, match="doctype"):
        read_event(document)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-32-le"])
@pytest.mark.parametrize("text", [WHOLE, "<xml><Event>x</Event><Encrypt>QUJD</Encrypt></xml>"])
def test_encodings_that_hide_what_they_say_are_refused(encoding: str, text: str) -> None:
    document = text.format(encoding).encode(encoding)
    with pytest.raises(XmlRefused, match="encoding"):
        refuse_doctype(document)
    with pytest.raises(CallbackMalformed):
        encrypt_of(document)
    with pytest.raises(EventUnreadable):
        read_event(document)


@pytest.mark.parametrize(
    "document", [WHOLE.format("IBM037").encode("cp037"), UTF7, WHOLE.format("UTF-7").encode("utf-7")]
)
def test_declared_encodings_hide_nothing_either(document: bytes) -> None:
    with pytest.raises(XmlRefused):
        parse(document)
    with pytest.raises(EventUnreadable):
        read_event(document)


def test_a_byte_of_zero_is_refused_wherever_it_is() -> None:
    for document in (b"\0<xml><A>1</A></xml>", b"<xml><A>1\0</A></xml>", b"<xml><A>1</A></xml>\0"):
        with pytest.raises(XmlRefused, match="encoding"):
            parse(document)


def test_a_byte_order_mark_of_utf8_does_no_harm() -> None:
    assert leaves(parse(b"\xef\xbb\xbf<xml><A>1</A></xml>")) == [("A", "1")]


@pytest.mark.parametrize("encoding", ["GBK", "UTF-8", "utf-8", "ISO-8859-1", "unheard-of"])
def test_it_is_read_as_utf8_whatever_it_says(encoding: str) -> None:
    document = f'<?xml version="1.0" encoding="{encoding}"?><xml><Name>张三😀</Name></xml>'
    assert leaves(parse(document.encode())) == [("Name", "张三😀")]


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b" ", b"<", b"<xml>", b"<xml></XML>", b"<a/><b/>", b"text", b"\xff\xfa", b"\x00", b"<xml>\xff</xml>"),
        *(b"<xml><A>&nbsp;</A></xml>", b"<xml><A>&#0;</A></xml>", b"<xml><x:A/></xml>", b"<xml><A b=c/></xml>"),
        *(b'{"encrypt": "QUJD"}', b"[]", b"<xml><A>]]></A></xml>", b"<xml><A>\x08</A></xml>"),
        *(b"<a>" * 400 + b"</a>" * 400, b"<a>" * 100_000),
    ],
    ids=repr,
)
def test_what_is_no_document_is_refused(document: bytes) -> None:
    with pytest.raises(XmlRefused) as raised:
        parse(document)
    assert raised.value.__cause__ is None


@IN_ANY_TIME
@given(st.binary(max_size=200) | st.text(alphabet="<>/!?[]&;ab \n'\"=#xCDATA-", max_size=80).map(str.encode))
def test_no_bytes_make_it_fail_in_another_way(document: bytes) -> None:
    try:
        leaves(parse(document))
    except XmlRefused:
        return


def nested(depth: int) -> bytes:
    return b"<xml>" + b"<a>" * depth + b"1" + b"</a>" * depth + b"</xml>"


def test_no_deeper_than_the_platform_goes() -> None:
    assert leaves(parse(nested(DEEPEST))) == [("/".join("a" * DEEPEST), "1")]
    with pytest.raises(XmlRefused, match="too large"):
        leaves(parse(nested(DEEPEST + 1)))
    with pytest.raises(EventUnreadable):
        read_event(nested(200))


@pytest.mark.parametrize("inside", [b"<a/>", b"<a>1</a>"])
def test_no_more_leaves_than_the_platform_sends(inside: bytes) -> None:
    assert len(leaves(parse(b"<xml>" + inside * MOST_LEAVES + b"</xml>"))) == MOST_LEAVES
    for count in (MOST_LEAVES + 1, MOST_LEAVES * 20):
        with pytest.raises(XmlRefused, match="too large"):
            leaves(parse(b"<xml>" + inside * count + b"</xml>"))
        # And not when they are spread over branches.
        with pytest.raises(XmlRefused, match="too large"):
            leaves(parse(b"<xml>" + (b"<b>" + inside * 1000 + b"</b>") * (count // 1000 + 1) + b"</xml>"))


def test_long_names_do_not_multiply() -> None:
    name = b"n" * 30_000
    levels = 14
    # 850 KB, whose paths would be 5000 times 420 KB.
    document = b"<xml>%s%s%s</xml>" % (
        b"".join(b"<%s>" % name for _ in range(levels)),
        b"<a/>" * (MOST_LEAVES - 1),
        b"".join(b"</%s>" % name for _ in range(levels)),
    )
    began = time.process_time()
    with pytest.raises(CallbackMalformed):
        encrypt_of(document)
    with pytest.raises(EventUnreadable):
        read_event(document)
    assert time.process_time() - began < 2
    assert leaves(parse(b"<xml><%s/></xml>" % (b"n" * LONGEST_PATH)))


def test_comments_and_instructions_are_no_text() -> None:
    document = b"<?xml-stylesheet href='x'?><xml><!-- a --><A>x<!-- b -->y<?pi c?>z</A><B><!-- d --></B><?p q?></xml>"
    assert leaves(parse(document)) == [("A", "xyz"), ("B", "")]


def test_sections_and_plain_text_are_the_same() -> None:
    plain = b"<xml><A>a &amp; b</A><B>&lt;c&gt;</B><C>&#x5f20;</C></xml>"
    section = "<xml><A><![CDATA[a & b]]></A><B><![CDATA[<c>]]></B><C>\n<![CDATA[张]]>\n</C></xml>".encode()
    assert leaves(parse(plain)) == leaves(parse(section)) == [("A", "a & b"), ("B", "<c>"), ("C", "张")]


def test_nothing_is_included(tmp_path: Path) -> None:
    other = tmp_path / "other.xml"
    other.write_text("<A>secret</A>")
    document = (
        '<xml xmlns:xi="http://www.w3.org/2001/XInclude">'
        f'<xi:include href="{other.as_uri()}"/><xi:include href="{other.as_uri()}" parse="text"/><B>1</B></xml>'
    ).encode()
    found = leaves(parse(document))
    assert ("B", "1") in found
    assert "secret" not in str(found)


def test_paths_say_where_a_leaf_is() -> None:
    document = b"<xml><L><Item>a</Item><Item>b</Item></L><E/><L><Item>c</Item></L></xml>"
    assert leaves(parse(document)) == [("L/Item", "a"), ("L/Item", "b"), ("E", ""), ("L/Item", "c")]
    assert leaves(parse(b"<xml/>")) == []


def test_it_writes_as_the_platform_does() -> None:
    pairs = [("Event", "x"), ("List/Item", "a"), ("List/Item", "b"), ("List/Sub/Deep", "c"), ("End", "")]
    assert write(pairs) == (
        b"<xml><Event><![CDATA[x]]></Event><List><Item><![CDATA[a]]></Item><Item><![CDATA[b]]></Item>"
        b"<Sub><Deep><![CDATA[c]]></Deep></Sub></List><End><![CDATA[]]></End></xml>"
    )


@pytest.mark.parametrize(
    "text", ["]]>", "a]]>b", "<!DOCTYPE x>", "<!ENTITY", "a\rb", "\r\n", "&amp;", "<a>", "😀", "]]"]
)
def test_what_would_break_a_section_is_written_another_way(text: str) -> None:
    assert leaves(parse(write([("A", f"[{text}]")]))) == [("A", f"[{text}]")]


def test_what_no_document_can_carry_is_left_out() -> None:
    assert leaves(parse(write([("A", "a\0b\x0bc\ud800d\uffffe")]))) == [("A", "abcde")]


names = st.from_regex(re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}"), fullmatch=True)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
# White space around a text is lost; everything else that XML can carry has to come through.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n\r<>&]![")).map(
    lambda text: re.sub("[\ufffe\uffff]", "", text).strip()
)


@st.composite
def documents(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Leaves that a document can have: no path is the beginning of another."""
    pairs = draw(st.lists(st.tuples(paths, texts), max_size=12))
    known = [path for path, _ in pairs]
    return [(path, text) for path, text in pairs if not any(other.startswith(f"{path}/") for other in known)]


@IN_ANY_TIME
@given(documents())
def test_what_was_written_reads_the_same(pairs: list[tuple[str, str]]) -> None:
    assert leaves(parse(write(pairs))) == pairs


@IN_ANY_TIME
@given(st.lists(st.tuples(paths, st.text()), max_size=8))
def test_whatever_is_written_can_be_read(pairs: list[tuple[str, str]]) -> None:
    assert [path for path, _ in leaves(parse(write(pairs)))] == [path for path, _ in pairs]
