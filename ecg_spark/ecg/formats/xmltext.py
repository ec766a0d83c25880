"""The text of an XML file with a wrong declaration or invalid bytes.

Expat reads valid files by itself. Files that it refuses come here: the bytes are decoded by what
they look like, and what XML does not allow is replaced. Everything a reader needs from a device's
file is ASCII, so a wrong guess can spoil a name but never a number: a number in which something was
replaced is no longer a number.
"""

import codecs
import re

from ecg_spark.ecg.recording import Reason, RecordingError

REPLACED = "\ufffd"
"""Replaces what could not be kept."""

MAX_REFERENCES = 200_000
"""References to characters in a document that must be repaired, each of which costs 1 µs."""

_JUNK_BYTES = bytes(range(0x21))
_JUNK = _JUNK_BYTES.decode() + "\x85\ufeff"
_DECLARED = re.compile(
    # One quotation mark of whatever kind: it is not the same byte in all of EBCDIC.
    r"<\?xml\b[^>]{0,500}?\bencoding\s*=\s*[^A-Za-z0-9]{0,2}([A-Za-z0-9][A-Za-z0-9._:-]{0,40})"
)
_DECLARATION = re.compile(r"<\?xml\s[^>]{0,1000}?\?>")
_QUOTED = re.compile(r"<\?xml\s+version\s*=\s*[\"']")
_NO_TAG = re.compile(r"<[^!?/\w:]")
_WIDE = (
    ("utf-32-le", re.compile(rb"(?:\xff\xfe\0\0)?(?:[\0-\x20]\0\0\0)*<\0\0\0[?!:\w]\0\0\0")),
    ("utf-32-be", re.compile(rb"(?:\0\0\xfe\xff)?(?:\0\0\0[\0-\x20])*\0\0\0<\0\0\0[?!:\w]")),
    ("utf-16-le", re.compile(rb"(?:\xff\xfe)?(?:[\0-\x20]\0)*<\0[?!:\w]\0")),
    ("utf-16-be", re.compile(rb"(?:\xfe\xff)?(?:\0[\0-\x20])*\0<\0[?!:\w]")),
)
"""What a document of wide characters begins with."""

_EBCDIC = "<?xml".encode("cp037")
_EBCDIC_JUNK = bytes(range(0x41))  # 0x40 is the space
_EBCDIC_CODECS = ("cp037", "cp500", "cp1026")
"""Others have the signs of XML where one of these has them."""

_HEAD = 256
"""Bytes in which a file shows what it is written in."""

_NEEDED = bytes(
    sorted(b"0123456789+-.,/=<>&;#!?:_\"' \t\r\n()" + bytes(range(65, 91)) + bytes(range(97, 123)))
)
_NO_CHARSETS = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}
"""Codecs of Python's own, some of them slow: no document is written in them."""

_WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "ascii": "utf-8",
}
"""What is written where the narrower codec is declared."""

_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile(r"&(?:#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,8}));|([A-Za-z_:][\w:.-]{0,63});)?")
_FOREIGN_REFERENCE = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#x?[0-9A-Fa-f]{1,6});)")
_PREDEFINED = ("amp", "lt", "gt", "quot", "apos")


def looks_like_xml(data: bytes) -> bool:
    """Return whether data begin with a `<` in any encoding, after marks and white space."""
    head = data[:_HEAD]
    is_narrow = _without_marks(head)[0].startswith(b"<")
    return is_narrow or _wide_codec(head) is not None or _is_ebcdic(head)


def refers_to_entities(data: bytes) -> bool:
    """Return whether data hold a bare `&` or a reference to an entity that XML does not define."""
    return b"&" in data and _FOREIGN_REFERENCE.search(data) is not None


