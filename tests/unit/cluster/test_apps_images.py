"""Images are named after their content, built only when missing, and leave nothing behind."""

from __future__ import annotations

import platform
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound

from sandbox.cluster.docker import Docker, Say
from sandbox.cluster.images import apps, contents, debian, image, sources, together
from sandbox.cluster.images.image import FILES, MADE_S, Image
from sandbox.errors import BuildFailed, ImageUnavailable

RECIPES = ("site", "engine", "gateway", "page", "agent")
DOCKERFILES = sorted(file for name in RECIPES for file in contents.folder(name).glob("Dockerfile*"))


@dataclass
class Api:
    """A builder that notes what it was given."""

    images: set[str]
    built: dict[str, dict[str, Any]] = field(default_factory=dict)
    fails: bool = False

    def build(self, *, path: str, tag: str, buildargs: Mapping[str, str], **rest: Any) -> Iterator[dict[str, str]]:
        files = sorted(Path(path).rglob("*"))
        self.built[tag] = {
            "arguments": dict(buildargs),
            "dockerfile": rest["dockerfile"],
            "files": [file.relative_to(path).as_posix() for file in files if file.is_file()],
            "times": {file.stat().st_mtime for file in files},
        }
        if self.fails:
            yield {"error": "no space left"}
            return
        self.images.add(tag)
        yield {"stream": "Successfully built"}


@dataclass
class Images:
    """The names that an engine knows."""

    names: set[str]

    def get(self, ref: str) -> Any:
        if ref not in self.names:
            raise ImageNotFound(ref)
        return type("Found", (), {"id": f"sha256:{ref}"})()


class Client:
    """An engine that builds at once."""

    def __init__(self, *names: str, architecture: str = "x86_64", fails: bool = False) -> None:
        known = set(names)
        self.images = Images(known)
        self.api = Api(known, fails=fails)
        self.architecture = architecture

    def info(self) -> dict[str, str]:
        return {"Architecture": self.architecture}


def _docker(client: Client) -> Docker:
    return Docker(client)  # type: ignore[arg-type]  # a fake


def _quiet(text: str) -> None:
    del text


def _fill(files: Path, say: Say) -> None:
    say("filling")
    (files / "opt").mkdir()
    (files / "opt/program").write_text("#!/bin/sh\n")
    (files / "opt/program").chmod(0o700)
    (files / "opt/link").symlink_to("program")


def _image(*inputs: str, name: str = "gateway", base: str = "base:1", **given: Any) -> Image:
    return Image(name, "gateway", base, inputs, _fill, **given)


def test_a_name_follows_from_everything_that_goes_in() -> None:
    names = [
        _image().ref,
        _image("x").ref,
        _image(base="base:2").ref,
        _image(arguments=(("A", "1"),)).ref,
        _image(dockerfile="Dockerfile.source").ref,
        Image("gateway", "page", "base:1", (), _fill).ref,
    ]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"docker\.io/sandbox/gateway:[0-9a-f]{12}", name) for name in names)
    assert _image("x").ref == names[1]


def test_a_build_is_handed_recipe_files_and_base_with_one_time(tmp_path: Path) -> None:
    client, made = Client(), _image(arguments=(("A", "1"),))
    made.build(_docker(client), tmp_path, _quiet)
    given = client.api.built[made.ref]
    assert given["arguments"] == {"BASE": "base:1", "A": "1"}
    assert given["files"] == ["Dockerfile", f"{FILES}/opt/link", f"{FILES}/opt/program"]
    assert given["times"] == {MADE_S}
    assert list(image.scratch(tmp_path).iterdir()) == []


def test_what_is_there_is_not_built(tmp_path: Path) -> None:
    made = _image()
    client = Client(made.ref)
    made.build(_docker(client), tmp_path, _quiet)
    assert client.api.built == {}


def test_a_failed_build_leaves_no_folder_and_says_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="no space left"):
        _image().build(_docker(Client(fails=True)), tmp_path, _quiet)
    assert list(image.scratch(tmp_path).iterdir()) == []


