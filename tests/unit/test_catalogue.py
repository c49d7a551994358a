from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sandbox import catalogue
from sandbox.errors import ConfigError, UnknownModel

ENTRY = yaml.safe_load((catalogue.CHECKOUT / "smollm2-135m-instruct.yaml").read_text())


def test_every_entry_of_the_project_is_complete() -> None:
    cards = catalogue.load()
    assert "smollm2-135m-instruct" in cards
    for card in cards.values():
        assert len(card.sha256) == 64
        assert card.size_bytes > 0
        assert card.licence


@pytest.mark.parametrize(
    "change",
    [
        {"file": {"sha256": "abc", "size_bytes": 1}},
        {"file": {"sha256": "a" * 64, "size_bytes": -1}},
        {"licence": ""},
        {"colour": "blue"},
        {"source": {"package": "../x", "version": "1", "member": "a.gguf"}},
        {"source": {"package": "x", "version": "1", "member": "/etc/passwd"}},
        {"id": "something-else"},
        {"id": "ends-with-a-dash-"},
        {"id": "x" * 57},
        {"shape": {"layers": 30}},
        {"shape": {**ENTRY["shape"], "layers": 0}},
    ],
    ids=str,
)
def test_load_refuses_a_wrong_entry_by_name(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "smollm2-135m-instruct.yaml").write_text(yaml.safe_dump({**ENTRY, **change}))
    with pytest.raises(ConfigError, match="smollm2-135m-instruct"):
        catalogue.load(tmp_path)


def test_find_names_the_nearest_model() -> None:
    with pytest.raises(UnknownModel) as told:
        catalogue.find(catalogue.load(), "smollm2-135m-instruc")
    assert "did you mean smollm2-135m-instruct?" in told.value.hint


def test_load_refuses_two_ids_that_a_cluster_cannot_tell_apart(tmp_path: Path) -> None:
    for model_id in ("a.b", "a-b"):
        (tmp_path / f"{model_id}.yaml").write_text(yaml.safe_dump({**ENTRY, "id": model_id}))
    with pytest.raises(ConfigError, match=r"a\.b"):
        catalogue.load(tmp_path)
