"""Firefox, driven through Marionette, the port that every Firefox brings along.

Playwright drives only Firefoxes of its own making. This is as much of its page as test.py needs.
"""

import json
import socket
import subprocess
import tempfile
import time

PREFERENCES = """
user_pref("marionette.port", %d);
user_pref("intl.accept_languages", "en");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.disabledForTesting", true);
"""
PATIENCE = 120  # seconds


class Firefox:
    """A page of Firefox, with the names of Playwright's."""

    def __init__(self, program, *preferences):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = free.getsockname()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with open(f"{self.folder.name}/user.js", "w", encoding="utf-8") as file:
            file.write(PREFERENCES % self.address[1])
            file.writelines(f'user_pref("{name}", {value});\n' for name, value in preferences)
        command = [program, "--headless", "--no-remote", "--marionette", "-profile"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*command, self.folder.name], **quiet)
        self.sent = 0

    def __enter__(self):
        try:
            self.socket = self.wait_for(self.connect)
            self.stream = self.socket.makefile("rb")
            self.receive()
            self.command("WebDriver:NewSession", {})
            self.command("WebDriver:SetTimeouts", {"script": 1000 * PATIENCE})
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.folder.cleanup()

    def connect(self):
        """Return a connection, or nothing as long as nobody listens."""
        try:
            return socket.create_connection(self.address, PATIENCE)
        except ConnectionRefusedError:
            return None

    def wait_for(self, find):
        """Wait until a function finds something; return it."""
        until = time.monotonic() + PATIENCE
        while not (found := find()):
            assert time.monotonic() < until, "Firefox takes too long"
            self.wait_for_timeout(50)
        return found

    def receive(self):
        """Return one message: its length, a colon, JSON."""
        length = b""
        while (digit := self.stream.read(1)) != b":":
            length += digit
        return json.loads(self.stream.read(int(length)))

    def command(self, name, parameters):
        """Send a command; return its result."""
        self.sent += 1
        message = json.dumps([0, self.sent, name, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self.receive()
        assert error is None, error
        return result

    def goto(self, address):
        """Open a page."""
        self.command("WebDriver:Navigate", {"url": address})

    def evaluate(self, function, argument=None):
        """Call a function of JavaScript in the page; return what it, or its promise, returns."""
        script = f"""
        const [argument, done] = arguments;
        Promise.resolve().then(() => ({function})(argument)).then(
            (value) => done({{ value }}), (error) => done({{ error: String(error) }}));
        """
        parameters = {"script": script, "args": [argument]}
        answer = self.command("WebDriver:ExecuteAsyncScript", parameters)["value"]
        assert "error" not in answer, answer
        return answer.get("value")

    def eval_on_selector_all(self, selector, function):
        """Call a function with all elements that are selected."""
        return self.evaluate(
            f"(selector) => ({function})([...document.querySelectorAll(selector)])", selector
        )

    def wait_for_selector(self, selector):
        """Wait until an element is there."""
        self.wait_for(lambda: self.eval_on_selector_all(selector, "all => all.length"))

    def wait_for_function(self, function):
        """Wait until a function of JavaScript returns what is true."""
        self.wait_for(lambda: self.evaluate(function))

    def wait_for_timeout(self, milliseconds):
        """Wait."""
        time.sleep(milliseconds / 1000)

    def inner_text(self, selector):
        """Return an element's text."""
        return self.eval_on_selector_all(selector, "([one]) => one.innerText")

    def click(self, selector):
        """Click an element."""
        self.eval_on_selector_all(selector, "([one]) => one.click()")

    def dispatch_event(self, selector, name):
        """Send an event to an element."""
        event = f"new Event({json.dumps(name)}, {{ bubbles: true }})"
        self.eval_on_selector_all(selector, f"([one]) => one.dispatchEvent({event})")

    def fill(self, selector, value):
        """Put a value into a field, or choose an option."""
        self.eval_on_selector_all(selector, f"([one]) => {{ one.value = {json.dumps(value)}; }}")
        self.dispatch_event(selector, "change")

    select_option = fill
