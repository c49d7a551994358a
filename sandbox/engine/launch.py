"""Starts engine processes.

An engine outlives the command that started it, so it gets a session of its own and is known by process
id and start time together: an id alone may belong to somebody else by now.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import sandbox
from sandbox import processes
from sandbox.engine import arguments
from sandbox.engine.arguments import Serving
from sandbox.engine.children import spec
from sandbox.engine.discover import EngineProgram
from sandbox.errors import EngineNotFound, StartFailed
from sandbox.plan import EnginePlan
from sandbox.processes import Process


def launch(
    program: EngineProgram,
    plan: EnginePlan,
    *,
    model_path: Path,
    alias: str,
    port: int,
    key_file: Path,
    log_file: Path,
    environment: Mapping[str, str],
    host: str = arguments.HOST,
) -> Process:
    """Start an engine that listens on a port of loopback; it is not ready yet when this returns.

    Args:
        host: another address to listen on: the one of a Docker bridge, never of every network of this machine.
        key_file: file of mode 0600 with the engine's key, made by the caller.
        log_file: both outputs are appended to it.
        environment: variables besides PATH, HOME and LANG, or in their place.

    Raises:
        EngineNotFound: an Ollama is not started here, it is run by whoever owns it.
        StartFailed: the operating system would not run the program.
        ValueError: the address is neither loopback's nor a private one, or only llama-server can listen there.
    """
    if host != arguments.HOST and (program.kind != "llama-server" or not arguments.is_private(host)):
        raise ValueError(f"{program.kind} does not listen on {host!r} here")
    serving = Serving(model_path=model_path, alias=alias, port=port, key_file=key_file, host=host)
    argv = command(program, plan, serving)
    variables = _environment(program, log_file.parent) | dict(environment)
    log_fd = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=variables,
            umask=0o077,
            start_new_session=True,
        )
    except OSError as error:
        raise StartFailed(f"could not start {argv[0]}: {error}", hint="sandbox doctor") from error
    finally:
        os.close(log_fd)
    # Popen's finaliser warns about a child that still runs; this one is meant to, and whoever ends it
    # reaps it.
    process.returncode = 0
    return processes.of_pid(process.pid)


def command(program: EngineProgram, plan: EnginePlan, serving: Serving) -> tuple[str, ...]:
    """Write the whole command line of an engine.

    Raises:
        EngineNotFound: an Ollama is not started here.
    """
    if program.kind == "llama-server" and program.path is not None:
        return (str(program.path), *arguments.llama_server(plan, serving))
    if program.kind in ("xllamacpp", "llama-cpp-python"):
        module = f"sandbox.engine.children.{program.kind.removesuffix('-python').replace('-', '_')}"
        # -P keeps the working folder off the module path.
        return (sys.executable, "-P", "-m", module, *spec.of(plan, serving).to_argv())
    raise EngineNotFound(f"engine {program.kind} is not started by the sandbox", hint="start it yourself: ollama serve")


def _environment(program: EngineProgram, home: Path) -> dict[str, str]:
    """Give an engine the least: nothing of the caller's environment, no secret by accident."""
    variables = {"PATH": os.defpath, "HOME": str(home), "LANG": "C.UTF-8"}
    if program.kind != "llama-server":
        variables["PYTHONPATH"] = os.pathsep.join(_module_folders(program))
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
        variables["PYTHONUNBUFFERED"] = "1"
    return variables


def _module_folders(program: EngineProgram) -> list[str]:
    folders = [str(Path(sandbox.__file__).resolve().parents[1])]
    return [*folders, str(program.path)] if program.path is not None else folders
