"""A kubelet is believed only under its own certificate and its node's name: real TLS on loopback."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sandbox.errors import ClusterFailed
from sandbox.steward.observe_kubelet import Kubelets

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl, to make certificates"),
]

NODE = "sandbox-control-plane"
FIGURES = b"""# TYPE pod_memory_working_set_bytes gauge
pod_memory_working_set_bytes{namespace="models",pod="engine"} 7
"""


class Answer(BaseHTTPRequestHandler):
    """Writes figures to whoever holds the token."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers["authorization"] == "Bearer the-token" else 401)
        self.end_headers()
        self.wfile.write(FIGURES)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named so by the class above
        return None


class QuietServer(HTTPServer):
    """Says nothing of handshakes that fail: they are meant to."""

    def handle_error(self, request: object, client_address: object) -> None:
        return None


@dataclass(frozen=True)
class Certificates:
    """What a kubelet makes for itself at its first start: a serving certificate, signed by one that is thrown away."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def make(self) -> None:
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt",
                      "-days", "2", "-subj", "/CN=node-ca", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key", "-out", "leaf.csr",
                      "-subj", f"/CN={NODE}")  # fmt: skip
        self.path("names").write_text(f"subjectAltName=DNS:{NODE}\nextendedKeyUsage=serverAuth\n")
        self._openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", "names", "-out", "leaf.crt")  # fmt: skip

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make()
    return made


@pytest.fixture
def port(certificates: Certificates) -> Iterator[int]:
    """A kubelet's TLS server, without its signer's certificate in the chain, as kubelets serve it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.path("leaf.crt"), certificates.path("leaf.key"))
    server = QuietServer(("127.0.0.1", 0), Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def kubelets(tmp_path: Path, ca_file: Path, port: int) -> Kubelets:
    (tmp_path / "token").write_text("the-token")
    return Kubelets(ca_file=ca_file, token_file=tmp_path / "token", port=port)


@pytest.mark.parametrize("known_by", ["leaf.crt", "ca.crt"], ids=["its own certificate", "its signer's"])
async def test_a_kubelet_is_reached_by_address_and_known_by_its_nodes_name(
    certificates: Certificates, port: int, tmp_path: Path, known_by: str
) -> None:
    found = await kubelets(tmp_path, certificates.path(known_by), port).usages(NODE, "127.0.0.1")
    assert found["models", "engine"].memory_bytes == 7


async def test_another_nodes_certificate_is_refused(certificates: Certificates, port: int, tmp_path: Path) -> None:
    with pytest.raises(ClusterFailed, match="certificate verify failed"):
        await kubelets(tmp_path, certificates.path("ca.crt"), port).usages("another-node", "127.0.0.1")


async def test_a_certificate_that_nobody_vouches_for_is_refused(port: int, tmp_path: Path) -> None:
    others = Certificates(tmp_path)
    others.make()
    with pytest.raises(ClusterFailed, match="certificate verify failed"):
        await kubelets(tmp_path, others.path("leaf.crt"), port).usages(NODE, "127.0.0.1")
