"""The page in which networks learn, served from this machine to this machine.

The page is one file of the package pycnn-playground. Only its bytes are ever sent: no path of a
request is looked up on the disk.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
import socketserver
import sys
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler
from typing import cast

import click

from pycnn.cli.output import say

LOOPBACK = "127.0.0.1"
POLICY = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]*)"')


def read_page() -> bytes:
    """Return the page, or say which package brings it."""
    try:
        return (importlib.resources.files("pycnn_playground") / "pycnn.html").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise click.ClickException(
            "the page is a package of its own: pip install pycnn-playground"
        ) from None


class Server(socketserver.ThreadingTCPServer):
    """Answers each connection in a thread: browsers open some that they never use."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # there it would let two servers share a port

    def __init__(self, port: int, page: bytes) -> None:
        found = POLICY.search(page)
        if found is None:
            raise click.ClickException("the page has no content security policy")
        self.page = page
        self.policy = f"{found[1].decode()}; frame-ancestors 'none'"
        super().__init__((LOOPBACK, port), Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell of errors, but not of a browser that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """Knows one address, and one answer."""

    server_version, sys_version = "pycnn", ""
    timeout = 60

    def do_GET(self) -> None:
        """Send the page."""
        self.wfile.write(self.answer())

    def do_HEAD(self) -> None:
        """Send what stands before the page."""
        self.answer()

    def answer(self) -> bytes:
        """Send the headers; return what follows them where it is asked for."""
        if self.path.partition("?")[0] != "/":
            self.send_error(404)
            return b""
        server = cast(Server, self.server)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(server.page)))
        self.send_header("Content-Security-Policy", server.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")  # the next page there may be another
        self.end_headers()
        return server.page

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: who looks at the page sees it."""


def serve(port: int, browser: bool) -> None:
    """Show the page until Ctrl-C."""
    page = read_page()
    try:
        server = Server(port, page)
    except OSError as error:
        raise click.ClickException(f"--port {port}: {error.strerror}") from None
    with server, contextlib.suppress(KeyboardInterrupt):
        say(f"{server.address} (Ctrl-C ends)")
        if browser:  # in a thread: one in the terminal is there until it is closed
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
        server.serve_forever()
