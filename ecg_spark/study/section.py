"""What all sections of the study file share.

Apart from the sections, so that a task which is sent one imports no more than it needs: the readers
of ECG files take seconds.
"""

from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ecg_spark.locations import spelled

Code = int | float | str
"""A value of a table that stands for a missing one."""

Share = Annotated[float, Field(ge=0, le=1)]
Location = Annotated[str, Field(min_length=1), AfterValidator(spelled)]
"""A path or URI."""


class Section(BaseModel):
    """A part of the study file: unknown keys are refused, so that a typo cannot pass."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def section_in(annotation: Any) -> type[Section] | None:
    """The section in an annotation such as `Manifest | None`; None where it has none."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def listed(value: Any) -> Any:
    """Return a single value as a list of one, and numbers (of chromosomes) as text.

    Example:
        >>> listed(6), listed(["X", 6])
        (('6',), ('X', '6'))
    """
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(one) if isinstance(one, int) else one for one in values)


AnySection = TypeVar("AnySection", bound=Section)


def given(section: AnySection | None) -> AnySection:
    """Return a section that the study must have, because it has the step that asks for it."""
    assert section is not None
    return section
