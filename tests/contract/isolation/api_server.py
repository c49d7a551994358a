"""As much of an API server as the agent asks: lists and watches of three kinds, and one DaemonSet."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

PATHS = {
    "/api/v1/pods": "pods",
    "/api/v1/namespaces": "namespaces",
    "/apis/networking.k8s.io/v1/networkpolicies": "networkpolicies",
}
DAEMONSET = "/apis/apps/v1/namespaces/kube-system/daemonsets/sandbox-agent"


class ApiServer:
    """Objects that a test changes, served on a socket that it brings."""

    def __init__(self, listening: socket) -> None:
        self.daemonset: tuple[int, dict[str, Any]] = (200, {"metadata": {"name": "sandbox-agent"}})
        self.refused: set[str] = set()
        """Kinds that are answered with an error."""
        self._objects: dict[str, dict[tuple[str, str], dict[str, Any]]] = {kind: {} for kind in PATHS.values()}
        self._changes: list[tuple[str, dict[str, Any]]] = []
        self._epoch = 0
        """Raised to end all watches."""
        self._news = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.end_watches()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, kind: str, *written: dict[str, Any]) -> None:
        """Add or change objects."""
        with self._news:
            for each in written:
                known = self._objects[kind]
                key = (each["metadata"].get("namespace", ""), each["metadata"]["name"])
                self._tell(kind, "MODIFIED" if key in known else "ADDED", each)
                known[key] = each

    def delete(self, kind: str, *written: dict[str, Any]) -> None:
        """Delete objects."""
        with self._news:
            for each in written:
                del self._objects[kind][each["metadata"].get("namespace", ""), each["metadata"]["name"]]
                self._tell(kind, "DELETED", each)

    def end_watches(self) -> None:
        """Break off every watch in the middle."""
        with self._news:
            self._epoch += 1
            self._news.notify_all()

    def _tell(self, kind: str, operation: str, written: dict[str, Any]) -> None:
        version = str(len(self._changes) + 1)
        each = {**written, "metadata": {**written["metadata"], "resourceVersion": version}}
        self._changes.append((kind, {"type": operation, "object": each}))
        self._news.notify_all()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        where = urlsplit(request.path)
        asked = parse_qs(where.query)
        if where.path == DAEMONSET:
            self._send(request, *self.daemonset)
        elif where.path not in PATHS:
            self._send(request, 404, {"kind": "Status", "code": 404, "message": f"no {where.path}"})
        elif PATHS[where.path] in self.refused:
            self._send(request, 403, {"kind": "Status", "code": 403, "message": "may not"})
        elif "watch" in asked:
            self._watch(request, PATHS[where.path], int(asked["resourceVersion"][0]))
        else:
            with self._news:
                objects, version = list(self._objects[PATHS[where.path]].values()), str(len(self._changes))
            self._send(request, 200, {"items": objects, "metadata": {"resourceVersion": version}})

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
        written = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(written)))
        request.end_headers()
        request.wfile.write(written)

    def _watch(self, request: BaseHTTPRequestHandler, kind: str, position: int) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        epoch = self._epoch
        while True:
            with self._news:
                while position >= len(self._changes) and epoch == self._epoch:
                    self._news.wait(1)
                if epoch != self._epoch:
                    return
                changes, position = self._changes[position:], len(self._changes)
            for changed, event in changes:
                if changed == kind:
                    line = json.dumps(event).encode() + b"\n"
                    try:
                        request.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                        request.wfile.flush()
                    except OSError:
                        return
