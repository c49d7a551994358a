"""The Docker engine of this machine, as the sandbox uses it.

A thin, typed face over the docker SDK: it finds the engine as the ``docker`` command does (DOCKER_HOST,
else the chosen context), says what is wrong when none answers, and turns the SDK's errors into ours.
Works from engine API 1.41 on; nothing here needs BuildKit.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.utils import kwargs_from_env

from sandbox.errors import BuildFailed, ClusterFailed, DockerUnavailable

Say = Callable[[str], None]
ANSWER_S = 10
"""How long an engine may take to answer at all."""
WORK_S = 900
"""How long one piece of its work may keep silent: a commit of a large image says nothing until it is done."""
OUTPUT_LINES = 25
"""Lines of a failed build that go into the error."""


@dataclass(frozen=True, slots=True)
class Docker:
    """A Docker engine that answers."""

    client: docker.DockerClient

    @classmethod
    def connect(cls, base_url: str | None = None) -> Docker:
        """Find the engine and make sure that it answers.

        Args:
            base_url: another engine than the one the ``docker`` command would ask, as ``unix:///path``.

        Raises:
            DockerUnavailable: none answers, or this user may not ask it.
        """
        try:
            _find_socket(base_url or kwargs_from_env().get("base_url"))
            if base_url is None:
                client = docker.DockerClient.from_env(timeout=ANSWER_S)
            else:
                client = docker.DockerClient(base_url=base_url, timeout=ANSWER_S)
            client.ping()
        except (DockerException, requests.RequestException, OSError) as error:
            raise unavailable(error) from error
        client.api.timeout = WORK_S
        return cls(client)

    def image_id(self, ref: str) -> str | None:
        """Say which image a name stands for, as ``sha256:…``; nothing where there is none."""
        with _translated(f"image {ref}"):
            try:
                return self.client.images.get(ref).id
            except ImageNotFound:
                return None

    def container(self, name: str) -> Container | None:
        """Find a container by name or id, running or not."""
        with _translated(f"container {name}"):
            try:
                return self.client.containers.get(name)
            except NotFound:
                return None

    def import_rootfs(self, tar: Path, ref: str, *, changes: Sequence[str] = ()) -> str:
        """Make an image of one layer out of an archived root file system, and return its id.

        Args:
            changes: Dockerfile lines as ``ENTRYPOINT ["/init"]``; engines differ in which they take.

        Raises:
            BuildFailed: the engine does not take it.
        """
        repository, _, tag = ref.rpartition(":")
        with _translated(f"import of {ref}"):
            said = self.client.api.import_image_from_file(
                str(tar), repository=repository, tag=tag, changes=list(changes)
            )
        made = self.image_id(ref)
        if made is None:
            raise BuildFailed(f"importing {tar} as {ref} gave no image: {str(said)[-400:]}", hint=_DISK_HINT)
        return made

    def build(
        self, context: Path, ref: str, *, arguments: Mapping[str, str], say: Say, dockerfile: str = "Dockerfile"
    ) -> str:
        """Build an image with the classic builder and return its id.

        Raises:
            BuildFailed: with the last lines the builder said.
        """
        last: deque[str] = deque(maxlen=OUTPUT_LINES)
        with _translated(f"build of {ref}"):
            # forcerm: a failed or interrupted build leaves no container behind.
            stream = self.client.api.build(
                path=str(context),
                tag=ref,
                buildargs=dict(arguments),
                dockerfile=dockerfile,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in stream:
                for line in str(event.get("stream") or event.get("error") or "").splitlines():
                    if line.strip():
                        last.append(line.rstrip())
                        say(line.rstrip())
                if "error" in event:
                    raise BuildFailed(f"building {ref} from {context} failed:\n" + "\n".join(last), hint=_BUILD_HINT)
        made = self.image_id(ref)
        if made is None:
            raise BuildFailed(f"building {ref} from {context} gave no image:\n" + "\n".join(last), hint=_BUILD_HINT)
        return made

    def load(self, archive: Path, ref: str) -> str:
        """Take the images of an archive in, and return the id of the one that is named.

        Raises:
            BuildFailed: the engine does not take it, or the named one is not in it.
        """
        with _translated(f"import of {archive}"), archive.open("rb") as file:
            self.client.images.load(file)
        made = self.image_id(ref)
        if made is None:
            raise BuildFailed(f"{archive} holds no image {ref}", hint=_DISK_HINT)
        return made

    def save(self, ref: str, into: Path) -> Path:
        """Write an image with its name as a tar archive; the file exists only when it is whole.

        Raises:
            BuildFailed: there is no such image, or it cannot be written.
        """
        unfinished = into.with_name(into.name + ".unfinished")
        with _translated(f"export of {ref}"):
            try:
                with unfinished.open("wb") as file:
                    for chunk in self.client.images.get(ref).save(named=ref):
                        file.write(chunk)
                unfinished.replace(into)
            except OSError as error:
                raise BuildFailed(f"writing {ref} to {into} failed: {error}", hint=_DISK_HINT) from error
            finally:
                unfinished.unlink(missing_ok=True)
        return into


_DISK_HINT = "see that the disk has room (docker system df), then try again"
_BUILD_HINT = "the lines above say what failed; the same command tries again and keeps what is built"


def _find_socket(base_url: str | None) -> None:
    """See that a socket that was named is there: the SDK leaves one open that it could not connect."""
    if base_url is not None and base_url.startswith(_UNIX):
        Path(base_url.removeprefix(_UNIX)).stat()


_UNIX = "unix://"


def unavailable(error: BaseException) -> DockerUnavailable:
    """Tell a socket that this user may not open from an engine that is not there."""
    causes = list(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return DockerUnavailable(
            f"a Docker engine is there, but this user may not ask it: {error}",
            hint='join its group: sudo usermod -aG docker "$USER", then log in again',
        )
    if any(isinstance(cause, FileNotFoundError | ConnectionRefusedError) for cause in causes):
        why = "no Docker engine runs on this machine"
    else:
        why = "no Docker engine answers"
    return DockerUnavailable(
        f"{why}: {error}",
        hint="start it (sudo systemctl start docker, or Docker Desktop), or run without one: SANDBOX_BACKEND=local",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk an error, what it was raised from and what it carries; the SDK buries the system's own error."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = [cause.__cause__, cause.__context__, *cause.args]
        waiting.extend(found for found in inner if isinstance(found, BaseException))


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the SDK's errors into ours."""
    try:
        yield
    except APIError as error:
        raise BuildFailed(f"{what} failed: {error.explanation or error}", hint=_DISK_HINT) from error
    except requests.ConnectionError as error:
        raise unavailable(error) from error
    except requests.RequestException as error:
        raise ClusterFailed(f"{what}: the Docker engine stopped answering: {error}", hint="docker info") from error
    except DockerException as error:
        raise BuildFailed(f"{what} failed: {error}", hint=_DISK_HINT) from error
