"""What is wrong in a study file, in words."""

from typing import Any

from ecg_spark.study.section import Section


def key_of(location: tuple[int | str, ...]) -> str:
    """The key of a problem, as the study file spells it."""
    return ".".join(str(part) for part in location)


def problem_of(item: dict[str, Any], whole: type[Section]) -> str:
    """A problem in words, as pydantic gives it of a section and those in it."""
    match item["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            section: Any = whole
            for part in item["loc"][:-1]:
                section = _section(section.model_fields[part].annotation)
            return f"is not a key; known here are {', '.join(section.model_fields)}"
        case _:
            message = item["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            return f"{message.replace('input should', 'should')} (found {item['input']!r})"


def _section(annotation: Any) -> Any:
    """The section class in an annotation such as `Manifest | None`."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    raise TypeError(f"no section in {annotation}")
