"""The links between the documents lead somewhere."""

import re

import pytest

from tests.conftest import REPO

DOCUMENTS = [
    "README.md",
    "tracker/docs/operations.md",
    "tracker/docs/production.md",
    "tracker/docs/swagger-ui/README.md",
]


def anchors(text: str) -> set[str]:
    """Return what the headings of a document are called in links, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    document = REPO / name
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_the_operations_guide_is_linked() -> None:
    assert "(tracker/docs/operations.md)" in (REPO / "README.md").read_text()
