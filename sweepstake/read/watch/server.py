"""The live page's server: this machine alone, to read alone. It opens no file by a name that it is asked for.

A page of another site may make a browser ask this server, under a name of its own that resolves to 127.0.0.1 (DNS
rebinding), so what names another host or origin is refused. Others who are logged in on this machine can read along.
"""

import os
import re
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base.errors import UserError
from sweepstake.read.watch.watched import Watched
from sweepstake.study.study import Study

HOST = "127.0.0.1"
ALWAYS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY"}
POLICY = ("default-src 'none'; script-src 'nonce-{nonce}' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
"""Of the page. Vega compiles its expressions, hence 'unsafe-eval'; no script runs that does not carry the nonce."""
NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""The policy of what is no page."""
QUERY = re.compile(r"(version|seen|after)=(\d+)", re.ASCII)
"""What the page says of itself when it asks for changes."""
SWITCH_SECONDS = 2e-5
"""For which a thread may keep the others waiting. Each look asks the disk thousands of times, and after each answer
waits for the thread that makes a page: by the usual 5 ms, for half a minute at 2,000 cells."""


class Server(ThreadingHTTPServer):
    """A server of one study's page; `address` is where it is."""

    daemon_threads = True

    def __init__(self, watched: Watched, port: int):
        self.watched = watched
        super().__init__((HOST, port), Handler)
        self.names = {f"{host}:{self.server_port}" for host in (HOST, "localhost")}
        if self.server_port == 80:
            self.names |= {HOST, "localhost"}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone in the middle of an answer is no error. What else fails is told in the terminal."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def serve(study: Study, folder: Path, port: int, on_ready: Callable[[Server], None]) -> None:
    """Serve a study's page from a store until an interrupt; `on_ready` is called once it answers."""
    watched = Watched(study, folder, secrets.token_urlsafe(16))
    try:
        server = Server(watched, port)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or "a port is a number up to 65535"
        raise UserError(f"--port {port}: cannot be opened ({why}). Name another, or leave it out for a free one.") \
            from error
    sys.setswitchinterval(SWITCH_SECONDS)
    threading.Thread(target=watched.follow, daemon=True, name="sweepstake watch").start()
    with server:
        on_ready(server)
        server.serve_forever(poll_interval=0.2)


def has_screen() -> bool:
    """Whether a browser that is opened here would be seen."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of three addresses, asked by this machine's name."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = 30
    server_version, sys_version = "sweepstake", ""

    def do_GET(self) -> None:
        watched = self.server.watched
        if (refused := self._refused()) is not None:
            self._answer(HTTPStatus.FORBIDDEN, refused.encode())
            return
        watched.asked()
        path, _, query = self.path.partition("?")
        if path == "/changes":
            asked = {name: int(number[:18]) for name, number in QUERY.findall(query)}
            if "seen" in asked:
                watched.wait_for_more(asked.get("version", 0), asked["seen"])
            state = watched.state_for(asked.get("version", 0), asked.get("after", 0))
            self._answer(HTTPStatus.OK, msgspec.json.encode(state), "application/json")
        elif path in ("/", "/report"):
            shown = watched.page(bare=path == "/report")
            self._answer(HTTPStatus.OK, shown, "text/html; charset=utf-8", POLICY.format(nonce=watched.nonce))
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"Nothing is here but the page, at /.\n")

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request that we know: in a line, without the words that it came with."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._answer(status, f"{status.phrase}. This page is only read.\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is for what is wrong."""

    def _refused(self) -> str | None:
        """Why it is not answered; None where it was asked of this machine, by a page of this server or by none."""
        names, hosts = self.server.names, self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in names:
            return f"Ask for this page as {self.server.address}: another host is not answered.\n"
        origins = self.headers.get_all("Origin") or []
        if any(origin.lower() not in {f"http://{name}" for name in names} for origin in origins):
            return "A page of another origin is not answered.\n"
        return None

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8",
                policy: str = NOTHING) -> None:
        self.send_response(status)
        for name, value in {**ALWAYS, "Content-Security-Policy": policy, "Content-Type": kind,
                            "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