def repaired(data: bytes) -> tuple[str, bool]:
    """Return the document's text without its XML declaration, and whether any of it is a guess.

    The encoding is that of the byte-order mark, the zero bytes, the declaration, or UTF-8: the
    first of these that fits all of the bytes; otherwise Latin-1, which is a guess. Control
    characters, references to them and to undefined entities become `REPLACED`; a bare `&` becomes a
    proper one. White space, marks and control characters before the beginning are left out, and so
    is anything after the end. Entity declarations stay where they are, so that the parser refuses
    them.

    Raises:
        RecordingError: `too_large` if there are more than `MAX_REFERENCES` references.
    """
    text, guessed = _decoded(data)
    if text.count("&") > MAX_REFERENCES:
        raise RecordingError(Reason.TOO_LARGE, f"XML of more than {MAX_REFERENCES} references")
    text = text[: text.rfind(">") + 1].lstrip(_JUNK)  # nothing of a document is behind its last tag
    while text.startswith(("\u00ef\u00bb\u00bf", "\ufeff")):  # a mark, read as Latin-1 and again
        text = text.removeprefix("\u00ef\u00bb\u00bf").lstrip(_JUNK)
    declaration = _DECLARATION.match(text)
    if declaration is not None:  # errors still tell the right line
        text = "\n" * declaration[0].count("\n") + text[declaration.end() :]
    text, controls = _FORBIDDEN.subn(REPLACED, text)
    replaced = 0

    def reference(found: re.Match[str]) -> str:
        nonlocal replaced
        hexadecimal, number, name = found.groups()
        if name in _PREDEFINED:
            return found[0]
        if hexadecimal or number:
            code = int(hexadecimal, 16) if hexadecimal else int(number)
            allowed = code <= 0x10FFFF and (code in (9, 10, 13) or not _FORBIDDEN.match(chr(code)))
            if allowed:
                return found[0]
        replaced += 1
        return REPLACED if len(found[0]) > 1 else "&amp;"

    text = _REFERENCE.sub(reference, text)
    return text, guessed or bool(controls or replaced)


def _decoded(data: bytes) -> tuple[str, bool]:
    """Return the text, and whether its encoding is a guess."""
    head = data[:_HEAD]
    wide = _wide_codec(head)
    if wide is not None:
        width = 4 if wide.startswith("utf-32") else 2
        body = data[: len(data) // width * width]  # a lone NUL or Ctrl-Z is cut off
        return body.decode(wide, "replace"), _strict(body, wide) is None
    if _is_ebcdic(head):
        return _ebcdic(data.lstrip(_EBCDIC_JUNK))
    body, is_marked = _without_marks(data)
    declared = "utf-8" if is_marked else _declared_in(body[:1000].decode("latin-1"))
    for codec in (declared, _WIDER.get(declared or ""), "utf-8"):
        text = None if codec is None else _strict(body, codec)
        if text is not None and codec is not None and _keeps_ascii(body, text, codec):
            return text, False
    return body.decode("latin-1"), True


def _is_ebcdic(head: bytes) -> bool:
    return head.lstrip(_EBCDIC_JUNK).startswith(_EBCDIC)


def _ebcdic(body: bytes) -> tuple[str, bool]:
    declared = _declared_in(body[:1000].decode(_EBCDIC_CODECS[0]))
    text = None if declared is None else _strict(body, declared)
    if text is not None and text.startswith("<?xml"):
        return text, False
    texts = [body.decode(codec, "replace") for codec in _EBCDIC_CODECS]
    fitting = (text for text in texts if _QUOTED.match(text) and not _NO_TAG.search(text))
    return next(fitting, texts[0]), True


def _wide_codec(head: bytes) -> str | None:
    """Return the codec, of two or four bytes per character, that the document begins in, if any."""
    return next((codec for codec, pattern in _WIDE if pattern.match(head)), None)


def _without_marks(data: bytes) -> tuple[bytes, bool]:
    """Return data without what may precede the document, and whether a byte-order mark did."""
    body, is_marked = data.lstrip(_JUNK_BYTES), False
    while body.startswith(codecs.BOM_UTF8):
        body, is_marked = body[len(codecs.BOM_UTF8) :].lstrip(_JUNK_BYTES), True
    return body, is_marked


def _declared_in(text: str) -> str | None:
    """Return Python's name of the declared codec; None if documents are not written in it."""
    found = _DECLARED.match(text)
    for name in (found[1], found[1].lower().removeprefix("x-")) if found else ():
        try:
            codec = codecs.lookup(name).name
            "".encode(codec)
        except (LookupError, ValueError):
            continue
        return None if codec in _NO_CHARSETS else codec
    return None


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except (ValueError, LookupError):
        return None


def _keeps_ascii(data: bytes, text: str, codec: str) -> bool:
    """Return whether the characters of XML and of numbers came through `codec` as ASCII.

    UTF-7, in which a plus sign does not mean a plus sign, must give the same bytes up to the last
    tag when it is encoded again.
    """
    if not text.startswith(data[:1].decode("latin-1")):
        return False
    if _strict(_NEEDED, codec) == _NEEDED.decode("ascii"):
        return True
    try:
        return data.startswith(text[: text.rfind(">") + 1].encode(codec))
    except ValueError:
        return False
