"""The pages for users and developers: short where they must be, and true where they name things."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from jobs.cli import _parser as command_line

ROOT = Path(__file__).parents[2]
HOMES = ("", ".github", "ecg_spark", "jobs", "models", "tests", "infra")
PAGES = sorted(
    page.relative_to(ROOT)
    for home in HOMES
    for page in (ROOT / home).glob("**/*.md" if home else "*.md")
    if "rap/resources" not in page.as_posix()
)
ROOMS = ("ecg_spark", "ecg_spark/ecg", "ecg_spark/genetics", "models", "tests", "infra")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
PLACE = re.compile(
    r"(?<![\w./-])(?:ecg_spark|models|jobs|tests|infra|\.github)/[\w./-]*[\w/](?![\w*<])"
)
NAMED = re.compile(r"`(\w+)`[^`|.;]{0,25}? \(?(?:of|in)? ?`([\w/]+\.py)`")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page):
    """A page without its blocks of code."""
    return re.sub(r"^(?: {4}|\t)[^\n]*|^```.*?^```", "", text_of(page), flags=re.M | re.S)


def links_of(page):
    """The places that a page links to, each with the heading in it, none of the internet's."""
    for found in LINK.finditer(prose_of(page)):
        target = found[1] or found[2]
        if not re.match(r"\w+://|mailto:", target):
            path, _, heading = target.partition("#")
            yield (ROOT / page).parent / path if path else ROOT / page, heading


def anchors_of(page):
    """The names that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S),
                        re.M)  # fmt: skip
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_has_fewer_than_900_words():
    assert len(text_of("README.md").split()) < 900


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_a_file_and_its_heading(page):
    for target, heading in links_of(page):
        assert target.exists(), f"{page} links to {target}"
        if heading:
            assert heading in anchors_of(target), f"{page} links to #{heading} of {target.name}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_a_page_names_are_there(page):
    for place in PLACE.findall(text_of(page)):
        # What is made by a command of the page itself is not there yet.
        if not place.startswith("infra/rap/resources"):
            assert (ROOT / place).exists(), f"{page} names {place}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_names_that_a_page_says_are_in_a_module_are_in_it(page):
    for name, module in NAMED.findall(prose_of(page)):
        assert re.search(rf"\b{name}\b", text_of(module)), f"{page}: {name} is not in {module}"


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_has_a_page(room):
    assert (ROOT / room / "README.md").is_file()


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in reached:
            reached.add(page)
            waiting += [target for target, _ in links_of(page) if target.suffix == ".md"]
    alone = {Path(".github/pull_request_template.md")}  # GitHub shows it by itself
    assert {page.relative_to(ROOT.resolve()) for page in reached} | alone == set(PAGES)


def test_the_guide_tells_of_every_command():
    commands = next(
        action.choices for action in command_line(None)._actions if isinstance(action.choices, dict)
    )
    told = text_of("infra/guide/commands.md")
    missing = [name for name in commands if not re.search(rf"`(ecg-spark|…) {name}\b", told)]
    assert not missing


def test_make_commands_that_a_page_names_exist():
    known = set(re.findall(r"^(\w+):", text_of("Makefile"), re.M))
    for page in PAGES:
        assert set(re.findall(r"(?:`|^    )make ([a-z]+)", text_of(page), re.M)) <= known, page


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert json.loads(text_of("infra/rap/dxapp.json"))["version"] == version
    assert re.search(r"^## (\S+?),? ", text_of(".github/CHANGELOG.md"), re.M)[1] == version


def test_the_tools_of_a_commit_are_those_of_make_lint():
    hooks = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    lint = re.search(r"^lint:.*?\n((?:\t.*\n)+)", text_of("Makefile"), re.M)[1]
    assert {hook["entry"].split()[0] for hook in hooks} == {
        f".venv/bin/{name}" for name in re.findall(r"\$\(BIN\)/(\w+)", lint)
    }


def test_github_runs_what_ci_runs():
    flow = yaml.safe_load(text_of(".github/workflows/ci.yml"))
    steps = flow["jobs"]["test"]["steps"]
    assert steps[-1]["run"] == ".ci/run"
    asked = next(step["with"] for step in steps if "setup-python" in step.get("uses", ""))
    assert f">={asked['python-version']}," in PROJECT["requires-python"]


def test_issue_forms_are_such_as_github_takes():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert forms
    for form in map(yaml.safe_load, (file.read_text() for file in forms)):
        assert {"name", "description", "body"} <= form.keys()
        assert all(one["type"] == "markdown" or one["id"] for one in form["body"])
