"""Folders with workflows, and one in which some have been run."""

from __future__ import annotations

import pytest

from tests.cli.commands import FLOWS, Commands

PAGES = "pages=[1,2,3,4,5,6,7,8]"


@pytest.fixture
def hush(tmp_path):
    """The command in a folder with workflows, and with an empty trace store."""
    (tmp_path / "flows.py").write_text(FLOWS)
    return Commands(tmp_path)


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """The command in a folder whose store holds four runs: talks, crawl twice, fails."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "flows.py").write_text(FLOWS)
    hush = Commands(folder)
    hush("run", "flows:talks")
    hush("run", "flows:crawl", "--input", PAGES, "--partial-ok")
    hush("run", "flows:crawl", "--input", "pages=[1,2,4,6]")
    hush("run", "flows:fails", code=1)
    hush.ids = [one["trace_id"] for one in hush.json("traces")["traces"]][::-1]
    return hush
