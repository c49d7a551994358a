"""Finding an engine, on machines made up for the purpose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sandbox.engine.arguments import ALLOWED
from sandbox.engine.discover import Machine, discover
from sandbox.errors import EngineNotFound

HELP = "\n".join(sorted(ALLOWED))
CACHE = Path("/cache")
BUILT = CACHE / "llama-server" / "bin" / "llama-server"


def machine(
    *, on_path: str | None = None, files: Sequence[Path] = (), packages: Sequence[str] = (), helps: str = HELP
) -> Machine:
    return Machine(
        which=lambda name: on_path if on_path and on_path.endswith(name) else None,
        exists=lambda path: path in files,
        is_importable=lambda name: name in packages,
        version_of=lambda package: f"1.0-{package}",
        run=lambda argv: helps if argv[-1] == "--help" else "noise\nversion: 0.5.0 (build 1)\nbuilt with x",
        built_folder=lambda name, cache: cache / name,
    )


def test_the_configured_program_is_taken_before_all_others() -> None:
    mine = Path("/opt/llama-server")
    found = discover(
        None, cache=CACHE, configured=mine, machine=machine(on_path="/bin/llama-server", files=[mine, BUILT])
    )
    assert (found.path, found.found_in, found.version) == (mine, "the settings", "0.5.0 (build 1)")


def test_the_program_on_path_is_taken_before_the_built_one() -> None:
    found = discover(
        None, cache=CACHE, machine=machine(on_path="/bin/llama-server", files=[Path("/bin/llama-server"), BUILT])
    )
    assert (found.path, found.found_in) == (Path("/bin/llama-server"), "PATH")


def test_the_built_program_is_taken_before_the_wheel() -> None:
    found = discover(None, cache=CACHE, machine=machine(files=[BUILT], packages=["xllamacpp"]))
    assert (found.kind, found.found_in) == ("llama-server", "the build cache")


def test_the_wheel_is_taken_when_the_program_on_path_is_too_old() -> None:
    old = machine(
        on_path="/bin/llama-server", files=[Path("/bin/llama-server")], packages=["xllamacpp"], helps="--host --port"
    )
    found = discover(None, cache=CACHE, machine=old)
    assert (found.kind, found.path, found.version) == ("xllamacpp", None, "1.0-xllamacpp")


def test_a_configured_program_is_refused_when_it_lacks_a_flag() -> None:
    mine = Path("/opt/llama-server")
    lacking = machine(files=[mine], packages=["xllamacpp"], helps="\n".join(ALLOWED - {"--no-slots"}))
    with pytest.raises(EngineNotFound, match=r"/opt/llama-server \(the settings\) does not know --no-slots"):
        discover(None, cache=CACHE, configured=mine, machine=lacking)


def test_a_configured_program_is_refused_when_it_is_no_llama_server() -> None:
    mine = Path("/bin/true")
    with pytest.raises(EngineNotFound, match="does not know any flag"):
        discover("llama-server", cache=CACHE, configured=mine, machine=machine(files=[mine], helps=""))


def test_every_place_is_named_when_there_is_nothing() -> None:
    with pytest.raises(EngineNotFound) as caught:
        discover(None, cache=CACHE, machine=machine())
    assert "no llama-server on PATH" in caught.value.message
    assert str(BUILT) in caught.value.message
    assert "xllamacpp is not installed" in caught.value.message
    assert "python -m sandbox.engine.build" in caught.value.hint


def test_the_binding_is_imported_from_its_build_when_not_installed() -> None:
    built = CACHE / "llama-cpp-python" / "python"
    found = discover("llama-cpp-python", cache=CACHE, machine=machine(files=[built]))
    assert found.path == built


def test_the_binding_needs_no_folder_when_installed() -> None:
    found = discover("llama-cpp-python", cache=CACHE, machine=machine(packages=["llama_cpp"]))
    assert (found.path, found.version) == (None, "1.0-llama-cpp-python")


def test_ollama_is_found_in_its_build_when_not_on_path() -> None:
    built = CACHE / "ollama" / "bin" / "ollama"
    found = discover("ollama", cache=CACHE, machine=machine(files=[built]))
    assert (found.path, found.found_in) == (built, "the build cache")


def test_an_installed_wheel_alone_is_no_llama_server() -> None:
    with pytest.raises(EngineNotFound):
        discover("llama-server", cache=CACHE, machine=machine(packages=["xllamacpp"]))


def test_the_build_for_cuda_is_taken_first_and_only_when_cuda_is_wanted() -> None:
    cuda = CACHE / "llama-server-cuda" / "bin" / "llama-server"
    both = machine(on_path="/bin/llama-server", files=[Path("/bin/llama-server"), BUILT, cuda])
    assert discover(None, cache=CACHE, machine=both, accelerator="cuda").path == cuda
    assert discover(None, cache=CACHE, machine=both).path == Path("/bin/llama-server")
    without = machine(files=[BUILT])
    assert discover(None, cache=CACHE, machine=without, accelerator="cuda").path == BUILT
