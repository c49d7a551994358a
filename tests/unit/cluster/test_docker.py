"""The Docker engine: what is said when none answers."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from docker.errors import DockerException

from sandbox.cluster.docker import Docker, unavailable
from sandbox.errors import DockerUnavailable


# The SDK forgets a socket that it could not connect; it is collected here, so that no other test hears of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_connect_says_that_no_engine_runs_where_the_socket_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DockerUnavailable, match="no Docker engine runs") as raised:
        Docker.connect(f"unix://{tmp_path}/none.sock")
    assert "systemctl start docker" in raised.value.hint
    del raised
    gc.collect()


def buried(cause: OSError) -> DockerException:
    """Bury an error as the SDK does: carried by another, raised from nothing."""
    carried = ConnectionError("Connection aborted.", cause)
    error = DockerException("Error while fetching server API version")
    error.__cause__ = carried
    return error


def test_a_socket_that_may_not_be_opened_is_told_from_a_missing_engine() -> None:
    assert "usermod -aG docker" in unavailable(buried(PermissionError(13, "Permission denied"))).hint
    assert "usermod" not in unavailable(buried(ConnectionRefusedError(111, "Connection refused"))).hint


def test_an_engine_that_hangs_is_not_called_missing() -> None:
    found = unavailable(TimeoutError("timed out"))
    assert found.message.startswith("no Docker engine answers")
