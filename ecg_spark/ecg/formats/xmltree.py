"""Untrusted XML, read into an element tree without entities, network or unbounded work."""

import contextlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats import xmltext
from ecg_spark.ecg.formats.quantities import decimal
from ecg_spark.ecg.recording import Note, Reason, RecordingError

MAX_ELEMENTS = 200_000
"""An ECG of 10 s needs some 3,000 elements; every element costs about 200 bytes."""

MAX_DEPTH = 64
"""The device formats nest ten deep."""

_ENDS_EARLY = ("no element found", "unclosed token", "unclosed CDATA section")
_ELEMENT = re.compile(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")


class _RootFound(Exception):
    """Ends parsing at the root element, which is enough to know the format."""


class _NotWellFormed(RecordingError):
    """The document cannot be parsed as it is."""

    def __init__(self, problem: str) -> None:
        what = "it ends early" if problem.startswith(_ENDS_EARLY) else problem
        super().__init__(Reason.MALFORMED, f"not well-formed XML: {what}")


def root_tag(data: bytes) -> str | None:
    """Return the name of the root element without prefix, or None if the data are not XML.

    If the document is damaged before its root, it is the first element that can be recognised.

    Raises:
        RecordingError: `unsafe` if entities are declared before the root.
    """
    tag: str | None = None

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal tag
        tag = name.rpartition(":")[2]
        raise _RootFound

    def found_in(document: bytes, encoding: str | None = None) -> str | None:
        parser = _parser(encoding)
        parser.StartElementHandler = start
        with contextlib.suppress(_RootFound, _NotWellFormed):
            _feed(parser, document)
        return tag

    if found_in(data) is None and xmltext.looks_like_xml(data):
        text, _ = xmltext.repaired(data)
        if found_in(text.encode(), "utf-8") is None and (element := _ELEMENT.search(text)):
            return element[1]
    return tag


def parse(data: bytes, skip: Collection[str] = ()) -> tuple[ET.Element, list[Note]]:
    """Return the root element, and a note if text had to be replaced before it could be read.

    A document that is not well formed is first repaired, as far as `xmltext.repaired` can. Entity
    declarations are refused, so no text can grow beyond the input; a document type that names an
    external file is allowed, and the file is never opened.

    Args:
        data: the document.
        skip: names of elements that are left out with everything in them, without prefix.

    Raises:
        RecordingError: `unsafe` for entities; `malformed` if the XML is not well formed;
            `too_large` above `MAX_ELEMENTS` elements or `MAX_DEPTH` levels.
    """
    with contextlib.suppress(_NotWellFormed):
        return _tree(data, skip), []
    text, is_guess = xmltext.repaired(data)
    return _tree(text.encode(), skip, "utf-8"), [Note.TEXT_REPLACED] if is_guess else []


def text(element: ET.Element | None, path: str) -> str | None:
    """Return the stripped text of the first element at `path`, or None if it is absent or empty."""
    found = None if element is None else element.find(path)
    value = (found.text or "").strip() if found is not None else ""
    return value or None


def number(element: ET.Element | None, path: str) -> float | None:
    """Return the number at `path`, or None if it is absent, empty or not a finite number."""
    return decimal(text(element, path))


def required_number(element: ET.Element, path: str) -> float:
    """Return the number at `path`.

    Raises:
        RecordingError: `malformed` if there is none.
    """
    value = number(element, path)
    if value is None:
        raise RecordingError(Reason.MALFORMED, f"{element.tag}/{path} holds no number")
    return value


def attribute(element: ET.Element | None, name: str) -> float | None:
    """Return the number in an attribute, or None if it is absent or not a finite number."""
    return None if element is None else decimal(element.get(name))


def whole_numbers(text: str, separator: str) -> NDArray[np.int64]:
    """Return the samples that a text lists.

    Args:
        text: whole numbers.
        separator: what separates them; a space stands for any white space.

    Raises:
        RecordingError: `not_finite` for NaN and infinity; `malformed` for anything else that is not
            a whole number of at most 24 bits.

    Example:
        >>> whole_numbers("12, -7,3", ",").tolist()
        [12, -7, 3]
    """
    text = text.strip()
    try:
        samples = (
            np.fromstring(text, dtype=np.int64, sep=separator) if text else np.zeros(0, np.int64)
        )
    except ValueError:
        lowered = text.lower()
        if "nan" in lowered or "inf" in lowered:
            raise RecordingError(Reason.NOT_FINITE, "a sample is not a finite number") from None
        raise RecordingError(Reason.MALFORMED, "the samples are not whole numbers") from None
    if samples.size and max(samples.max(), -samples.min()) > 1 << 24:
        raise RecordingError(Reason.MALFORMED, "a sample exceeds 24 bits")
    return samples


def sample_count(element: ET.Element, path: str) -> int | None:
    """Return the count at `path`, or None if it is absent.

    Raises:
        RecordingError: `malformed` if it is not a whole number of 0 or more.
    """
    value = number(element, path)
    if value is None:
        return None
    if value != int(value) or value < 0:
        raise RecordingError(Reason.MALFORMED, f"{element.tag}/{path} is not a count")
    return int(value)


def measurements(
    element: ET.Element | None, names: dict[str, str], notes: list[Note]
) -> dict[str, float]:
    """Return the numbers found under an element.

    Args:
        element: the element; None has no numbers.
        names: the name in the result, and the path below the element, of each number.
        notes: receives `measurement_unreadable` for each value that is not a number; it is left
            out.
    """
    found: dict[str, float] = {}
    for name, path in names.items():
        given = text(element, path)
        value = decimal(given)
        if value is not None:
            found[name] = value
        elif given is not None:
            notes.append(Note.MEASUREMENT_UNREADABLE)
    return found


def _tree(data: bytes, skip: Collection[str], encoding: str | None = None) -> ET.Element:
    """Return the root of a document in the given encoding; None takes that of its declaration."""
    builder = ET.TreeBuilder()
    parser = _parser(encoding)
    depth = elements = skipped_from = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements, skipped_from
        depth += 1
        elements += 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise RecordingError(
                Reason.TOO_LARGE,
                f"XML of more than {MAX_ELEMENTS} elements or {MAX_DEPTH} levels",
            )
        if skipped_from:
            return
        name = name.rpartition(":")[2]
        if name in skip:
            skipped_from = depth
            parser.CharacterDataHandler = None
        else:
            builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth, skipped_from
        if not skipped_from:
            builder.end(name.rpartition(":")[2])
        elif depth == skipped_from:
            skipped_from = 0
            parser.CharacterDataHandler = builder.data
        depth -= 1

    def doctype(*declaration: object) -> None:
        # Expat silently drops entities that an unopened document type may define.
        if encoding is None and xmltext.refers_to_entities(data):
            raise _NotWellFormed("it refers to entities that it does not declare")

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    _feed(parser, data)
    return builder.close()


def _feed(parser: expat.XMLParserType, document: bytes) -> None:
    try:
        parser.Parse(document, True)
    except (RecordingError, _RootFound):
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise _NotWellFormed(str(error)) from None


def _parser(encoding: str | None) -> expat.XMLParserType:
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def refuse_entity(*declaration: object) -> None:
        raise RecordingError(Reason.UNSAFE, "the XML declares entities")

    parser.EntityDeclHandler = refuse_entity
    return parser
