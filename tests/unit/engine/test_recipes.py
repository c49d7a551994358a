"""What a build is named after."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.engine import build, recipes
from sandbox.errors import EngineNotFound


def test_x86_flags_are_left_out_elsewhere() -> None:
    assert "-DGGML_AVX2=ON" in recipes.llama_cpp_flags("x86_64")
    assert not set(recipes.X86_64_FLAGS) & set(recipes.llama_cpp_flags("aarch64"))


def test_another_machine_is_another_folder() -> None:
    cache = Path("/cache")
    folders = {recipes.llama_server("Linux", machine).folder(cache) for machine in ("x86_64", "aarch64")}
    assert len(folders) == 2


def test_the_binding_is_built_anew_for_another_python() -> None:
    assert recipes.llama_cpp_python("Linux", "x86_64", "3.11").key != (
        recipes.llama_cpp_python("Linux", "x86_64", "3.12").key
    )


def test_a_finished_build_is_not_made_again(tmp_path: Path) -> None:
    folder = build.recipe_of("ollama").folder(tmp_path)
    folder.mkdir(parents=True)
    said: list[str] = []
    assert build.build("ollama", tmp_path, said.append) == folder
    assert said == [f"ollama: already built, {folder}"]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="vllm"):
        build.recipe_of("vllm")


def test_the_build_for_cuda_is_the_plain_one_and_more_in_a_folder_of_its_own() -> None:
    plain, cuda = recipes.llama_server("Linux", "x86_64"), recipes.llama_server_cuda("Linux", "x86_64")
    assert cuda.inputs[: len(plain.inputs)] == plain.inputs
    assert "-DGGML_CUDA=ON" in cuda.inputs
    assert cuda.folder(Path("/cache")) != plain.folder(Path("/cache"))
    assert "-DGGML_CUDA=ON" not in recipes.llama_cpp_flags("x86_64")


def test_nobody_builds_for_cuda_without_naming_it() -> None:
    assert "llama-server-cuda" not in build.NAMES
    assert build.recipe_of("llama-server-cuda").name == "llama-server-cuda"


def test_without_nvidias_compiler_the_build_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "NVCC", tmp_path / "cuda" / "bin" / "nvcc")
    with pytest.raises(EngineNotFound, match="compiled with nvcc, and there is none") as told:
        build.build("llama-server-cuda", tmp_path, list[str]().append)
    assert "CUDA toolkit" in told.value.hint
    assert not build.recipe_of("llama-server-cuda").folder(tmp_path).exists()
