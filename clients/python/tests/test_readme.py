"""README.md: its programs run as a new user would run them, and its tables tell the truth."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

import linkkit_sidecar as lk
from linkkit_sidecar import aio, errors, pytest_plugin

HERE = Path(__file__).parents[1]
README = (HERE / "README.md").read_text()

# What the text between the programs says: there is a platform, a sidecar, and a client whose device is online.
AROUND = """\
import asyncio, tempfile
from queue import Queue
from linkkit_sidecar import *
from linkkit_sidecar import aio

with Sandbox() as platform, Sidecar(ca_file=platform.ca_file) as sidecar:
    created = platform.new_device()
    device = created.device
    with sidecar.client(device=device) as client:
        client.connect(credential=created.secret, endpoint=platform.endpoint)
"""
ASYNC = "async def main():\n{}\nasyncio.run(main())\n"

BLOCKS = re.findall(r"^## (.+?)$|^```python( no-run)?\n(.*?)^```$", README, re.M | re.S)


def programs():
    title = ""
    for heading, no_run, code in BLOCKS:
        title = heading or title
        if code:
            yield title, bool(no_run), code


PROGRAMS = list(programs())


def whole(code):
    """The program, with what the README says is around it."""
    if "import" in code:
        return code
    if re.search(r"^\s*async ", code, re.M):
        code = ASYNC.format(textwrap.indent(code, "    "))
    return AROUND + textwrap.indent(code, " " * 8)


@pytest.mark.parametrize(("title", "code"), [(title, code) for title, no_run, code in PROGRAMS if not no_run and "def test_" not in code])
def test_programs_run(new_user, title, code):
    said = new_user.python(whole(code))
    if title.startswith("Ten lines"):
        assert said.splitlines() == ["b'how warm is it?'", "b'{\"temperature\": 21}'"]
        assert len(code.strip().splitlines()) <= 12


def test_what_needs_the_cloud_is_at_least_python_with_names_that_there_are():
    ((_, _, code),) = [program for program in PROGRAMS if program[1]]
    compile(code, "README.md", "exec")
    exec(next(line for line in code.splitlines() if line.startswith("from")), {})
    assert len(PROGRAMS) >= 12


def test_the_fixtures_run(new_user):
    new_user.install("pytest", "pytest-asyncio")
    (code,) = (code for _, _, code in PROGRAMS if "def test_" in code)
    (new_user.home / "test_readme.py").write_text(code)
    said = new_user.run("python", "-m", "pytest", "-q", "test_readme.py")
    assert "2 passed" in said


def test_the_table_of_errors_is_true():
    ours = {kind for kind in vars(lk).values() if isinstance(kind, type) and issubclass(kind, lk.SidecarError)} - {lk.SidecarError}
    told = {}
    for name, yes, no, advice in re.findall(r"^\| `(\w+Error)` \|(.*)\|(.*)\|(.*)\|$", README, re.M):
        told[name] = (reasons(yes), reasons(no))
        assert advice.strip(), name
    true = {}
    for kind in ours:
        own = [(reason, retryable) for reason, of, retryable, _ in errors._REASONS if of is kind]
        by = {answer: {reason for reason, retryable in own if retryable is answer} for answer in (True, False)}
        by[kind.retryable].add("none")
        true[kind.__name__] = (by[True], by[False])
    assert told == true


def reasons(cell):
    return {word.strip(" `") for word in cell.split(",")} - {""}


def test_the_table_of_fixtures_is_whole():
    told = re.findall(r"`(linkkit_\w+)`", "\n".join(line for line in README.splitlines() if line.startswith("| `linkkit_")))
    there = {name for name in vars(pytest_plugin) if name.startswith("linkkit_")} - {"linkkit_created"}
    assert set(told) == there


def test_the_table_of_calls_is_whole():
    table = README.partition("| What | Blocking | asyncio |")[2].partition("\n\n")[0]
    for name in vars(aio.SidecarClient):
        if not name.startswith("_") and name != "address":
            assert re.search(rf"\b{name}\b", table), f"the table does not tell of {name}"


def test_every_example_is_told_of():
    told = re.findall(r"^\| \[(.+?)\]\(examples/(.+?)\) \|", README, re.M)
    assert {(path.name, path.name) for path in (HERE / "examples").glob("*.py")} == set(told)
