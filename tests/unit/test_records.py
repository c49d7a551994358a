from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sandbox.audit import Begun, Ended, Records
from sandbox.errors import HomeUnusable, RecordUnavailable

pytestmark = pytest.mark.anyio

BEGUN = Begun(
    owner="local",
    key_id="k1",
    path="/v1/chat/completions",
    model="m",
    model_sha256="a" * 64,
    engine="fake",
    prompt_sha256="b" * 64,
    sampling="{}",
)
ENDED = Ended(state="done", answer_sha256="c" * 64, duration_s=1.5, prompt_tokens=3, completion_tokens=2)


async def test_a_request_is_on_disk_as_soon_as_it_has_begun(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    record_id = await records.begin(BEGUN)
    with sqlite3.connect(tmp_path / "records.db") as other:
        assert other.execute("SELECT id, state FROM records").fetchall() == [(record_id, "begun")]
    other.close()
    records.close()


async def test_the_end_completes_the_row(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    await records.end(await records.begin(BEGUN), ENDED)
    (row,) = await records.recent()
    assert (row.state, row.prompt_tokens, row.completion_tokens, row.duration_s) == ("done", 3, 2, 1.5)
    assert row.ended_at is not None
    records.close()


async def test_what_a_killed_gateway_left_open_is_marked_and_stays_so(tmp_path: Path) -> None:
    first = Records(tmp_path / "records.db")
    left = await first.begin(BEGUN)
    await first.end(await first.begin(BEGUN), ENDED)
    first.close()
    second = Records(tmp_path / "records.db")
    assert await second.recover() == 1
    await second.end(left, ENDED)
    assert {row.id: row.state for row in await second.recent()}[left] == "interrupted"
    second.close()


async def test_ids_sort_by_time_and_the_newest_comes_first(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    ids = [await records.begin(BEGUN) for _ in range(20)]
    assert [row.id for row in await records.recent(5)] == ids[::-1][:5]
    assert await records.count() == 20
    records.close()


async def test_a_record_that_cannot_be_written_is_an_error_with_a_code(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    with sqlite3.connect(tmp_path / "records.db") as other:
        other.execute("DROP TABLE records")
    other.close()
    with pytest.raises(RecordUnavailable) as told:
        await records.begin(BEGUN)
    assert told.value.http_status == 503
    records.close()


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "records.db").write_bytes(b"not a database" * 100)
    with pytest.raises(HomeUnusable, match=r"records\.db"):
        Records(tmp_path / "records.db")


async def test_a_database_of_a_newer_sandbox_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "records.db") as other:
        other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(HomeUnusable, match="version 99"):
        Records(tmp_path / "records.db")


async def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    assert (tmp_path / "records.db").stat().st_mode & 0o077 == 0
    records.close()
