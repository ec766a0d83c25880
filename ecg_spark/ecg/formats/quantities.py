"""Numbers and units as devices write them: with a decimal comma, or a µ of any alphabet."""

import re
import unicodedata

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST = 40
_LARGEST = 1e12
_MICROVOLTS = {
    "nv": 1e-3,
    "uv": 1.0,
    "\u03bcv": 1.0,
    "mv": 1e3,
    "v": 1e6,
    "microvolt": 1.0,
    "millivolt": 1e3,
    "volt": 1e6,
}
_MISREAD_MU = ("\u00c2\u00b5", "\u00ce\u00bc")


def decimal(text: str | None) -> float | None:
    """Return a text as a number, with a decimal point or comma; None if it is not a number.

    A text with both at once (`1.234,5`) or either twice is not a number, nor is anything of 1e12 or
    more. A comma is never read as a thousands separator; if it was meant as one, the resulting rate
    or amplitude is outside of every accepted range.

    Example:
        >>> decimal(" 4,88 "), decimal("1e-3"), decimal("1.234,5")
        (4.88, 0.001, None)
    """
    stripped = (text or "").strip()
    if len(stripped) > _LONGEST or _DECIMAL.fullmatch(stripped) is None:
        return None
    value = float(stripped.replace(",", "."))
    return value if abs(value) < _LARGEST else None


def microvolts(unit: str | None) -> float | None:
    """Return the named unit in µV; None if it is not a unit of voltage.

    Upper and lower case are not distinguished. The µ may be the micro sign, the Greek letter, a u,
    or its two bytes of UTF-8 read as Latin-1.

    Example:
        >>> microvolts("mV"), microvolts("uV"), microvolts("bpm")
        (1000.0, 1.0, None)
    """
    name = unit or ""
    for misread in _MISREAD_MU:
        name = name.replace(misread, "u")
    name = unicodedata.normalize("NFKC", name).strip().lower()
    return _MICROVOLTS.get(name.removesuffix("s") if name.endswith("volts") else name)