def test_a_file_changed_while_it_is_read_gets_no_image_of_the_old_name(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("x = 1\n")

    def fill(files: Path, say: Say) -> None:
        _fill(files, say)
        code.write_text("x = 2\n")

    client, made = Client(), Image("gateway", "gateway", "base:1", (code,), fill)
    with pytest.raises(BuildFailed, match="changed while"):
        made.build(_docker(client), tmp_path / "cache", _quiet)
    assert client.api.built == {}


def test_what_a_killed_build_left_is_cleared(tmp_path: Path) -> None:
    (image.scratch(tmp_path) / "gateway-abc" / "rootfs").mkdir(parents=True)
    image.clear(tmp_path)
    assert list(image.scratch(tmp_path).iterdir()) == []


def test_rights_do_not_depend_on_who_made_the_files(tmp_path: Path) -> None:
    _fill(tmp_path, _quiet)
    (tmp_path / "opt/text").write_text("x")
    (tmp_path / "opt/text").chmod(0o600)
    (tmp_path / "opt").chmod(0o700)
    image.settle(tmp_path)
    modes = {path.name: path.lstat().st_mode & 0o777 for path in tmp_path.rglob("*") if not path.is_symlink()}
    assert modes == {"opt": 0o755, "program": 0o755, "text": 0o644}
    assert (tmp_path / "opt/link").lstat().st_mtime == MADE_S


def test_all_four_images_have_their_names(tmp_path: Path) -> None:
    names = apps.refs(tmp_path)
    assert tuple(names) == ("engine", "gateway", "agent", "page")
    assert set(names) == set(apps.ALL)
    assert names == apps.refs(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_line_of_code_changes_that_image_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = apps.refs(tmp_path)
    changed = tmp_path / "status.py"
    changed.write_text("# changed\n")
    of = sources.of

    def with_change(name: str) -> list[sources.Source]:
        return [
            sources.Source(changed, source.place) if source.place == "ui/pages/status.py" else source
            for source in of(name)
        ]

    monkeypatch.setattr(sources, "of", with_change)
    after = apps.refs(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"page"}


def test_nothing_is_built_and_nobody_asked_when_all_is_there(tmp_path: Path) -> None:
    names = apps.refs(tmp_path)
    client = Client(*names.values(), architecture="s390x")
    assert apps.ensure(_docker(client), tmp_path, _quiet) == {name: names[name] for name in apps.ALL}
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_missing_is_built(tmp_path: Path) -> None:
    names = apps.refs(tmp_path)
    site = apps._site("gateway")
    client = Client(debian.ref(), debian.python_ref(), site.ref, names["agent"], architecture=platform.machine())
    assert apps.ensure(_docker(client), tmp_path, _quiet, ["gateway", "agent"]) == {
        name: names[name] for name in ("gateway", "agent")
    }
    assert list(client.api.built) == [names["gateway"]]
    built = client.api.built[names["gateway"]]
    assert built["arguments"] == {"BASE": site.ref}
    assert f"{FILES}/opt/sandbox/sandbox/gateway/__main__.py" in built["files"]


def test_a_docker_on_another_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageUnavailable, match="s390x"):
        apps.ensure(_docker(Client(architecture="s390x")), tmp_path, _quiet)


def test_names_of_processors_are_the_same_thing() -> None:
    assert {apps._machine(name) for name in ("arm64", "aarch64", "ARM64")} == {"aarch64"}


def test_the_first_failure_is_raised_while_others_still_work() -> None:
    go_on = threading.Event()
    heard: list[str] = []

    def slow(say: Say) -> None:
        go_on.wait(10)
        say("too late")

    def failing(say: Say) -> None:
        say("failing")
        raise BuildFailed("broken", hint="mend it")

    try:
        with pytest.raises(BuildFailed, match="broken"):
            together.do([slow, failing], heard.append)
    finally:
        go_on.set()
    assert heard == ["failing"]


def test_all_work_is_done_and_heard() -> None:
    heard: list[str] = []
    together.do([lambda say, text=text: say(text) for text in "abc"], heard.append)  # type: ignore[misc]  # a loop's value
    assert sorted(heard) == ["a", "b", "c"]


def _lines(dockerfile: Path) -> Sequence[str]:
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_dockerfile_builds_anywhere_and_reproducibly(dockerfile: Path) -> None:
    lines = _lines(dockerfile)
    assert lines[0] == "ARG BASE"
    assert [line for line in lines if line.startswith("FROM")][-1] == "FROM ${BASE}"
    said = "\n".join(lines)
    assert not re.search(r"^ADD|--mount|--chmod|--link|://|:latest|\bcurl\b|\bpip\b", said, re.MULTILINE)
    assert set(re.findall(r"--date=@(\d+)", said)) <= {str(MADE_S)}
    for line in lines:
        if "compileall" in line:
            assert "unchecked-hash" in line
            assert "--date=@" in line


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_only_the_policy_agent_runs_as_root(dockerfile: Path) -> None:
    users = [line.removeprefix("USER ") for line in _lines(dockerfile) if line.startswith("USER ")]
    wanted = {"site": [], "agent": ["0:0"]}.get(dockerfile.parent.name, ["65532:65532"])
    assert users == wanted
