"""What is built and installed: what is in it, that it is always the same, and that the command and the package belong together."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import newuser

import linkkit_sidecar as lk

HERE = Path(__file__).parents[1]


def test_there_is_a_wheel_with_the_command_one_without_and_the_source(built):
    version = re.escape(lk.__version__)
    names = "\n".join(path.name for path in built)
    assert re.fullmatch(
        rf"linkkit_sidecar-{version}-py3-none-any\.whl\n"
        rf"linkkit_sidecar-{version}-py3-none-manylinux_2_17_(\w+)\.manylinux2014_\1\.musllinux_1_1_\1\.whl\n"
        rf"linkkit_sidecar-{version}\.tar\.gz",
        names,
    ), names


def test_the_wheel_has_the_command_and_all_licences(built):
    pure, full = (zipfile.ZipFile(path) for path in built if path.suffix == ".whl")
    with pure, full:
        added = set(full.namelist()) - set(pure.namelist())
        script = f"linkkit_sidecar-{lk.__version__}.data/scripts/linkkit-sidecar"
        command = "linkkit_sidecar/_bin/linkkit-sidecar"
        assert added == {command, "linkkit_sidecar/_bin/NOTICES", script}
        for name in (command, script):
            assert full.getinfo(name).external_attr >> 16 & 0o777 == 0o755
        for wheel in (pure, full):
            assert wheel.read(f"linkkit_sidecar-{lk.__version__}.dist-info/licenses/LICENSE") == (newuser.ROOT / "LICENSE").read_bytes()
        binary = newuser.ROOT / "bin" / "linkkit-sidecar"
        linked = re.findall(
            r"^\tdep\t(\S+)\t(\S+)", subprocess.run(["go", "version", "-m", binary], check=True, capture_output=True, text=True).stdout, re.M
        )
        assert len(linked) > 20
        notices = full.read("linkkit_sidecar/_bin/NOTICES").decode()
        for module, version in linked:
            assert f"\n{module} {version}\n" in notices
        assert "\nThe Go standard library go1" in notices


def test_the_same_commit_makes_the_same_files(built, tmp_path):
    again = newuser.build(tmp_path / "again")
    assert [path.name for path in again] == [path.name for path in built]
    assert [path.name for path, other in zip(built, again, strict=True) if path.read_bytes() != other.read_bytes()] == []


def test_the_command_is_of_the_packages_version(new_user):
    said = json.loads(new_user.run("linkkit-sidecar", "version", "--output", "json"))
    assert said["version"].partition("-dev.")[0] == lk.__version__
    assert json.loads(new_user.run("python", "-m", "linkkit_sidecar", "version", "--output", "json")) == said
    found = new_user.python("import linkkit_sidecar as lk\nfrom linkkit_sidecar._binary import find_binary\nprint(lk.__version__, find_binary())")
    assert found.split() == [lk.__version__, str(next(new_user.bin.parent.glob("lib/python*/site-packages")) / "linkkit_sidecar/_bin/linkkit-sidecar")]
    assert said["go"].startswith("go1")


def test_the_licence_here_is_that_of_the_project():
    assert (HERE / "LICENSE").read_bytes() == (newuser.ROOT / "LICENSE").read_bytes()
