"""Builds engines from pinned sources into a cache outside the checkout.

    python -m sandbox.engine.build [llama-server|llama-cpp-python|ollama|all|llama-server-cuda] [--cache-dir DIR]

A build is made in a folder beside its final one and renamed when it is complete, under a lock: a
folder that exists is finished, an interrupted build leaves nothing that looks like one, and a second
call does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from sandbox import config
from sandbox.engine import recipes
from sandbox.engine.recipes import Recipe
from sandbox.errors import EngineNotFound, SandboxError

Say = Callable[[str], None]
NAMES = ("llama-server", "llama-cpp-python", "ollama")
"""What ``all`` stands for: what builds everywhere."""
MORE_NAMES = ("llama-server-cuda",)
"""Built only when named: it needs NVIDIA's compiler."""
NVCC = Path("/usr/local/cuda/bin/nvcc")
"""Where NVIDIA's own packages put their compiler, which is on nobody's PATH."""
OUTPUT_LINES = 25
"""Lines of a failed command that go into the error."""


def recipe_of(name: str) -> Recipe:
    """Name the build of one engine for this machine and interpreter."""
    system, machine = platform.system(), platform.machine()
    if name == "llama-server":
        return recipes.llama_server(system, machine)
    if name == "llama-server-cuda":
        return recipes.llama_server_cuda(system, machine)
    if name == "llama-cpp-python":
        return recipes.llama_cpp_python(system, machine, f"{sys.version_info.major}.{sys.version_info.minor}")
    if name == "ollama":
        return recipes.ollama(system, machine)
    raise ValueError(f"no recipe named {name!r}; known: {', '.join(NAMES + MORE_NAMES)}")


