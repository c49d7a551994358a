"""Address → the client that speaks that engine's dialect."""

from __future__ import annotations

from sandbox.engine.http import HttpEngine
from sandbox.engine.protocol import Deadlines, Engine, EngineAddress
from sandbox.errors import EngineNotFound


def connect(address: EngineAddress, deadlines: Deadlines | None = None) -> Engine:
    """Make a client of the engine at an address; nothing is sent yet.

    Raises:
        EngineNotFound: the address is an Ollama's, and the package to speak to it is not installed.
    """
    deadlines = deadlines or Deadlines()
    if address.kind != "ollama":
        return HttpEngine(address, deadlines)
    try:
        # An optional dependency, and the only engine that needs it.
        from sandbox.engine.ollama import OllamaEngine  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise EngineNotFound(
            "the package ollama is not installed", hint="pip install 'model-sandbox[ollama]'"
        ) from error
    return OllamaEngine(address, deadlines)
