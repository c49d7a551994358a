"""An engine process over the ``xllamacpp`` wheel: llama-server's own code, prebuilt, in a Python process.

    python -m sandbox.engine.children.xllamacpp --model FILE --port N …

No signal handler is set: SIGTERM ends the process at once, also in the middle of native code.
"""

from __future__ import annotations

import threading
from typing import Any

import xllamacpp

from sandbox.engine.arguments import HOST, NO_ORIGIN
from sandbox.engine.children.spec import Spec, parse


def parameters(spec: Spec, key: str) -> Any:  # the wheel has no types
    """Set every limit that the command line of llama-server sets."""
    params = xllamacpp.CommonParams()
    params.model.path = str(spec.model)
    params.model_alias = {spec.alias}
    params.hostnames = [HOST]
    params.port = spec.port
    params.api_keys = [key]
    params.cors_origins = NO_ORIGIN
    params.cors_origins_explicit = True
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = True
    params.offline = True
    params.n_ctx = spec.context_tokens * spec.slots
    params.n_parallel = spec.slots
    params.kv_unified = False
    params.ctx_shift = False
    params.cpuparams.n_threads = spec.threads
    params.cpuparams_batch.n_threads = spec.threads
    params.cache_ram_mib = spec.cache_ram_mib
    params.n_gpu_layers = 0
    params.fit_params = False
    params.use_jinja = True
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    return params


def main() -> None:
    """Load the model and serve it until the process is ended."""
    spec = parse()
    server = xllamacpp.Server(parameters(spec, spec.key()))
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