def build(name: str, cache: Path, say: Say) -> Path:
    """Build one engine unless it is there already, and return its finished folder.

    Raises:
        EngineNotFound: a tool is missing, a source has another digest than the pinned one, or a command failed.
    """
    recipe = recipe_of(name)
    folder = recipe.folder(cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            say(f"{name}: already built, {folder}")
            return folder
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        _BUILDERS[name](unfinished, cache, say)
        unfinished.rename(folder)
    say(f"{name}: built, {folder}")
    return folder


def _build_llama_server(into: Path, cache: Path, say: Say) -> None:
    del cache
    _compile("llama-server", recipes.llama_cpp_flags(platform.machine()), into, say)


def _build_llama_server_cuda(into: Path, cache: Path, say: Say) -> None:
    del cache
    nvcc = shutil.which("nvcc") or (str(NVCC) if NVCC.exists() else None)
    if nvcc is None:
        raise EngineNotFound(
            f"llama-server-cuda is compiled with nvcc, and there is none on PATH nor at {NVCC}",
            hint="install NVIDIA's CUDA toolkit: sudo apt-get install nvidia-cuda-toolkit",
        )
    flags = (*recipes.llama_cpp_flags(platform.machine()), *recipes.CUDA_FLAGS, f"-DCMAKE_CUDA_COMPILER={nvcc}")
    _compile("llama-server-cuda", flags, into, say)


def _compile(name: str, flags: Sequence[str], into: Path, say: Say) -> None:
    """Compile llama-server and its libraries from the pinned source into a folder."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as scratch_name:
        scratch = Path(scratch_name)
        source = fetch_source(scratch, say)
        cmake, ninja = _cmake_and_ninja(scratch, say)
        made = scratch / "made"
        say(f"{name}: configuring")
        sides = ["-S", str(source / "vendor" / "llama.cpp"), "-B", str(made)]
        _run([cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *flags, *sides])
        say(f"{name}: compiling, some minutes")
        _run([cmake, "--build", str(made), "--target", *recipes.LLAMA_CPP_TARGETS])
        shutil.copytree(made / "bin", into / "bin", symlinks=True)
    # The library names are chains of symbolic links; a copy that lost one shows here and not at first use.
    _run([str(recipes.llama_server_program(into)), "--version"])


def _build_binding(into: Path, cache: Path, say: Say) -> None:
    native = build("llama-server", cache, say)
    python = recipes.binding_path(into)
    with tempfile.TemporaryDirectory(prefix="llama-cpp-python-") as scratch_name:
        source = fetch_source(Path(scratch_name), say)
        say("llama-cpp-python: installing what the binding needs")
        # --only-binary: nothing but the pinned source above is compiled or run here.
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run([*pip, "--no-deps", "--only-binary", ":all:", "--target", str(python), *recipes.BINDING_REQUIREMENTS])
        # The binding is plain Python that loads the libraries from its own lib folder; its build
        # would only compile the same libraries a second time.
        shutil.copytree(source / "llama_cpp", python / "llama_cpp", ignore=shutil.ignore_patterns("server"))
    libraries = python / "llama_cpp" / "lib"
    shutil.rmtree(libraries, ignore_errors=True)
    shutil.copytree(native / "bin", libraries, symlinks=True, ignore=shutil.ignore_patterns("llama-server", "*-impl*"))
    _run([sys.executable, "-I", "-c", _IMPORT_CHECK, str(python)])


_IMPORT_CHECK = "import sys; sys.path.insert(0, sys.argv[1]); import llama_cpp; llama_cpp.llama_backend_init()"


def _build_ollama(into: Path, cache: Path, say: Say) -> None:
    del cache
    go = shutil.which("go")
    if go is None:
        raise EngineNotFound("ollama is built with go, and no go is on PATH", hint="install Go 1.24 or later")
    say("ollama: compiling, some minutes")
    # env(1), because a subprocess with one more variable would need a copy of the whole environment.
    _run(["env", f"GOBIN={into / 'bin'}", go, "install", recipes.OLLAMA_MODULE])
    _run([str(recipes.ollama_program(into)), "--version"])


_BUILDERS: dict[str, Callable[[Path, Path, Say], None]] = {
    "llama-server": _build_llama_server,
    "llama-server-cuda": _build_llama_server_cuda,
    "llama-cpp-python": _build_binding,
    "ollama": _build_ollama,
}


def fetch_source(scratch: Path, say: Say) -> Path:
    """Fetch and unpack the pinned source distribution, after its digest has been checked."""
    version, digest = recipes.LLAMA_CPP_PYTHON_VERSION, recipes.LLAMA_CPP_PYTHON_SHA256
    say(f"llama-cpp-python {version}: fetching the source, 77 MB")
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"llama-cpp-python=={version} --hash=sha256:{digest}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    # Only this one package as source: ":all:" would compile pip's own build tools as well.
    only = ["--no-binary", "llama-cpp-python", "--require-hashes", "-r", str(wanted), "-d", str(scratch)]
    _run([*pip, *only])
    archive = scratch / f"llama_cpp_python-{version}.tar.gz"
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise EngineNotFound(
            f"source of llama-cpp-python {version} has digest {found}, pinned is {digest}",
            hint="do not build it; find out which package index answered",
        )
    with tarfile.open(archive) as tar:
        tar.extractall(scratch, filter="data")
    return scratch / f"llama_cpp_python-{version}"


def _cmake_and_ninja(scratch: Path, say: Say) -> tuple[str, str]:
    """Find both tools on PATH, or else install them into a folder that goes with the scratch."""
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    if cmake is not None and ninja is not None:
        return cmake, ninja
    say("no cmake or ninja on PATH: fetching both")
    tools = scratch / "tools"
    _run([sys.executable, "-m", "venv", str(tools)])
    pip = [str(tools / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--only-binary", ":all:", *recipes.TOOL_REQUIREMENTS])
    return str(tools / "bin" / "cmake"), str(tools / "bin" / "ninja")


def _run(argv: Sequence[str]) -> None:
    """Run one command quietly; its last lines go into the error when it fails."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise EngineNotFound(f"could not run {argv[0]}: {error}", hint="install it, or put it on PATH") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-OUTPUT_LINES:])
        raise EngineNotFound(
            f"{' '.join(argv[:6])} … ended with status {done.returncode}:\n{tail}",
            hint="the lines above say what is missing; python -m sandbox.engine.build tries again",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Build what the command line names and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.engine.build", description="Build engines into the cache.")
    known = f"{', '.join(NAMES)}, all; {', '.join(MORE_NAMES)} only when named"
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{known} (default: all)")
    parser.add_argument("--cache-dir", type=Path, default=None, help="cache folder (default: the setting cache)")
    chosen = parser.parse_args(argv)
    names = list(NAMES) if not chosen.names or "all" in chosen.names else chosen.names
    if unknown := [name for name in names if name not in NAMES + MORE_NAMES]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {known}")

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    try:
        cache = chosen.cache_dir.absolute() if chosen.cache_dir else config.load().settings.cache
        for name in names:
            build(name, cache, say)
    except SandboxError as error:
        say(f"error: {error.message}\nhint:  {error.hint}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
