"""What a build is named after."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.engine import build, recipes


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
