"""The page that `pycnn playground` shows: its address, its headers, and nothing else."""

import http.client
import os
import queue
import signal
import subprocess
import sys
import threading

import pytest

pytest.importorskip("click")

from pycnn.cli import playground

PAGE = b"""<meta http-equiv="Content-Security-Policy" content="default-src 'none'"> a page"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Put a package of the page's name where Python finds it, in this process and its children."""
    folder = tmp_path / "pycnn_playground"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "pycnn.html").write_bytes(PAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    yield PAGE
    sys.modules.pop("pycnn_playground", None)


@pytest.fixture
def ask(page):
    """Start a server; return what sends a request to it, and gives the answer with its body."""
    with playground.Server(0, playground.read_page()) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def request(method, path):
            connection = http.client.HTTPConnection(*server.server_address, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer, body

        yield request
        server.shutdown()


def test_the_page_is_sent_with_its_policy_as_a_header(ask):
    answer, body = ask("GET", "/?of=a+browser")
    assert (answer.status, body) == (200, PAGE)
    policy = answer.getheader("Content-Security-Policy")
    assert policy == "default-src 'none'; frame-ancestors 'none'"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    answer, body = ask("HEAD", "/")
    assert (answer.status, body) == (200, b"")
    assert answer.getheader("Content-Length") == str(len(PAGE))


@pytest.mark.parametrize(
    "path",
    ["/pycnn.html", "/__init__.py", "/..", "/../pycnn_playground/", "/%2e%2e/", "/etc/passwd"],
)
def test_no_other_path_is_looked_up(ask, path):
    answer, body = ask("GET", path)
    assert answer.status == 404
    assert b"pycnn_playground" not in body


def test_other_methods_are_refused(ask):
    assert ask("POST", "/")[0].status == 501


def test_only_this_machine_is_answered(page):
    with playground.Server(0, page) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_what_has_no_policy_is_not_shown(page):
    with pytest.raises(playground.click.ClickException, match="no content security policy"):
        playground.Server(0, b"<p>another page</p>")


def test_a_missing_page_is_named_with_its_package(fail, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycnn_playground", None)
    assert "pip install pycnn-playground" in fail("playground", "--no-browser")


def test_a_port_that_is_taken_is_named(fail, page):
    with playground.Server(0, page) as server:
        port = str(server.server_address[1])
        assert f"--port {port}: Address already in use" in fail("playground", "--port", port)


def test_the_browser_is_sent_to_the_address_and_ctrl_c_ends_quietly(succeed, page, monkeypatch):
    sent = queue.SimpleQueue()

    def interrupt(server):
        assert sent.get(timeout=10) == server.address
        raise KeyboardInterrupt

    monkeypatch.setattr(playground.webbrowser, "open", sent.put)
    monkeypatch.setattr(playground.Server, "serve_forever", interrupt)
    assert succeed("playground").startswith("http://127.0.0.1:")


@pytest.mark.skipif(os.name == "nt", reason="a signal of POSIX")
@pytest.mark.thorough
def test_a_program_of_its_own_ends_quietly(page):
    command = [sys.executable, "-m", "pycnn", "playground", "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        address = process.stdout.readline().split()[0]
        connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"))
        connection.request("GET", "/")
        assert connection.getresponse().read() == page
        connection.close()
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=30)
    assert (process.returncode, printed) == (0, ("", ""))
