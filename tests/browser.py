"""A headless Chromium that tests drive through its DevTools protocol, over a pipe."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"),
    # Containers may have a small /dev/shm.
    "--disable-dev-shm-usage",
)


def find():
    """The path of a browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """A page in a browser. `problems` and `requests` collect what must not happen."""

    def __init__(self, send, receive, downloads):
        self._send, self._receive = send, receive
        self._rest, self._count, self._answers = b"", 0, {}
        self._session = None
        self.problems, self.requests, self.downloads = [], [], downloads
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call(
            *("Browser.setDownloadBehavior",),
            behavior="allow",
            downloadPath=str(downloads),
        )

    def call(self, method, **parameters):
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 120
        while self._count not in self._answers:
            assert self._pump(until), f"no answer to {method}"
        answer = self._answers.pop(self._count)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _pump(self, until):
        """Handle the messages that are there, or wait for some."""
        left = max(0, until - time.monotonic())
        if not select.select([self._receive], [], [], left)[0]:
            return False
        piece = os.read(self._receive, 2**20)
        assert piece, "the browser has ended"
        *whole, self._rest = (self._rest + piece).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message["method"], message["params"])
        return True

    def _note(self, method, event):
        if method == "Runtime.consoleAPICalled" and event["type"] in (
            *("error", "warning", "assert"),
        ):
            self.problems.append(json.dumps(event["args"]))
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(event["exceptionDetails"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] != "info":
            self.problems.append(json.dumps(event["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])

    def size(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def open(self, path):
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete'")

    def run(self, expression):
        """The value of a JavaScript expression, or of its promise."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression, seconds=20):
        until = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.02)

    def key(self, key, modifiers=0):
        """Press a key: its name, or the character that it types."""
        typed = {"text": key} if len(key) == 1 else {}
        common = {"key": key, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def middle(self, selector, across=0.5, down=0.5):
        """A place on the screen in an element, after scrolling to it."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height];"
            "})()"
        )
        return box[0] + across * box[2], box[1] + down * box[3]

    def screenshot(self, path, whole=False):
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def downloaded(self, seconds=20):
        """The first whole file in the downloads; it is moved out of the way."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for path in self.downloads.iterdir():
                if path.suffix != ".crdownload":
                    return path.rename(self.downloads.parent / path.name)
            self.run("new Promise(f => setTimeout(f, 50))")
        raise AssertionError("nothing was downloaded")


@contextlib.contextmanager
def browser(folder):
    """Start a browser whose profile and downloads are in a folder."""
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    (theirs_in, send), (receive, theirs_out) = os.pipe(), os.pipe()
    arguments = [find(), *SWITCHES, f"--user-data-dir={folder / 'profile'}"]
    redirect = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", redirect, "bash", *arguments],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        page = Browser(send, receive, downloads)
        yield page
        page._session = None
        with contextlib.suppress(AssertionError, OSError):
            page.call("Browser.close")
    finally:
        os.close(send)
        os.close(receive)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
