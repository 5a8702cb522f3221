"""service - a real imaging-service for one test: started on a free port, in a private directory.

    with service.Service() as s:
        boto3.client("ec2", endpoint_url=s.env["EC2_URL"], ...)

s.tmp is the private directory, s.dir the service's own below it, s.env what it wrote to env.sh,
s.log the file with its log, s.pid its process; s.account("add", …) what `imaging-service account add`
said about that directory.  The program is IMAGING_SERVICE, and the toolkit it is
told to use IMAGING_TOOLKIT; without these, the ones in the build directory.
"""
import json
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time

import left

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DEADLINE_S = 60
STORES_HERE = 'manifest-networks = {"127.0.0.0/8"}\n'
LOG_LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z (error|warning|info): [^\x00-\x1f\x7f]*"


def built(name):
    """Full path of a program of the build: where one stands, above, or build/ beside the sources."""
    for place in (os.environ.get("top_builddir", "."), "..", os.path.join(TOP, "build")):
        path = os.path.abspath(os.path.join(place, name))
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(name + " was not built")


def wait_for(condition, seconds=DEADLINE_S):
    """Until condition() is true; its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.02)


class Service:
    """Starts at once; stop() or the end of a with-block ends it and removes its directory.  config:
    the text of a configuration file.  Tests have their stores on this machine, where a service goes
    only when it is told; it is, unless config says something of manifest-networks itself."""

    def __init__(self, *options, toolkit=None, start=True, config=None):
        self.program = os.environ.get("IMAGING_SERVICE") or built("imaging-service/imaging-service")
        self.toolkit = (toolkit or os.environ.get("IMAGING_TOOLKIT")
                        or built("imaging-toolkit/imaging-toolkit"))
        self.options = options
        self.prefix = ()  # what starts the program: strace, …
        self.tmp = tempfile.mkdtemp(prefix="service.")
        self.dir = os.path.join(self.tmp, "service")
        self.log = os.path.join(self.tmp, "log")
        if "--config" not in options and "manifest-networks" not in (config or ""):
            config = STORES_HERE + (config or "")
        if config is not None:
            self.options = ("--config", self.write("config", config), *options)
        self.env, self.process, self.printed = {}, None, ""
        if start:
            try:
                self.start()
            except BaseException:
                self.stop()
                raise

    @property
    def pid(self):
        return self.process.pid

    def write(self, name, text, mode=0o600):
        """A file in the private directory; its path."""
        path = os.path.join(self.tmp, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def command(self, *options):
        return [*self.prefix, self.program, "--standalone", self.dir, "--listen", "127.0.0.1:0",
                "--toolkit", self.toolkit, *options]

    def start(self):
        """Start (again, in the same directory) and wait until it says that it is ready."""
        if self.process:
            self.process.stdout.close()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(*self.options), stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log)
        self.printed = self._read_until_ready()
        self.env = dict(re.findall(r"^export (\w+)=(.*)$", self.env_text(), re.M))
        left.secret(self.env.get("AWS_SECRET_ACCESS_KEY"))
        return self

    def env_text(self):
        with open(os.path.join(self.dir, "env.sh"), encoding="utf-8") as file:
            return file.read()

    def _read_until_ready(self):
        end = time.monotonic() + DEADLINE_S
        output = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not output.endswith(b"ready\n"):
                if not selector.select(max(0, end - time.monotonic())):
                    raise TimeoutError("the service did not get ready")
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    raise RuntimeError("the service ended at its start:\n" + self.log_text())
                output += piece
        return output.decode()

    def run_account(self, command, *arguments):
        """`imaging-service account COMMAND` on the service's directory, however it ends."""
        return subprocess.run([self.program, "account", command, "--standalone", self.dir, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=DEADLINE_S)

    def account(self, command, *arguments):
        """What it says as JSON; it must succeed."""
        result = self.run_account(command, "--output", "json", *arguments)
        if result.returncode != 0:
            raise AssertionError(f"account {command}: {result.stderr}")
        said = json.loads(result.stdout)
        if isinstance(said, dict):
            left.secret(said.get("secret_key"), said.get("session_token"))
        return said

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def terminate(self):
        """SIGTERM; its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """End it and remove everything; it must leave with status 0 and no sanitizer's report."""
        status, log = 0, ""
        try:
            if self.process:
                if self.process.poll() is None:
                    status = self.terminate()
                self.process.stdout.close()
                log = self.log_text()
                left.keep_service(self.dir, self.log)
        finally:
            shutil.rmtree(self.tmp, ignore_errors=True)
        if status != 0 or "Sanitizer" in log or "runtime error:" in log:
            raise AssertionError(f"the service ended with status {status}; its log:\n{log[-20000:]}")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()
