"""The documents: links lead somewhere, each is found from the README, and lists of what Tracker has are true."""

import enum
import re
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPO
from tests.support.settings import KINDS
from tracker.settings import variable_of

README = REPO / "README.md"
DOCUMENTS = [README, REPO / "CONTRIBUTING.md", REPO / "CHANGELOG.md", *sorted((REPO / "tracker/docs").rglob("*.md"))]

ONE_PAGE_BYTES = 8192


def anchors(text: str) -> set[str]:
    """Return what the headings of a document are called in links, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(document: Path) -> list[str]:
    """Return the links of a document but those that leave the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    return [link for link in found if not link.startswith(("http://", "https://"))]


def target_of(document: Path, link: str) -> Path:
    path = link.partition("#")[0]
    return (document.parent / path).resolve() if path else document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(REPO)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for link in links_of(document):
        target, anchor = target_of(document, link), link.partition("#")[2]
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_document_is_found_from_the_readme() -> None:
    found, new = set[Path](), {README}
    while new:
        document = new.pop()
        found.add(document)
        new |= {target for link in links_of(document) if (target := target_of(document, link)).suffix == ".md"} - found
    assert {document for document in DOCUMENTS if "swagger-ui" not in document.parts} <= found


def test_the_readme_is_one_page() -> None:
    assert README.stat().st_size <= ONE_PAGE_BYTES


def test_every_target_of_the_makefile_is_described_to_contributors() -> None:
    makefile, guide = (REPO / name for name in ("Makefile", "CONTRIBUTING.md"))
    targets = re.findall(r"^([a-z-]+):.*  ## ", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"^\| `make ([a-z-]+)` \|", guide.read_text(encoding="utf-8"), re.MULTILINE) == targets


def test_the_guide_of_the_settings_lists_each_once() -> None:
    guide = (REPO / "tracker/docs/settings.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(DATABASE_URL|TRACKER_\w+)` \|", guide, re.MULTILINE)
    assert sorted(listed) == sorted(variable_of(name) for kind in KINDS for name in kind.__struct_fields__)


IN_WORDS: Final = {
    "DATABASE_URL": "an embedded PostgreSQL in the data folder",
    "TRACKER_ALLOWED_HOSTS": "(all)",
    "TRACKER_ARCHIVE_URL": "`archive` in the data folder",
    "TRACKER_STRIPE_URL": "Stripe's",
    "TRACKER_WARRANTY_RATES": "Tracker's own",
}
"""Defaults that the guide of the settings describes."""


def as_written(default: object) -> set[str]:
    """Return the ways in which the guide writes a default."""
    if default is None:
        return {"(off)", "(none)"}
    if isinstance(default, int | float):
        return {f"{default:.10g}"}
    return {f"`{default.value if isinstance(default, enum.Enum) else default}`"}


def test_the_guide_of_the_settings_tells_the_defaults() -> None:
    guide = (REPO / "tracker/docs/settings.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(DATABASE_URL|TRACKER_\w+)` \| (.*?) \|", guide, re.MULTILINE))
    for default_group in (kind() for kind in KINDS):
        for name in default_group.__struct_fields__:
            variable = variable_of(name)
            if variable in IN_WORDS:
                assert told[variable] == IN_WORDS[variable]
            else:
                assert told[variable] in as_written(getattr(default_group, name)), variable
