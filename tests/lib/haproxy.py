"""haproxy - Debian's HAProxy with init/haproxy.cfg.example, of which only addresses and ports change.

    with haproxy.HAProxy([(api, status), ...]) as proxy:
        ... proxy.host ...

api and status are "address:port" of one service each; proxy.host is where clients connect to.  It runs
in a private directory and is stopped by its process id.
"""
import os
import re
import shutil
import socket
import subprocess
import tempfile

import service

EXAMPLE = os.path.join(service.TOP, "init", "haproxy.cfg.example")
PROGRAM = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")


def configuration(servers, bind):
    """The example for these servers; `bind` is what stands behind that word."""
    with open(EXAMPLE, encoding="utf-8") as file:
        lines = file.read().splitlines()
    rest, found = list(servers), 0
    text = []
    for line in lines:
        if re.match(r"    bind ", line):
            line = f"    bind {bind}"
        elif re.match(r"    server ", line):
            found += 1
            if not rest:
                continue
            api, status = rest.pop(0)
            address, port = status.rsplit(":", 1)
            line = f"{line.rsplit(' ', 1)[0]} {api} addr {address} port {port}"
        text.append(line)
    if rest:
        raise ValueError(f"the example has {found} servers, {len(servers)} are wanted")
    return "\n".join(text) + "\n"


class HAProxy:
    """Starts at once; stop() or the end of a with-block ends it."""

    def __init__(self, servers):
        if not PROGRAM:
            raise FileNotFoundError("haproxy is not installed")
        self.tmp = tempfile.mkdtemp(prefix="haproxy.")
        self.log = os.path.join(self.tmp, "log")
        self.process = None
        try:
            # a socket that listens already: nobody else can get its port
            with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
                self.host = "127.0.0.1:%d" % listener.getsockname()[1]
                self._start(configuration(servers, f"fd@{listener.fileno()}"), listener.fileno())
        except BaseException:
            self.stop()
            raise

    def _start(self, text, listener):
        config = os.path.join(self.tmp, "haproxy.cfg")
        with open(config, "w", encoding="utf-8") as file:
            file.write(text)
        check = subprocess.run([PROGRAM, "-c", "-f", config], pass_fds=(listener,), check=False,
                               capture_output=True, text=True, timeout=service.DEADLINE_S)
        if check.returncode != 0 or "[WARNING]" in check.stderr or "[ALERT]" in check.stderr:
            raise AssertionError(f"haproxy does not like its configuration:\n{check.stderr}")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([PROGRAM, "-db", "-f", config], pass_fds=(listener,),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def changes(self, state):
        """How often a server became "UP" or "DOWN"."""
        return len(re.findall(rf"^Server \S+ is {state},", self.log_text(), re.M))

    def complaint(self):
        """The lines of its log that do not tell of a request that went well."""
        return "\n".join(line for line in self.log_text().splitlines()
                         if not re.search(r"/\d+ (200|412) \d+ ", line))[-5000:]

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        shutil.rmtree(self.tmp, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()
