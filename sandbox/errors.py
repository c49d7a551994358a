"""Every error a user can meet, with its hint, stable code, exit status and HTTP status.

    SandboxError
    ├── ConfigError            exit 2   settings, ports, folders of this machine
    │   ├── ContextTooLong
    │   ├── HomeUnusable
    │   └── PortTaken
    ├── ModelError             exit 3   catalogue, blobs, fetching
    │   ├── UnknownModel
    │   ├── BlobMissing
    │   ├── BlobDamaged
    │   ├── FetchFailed
    │   └── DoesNotFit
    ├── LifecycleError         exit 4   up, down, the three processes
    │   ├── Busy
    │   ├── NotRunning
    │   ├── StartFailed
    │   └── ClusterError                Docker, images, kind, Kubernetes
    │       ├── DockerUnavailable
    │       ├── ImageUnavailable
    │       ├── BuildFailed
    │       ├── ForeignCluster
    │       ├── ClusterFailed
    │       └── IsolationUnproved
    ├── EngineError            exit 5   finding, starting and asking an engine
    │   ├── EngineNotFound
    │   ├── AcceleratorUnavailable
    │   ├── EngineUnavailable
    │   ├── EngineBroke
    │   ├── EngineTimeout
    │   └── ContextOverflow
    └── RequestError           exit 6   what a client asked of the gateway
        ├── InvalidRequest
        ├── Unauthenticated
        ├── Forbidden
        ├── NotFound
        ├── TooLarge
        └── RecordUnavailable

The message says what, which one, the value found and the value wanted; the hint is a command or a
setting that mends it. Hints are for the person at this machine and stay out of replies to clients.
"""

from __future__ import annotations

from typing import ClassVar


class SandboxError(Exception):
    """An expected failure: shown as a message and a hint, never as a traceback."""

    exit_code: ClassVar[int] = 1
    """Exit status of the command line."""
    http_status: ClassVar[int] = 500
    """Status of the gateway's reply."""
    code: ClassVar[str] = "sandbox_error"
    """Stable name for JSON bodies, records and documentation anchors."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(SandboxError):
    """A setting of this machine is wrong."""

    exit_code = 2
    code = "config_invalid"


class ContextTooLong(ConfigError):
    """More context is configured than the model was trained for."""

    code = "context_too_long"


class HomeUnusable(ConfigError):
    """The data folder cannot be written."""

    code = "home_unusable"


class PortTaken(ConfigError):
    """Another program listens where the sandbox should."""

    code = "port_taken"


class ModelError(SandboxError):
    """A model or its file is not as the catalogue says."""

    exit_code = 3
    code = "model_error"


class UnknownModel(ModelError):
    """No model of that name is in the catalogue or served."""

    code = "model_not_found"
    http_status = 404


class BlobMissing(ModelError):
    """The model's file is not in the store."""

    code = "blob_missing"


class BlobDamaged(ModelError):
    """The model's file does not have the reviewed digest."""

    code = "blob_damaged"


class FetchFailed(ModelError):
    """The model's file could not be fetched."""

    code = "fetch_failed"


class DoesNotFit(ModelError):
    """The model needs more memory, served as planned, than this machine can give."""

    code = "does_not_fit"


class LifecycleError(SandboxError):
    """The sandbox could not be brought up, down or looked at."""

    exit_code = 4
    code = "lifecycle_error"


class Busy(LifecycleError):
    """Another command is changing the sandbox right now."""

    code = "busy"


class NotRunning(LifecycleError):
    """The sandbox does not answer."""

    code = "not_running"
    http_status = 503


class StartFailed(LifecycleError):
    """A process did not become ready; the message carries the evidence."""

    code = "start_failed"


class ClusterError(LifecycleError):
    """Docker, an image or the cluster is not as it must be."""

    code = "cluster_error"


class DockerUnavailable(ClusterError):
    """No Docker engine answers, or this user may not ask it."""

    code = "docker_unavailable"


class ImageUnavailable(ClusterError):
    """An image is neither here nor can be had from a registry."""

    code = "image_unavailable"


class BuildFailed(ClusterError):
    """A program or image could not be built; the message carries the end of what was said."""

    code = "build_failed"


class ForeignCluster(ClusterError):
    """A cluster of that name exists and is not this sandbox's; it is left alone."""

    code = "foreign_cluster"


class ClusterFailed(ClusterError):
    """Something in the cluster did not come to be in time; the message carries the evidence."""

    code = "cluster_failed"


class IsolationUnproved(ClusterError):
    """Network policies are declared but not enforced on this cluster."""

    code = "isolation_unproved"


class EngineError(SandboxError):
    """The engine could not answer."""

    exit_code = 5
    code = "engine_error"
    http_status = 502


class EngineNotFound(EngineError):
    """No usable engine program is on this machine."""

    code = "engine_not_found"


class AcceleratorUnavailable(EngineError):
    """What should compute was asked for and is not there, or cannot be used where the engine runs."""

    code = "accelerator_unavailable"


class EngineUnavailable(EngineError):
    """No engine is ready for that model at the moment."""

    code = "engine_unavailable"
    http_status = 503


class EngineBroke(EngineError):
    """The engine died or closed the connection before it had finished."""

    code = "engine_broke"


class EngineTimeout(EngineError):
    """The engine said nothing for too long."""

    code = "engine_timeout"
    http_status = 504


class ContextOverflow(EngineError):
    """Prompt and history are longer than the context of a slot."""

    code = "context_length_exceeded"
    http_status = 400


class RequestError(SandboxError):
    """The client asked for something the gateway does not do."""

    exit_code = 6
    code = "request_error"
    http_status = 400


class InvalidRequest(RequestError):
    """A field is unknown, has the wrong type, or is out of range."""

    code = "invalid_request"


class Unauthenticated(RequestError):
    """The key is missing, unknown, expired or revoked."""

    code = "invalid_api_key"
    http_status = 401


class Forbidden(RequestError):
    """The request comes from a place, or a key, that may not do this."""

    code = "forbidden"
    http_status = 403


class NotFound(RequestError):
    """There is no such object, or it belongs to somebody else."""

    code = "not_found"
    http_status = 404


class TooLarge(RequestError):
    """The body is longer than the gateway takes."""

    code = "request_too_large"
    http_status = 413


class RecordUnavailable(RequestError):
    """The request cannot be put on record, so it is not answered."""

    code = "record_unavailable"
    http_status = 503


def by_code(code: str) -> type[SandboxError]:
    """Find the error class of a stable code; ``SandboxError`` for an unknown one."""
    waiting: list[type[SandboxError]] = [SandboxError]
    while waiting:
        kind = waiting.pop()
        if kind.code == code:
            return kind
        waiting.extend(kind.__subclasses__())
    return SandboxError
