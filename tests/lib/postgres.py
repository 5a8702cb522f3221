"""postgres - a private PostgreSQL server for one test: its own directory, port and socket.

    with postgres.Postgres() as server:
        uri = server.create_database()      # "postgresql://imaging:…@127.0.0.1:PORT/d1"
        server.stop("immediate")
        server.start()

It keeps what it was told (fsync is on), listens on 127.0.0.1 and a socket in its directory, and
wants a password.  As root it runs as the user postgres, who must be there (Debian's package makes
it).  It ends with the process that started it, also when that is killed; the directory, which stays
then, is removed by the next one that starts.
"""
import fcntl
import glob
import os
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import left
import listening

DEADLINE_S = 60
USER = "imaging"
# Below the ports that the kernel gives to whoever asks for any: while the server is stopped nobody
# else gets this one by chance.
PORTS = range(20000, 32000)
SETTINGS = {
    "fsync": "on",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "max_wal_size": "128MB",
    "log_min_messages": "warning",
    "autovacuum_naptime": "10s",
    "deadlock_timeout": "200ms",  # long before sessions' own limits
}


# Room for a cluster with some databases.
MEMORY_BYTES = 1 << 30


def place():
    """Where directories are made: in memory when there is room, since a server that restarts syncs
    thousands of small files, and what a killed process has written is safe there, too."""
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return None
    return "/dev/shm" if room.f_bavail * room.f_frsize > MEMORY_BYTES else None


def send(pid, number):
    """A backend may have ended by itself."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def stat(pid):
    """State and parent of a process; "Z" and 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return fields[0], int(fields[1])


def is_alive(pid):
    return stat(pid)[0] not in "ZX"


def bin_dir():
    """Where the server's programs stand; None when it is not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"),
                   key=lambda path: int(path.split("/")[4]))
    return os.path.dirname(found[-1]) if found else None


def remove_abandoned(beside):
    """Directories of processes that are no more: nobody holds the lock on what they own."""
    for owner in glob.glob(os.path.join(beside, "postgres.*", "owner")):
        try:
            with open(owner, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(os.path.dirname(owner), ignore_errors=True)
        except OSError:
            pass # it is used, or is just being removed


def own(directory):
    """Hold the directory: the open file that does."""
    new = os.path.join(directory, "owner.new")
    file = open(new, "wb") # pylint: disable=consider-using-with
    fcntl.flock(file, fcntl.LOCK_EX)
    os.rename(new, os.path.join(directory, "owner"))
    return file


def end_cleanly():
    """A test that is told to stop takes its server's directory away."""
    if (threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Postgres:
    """Starts at once; close() or the end of a with-block ends it and removes everything.  on_disk: to
    measure what commits cost."""

    def __init__(self, on_disk=False):
        self.bin = bin_dir()
        if not self.bin:
            print("skipped: PostgreSQL is not installed")
            sys.exit(77)
        end_cleanly()
        self.password = secrets.token_hex(12)
        self.as_user = []
        self.dir = tempfile.mkdtemp(prefix="postgres.", dir=None if on_disk else place())
        self.owner = own(self.dir)
        self.data = os.path.join(self.dir, "data")
        self.log = os.path.join(self.dir, "log")
        self.process, self.port, self.databases = None, 0, 0
        remove_abandoned(os.path.dirname(self.dir))
        try:
            if os.geteuid() == 0:
                self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
                shutil.chown(self.dir, "postgres", "postgres")
            self._init()
            self._start_somewhere()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _init(self):
        secret = os.path.join(self.dir, "password")
        with open(secret, "w", encoding="ascii") as file:
            file.write(self.password + "\n")
        os.chmod(secret, 0o600)
        if self.as_user:
            shutil.chown(secret, "postgres", "postgres")
        subprocess.run([*self.as_user, os.path.join(self.bin, "initdb"), "-D", self.data, "-U", USER,
                        "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C",
                        "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/")
        os.unlink(secret)

    def _start_somewhere(self):
        """On a free port; another test may take it at the same moment."""
        for _ in range(20):
            self.port = random.choice(PORTS)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.port))
                except OSError:
                    continue
            try:
                self.start()
                return
            except ChildProcessError:
                continue
        with open(self.log, encoding="utf-8") as file:
            raise RuntimeError("PostgreSQL does not start: " + file.read()[-2000:])

    # ---- the server ----

    def start(self):
        """Until it answers."""
        command = [os.path.join(self.bin, "postgres"), "-D", self.data, "-p", str(self.port),
                   "-k", self.dir, "-h", "127.0.0.1"]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        ours = self.as_user or ["setpriv"]
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([*ours, "--pdeathsig=QUIT", *command], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, cwd="/")
        end = time.monotonic() + DEADLINE_S
        while not self._answers():
            if self.process.poll() is not None:
                raise ChildProcessError("PostgreSQL has ended")
            if time.monotonic() > end:
                raise TimeoutError("PostgreSQL does not answer")
            time.sleep(0.02)

    def _answers(self):
        """The postmaster writes into its file when it is ready."""
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return False
        return lines[0] == str(self.process.pid) and len(lines) > 7 and lines[7].strip() == "ready"

    def stop(self, mode="fast"):
        """mode: smart (waits for clients), fast, immediate (a crash of the server)."""
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(DEADLINE_S)

    def kill(self):
        """All its processes, at once, and until none is left that holds its memory."""
        pids = self.pause()
        for pid in pids:
            send(pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        end = time.monotonic() + DEADLINE_S
        while any(map(is_alive, pids)) and time.monotonic() < end:
            time.sleep(0.005)

    def pause(self):
        """SIGSTOP: connections stay and are even accepted, but nothing is answered.  Whom it hit."""
        stopped = set()
        while True:
            new = [pid for pid in self._pids() if pid not in stopped]
            if not new:
                return stopped
            for pid in new: # the postmaster first: no more come
                send(pid, signal.SIGSTOP)
                stopped.add(pid)

    def go_on(self):
        for pid in self._pids():
            send(pid, signal.SIGCONT)

    def _pids(self):
        """The postmaster's and its children's."""
        pids = [self.process.pid]
        for place_of in glob.glob("/proc/[0-9]*"):
            pid = int(place_of.split("/")[2])
            state, parent = stat(pid)
            if parent == pids[0] and state != "Z":
                pids.append(pid)
        return pids

    def close(self):
        """Takes everything away."""
        if self.process and self.process.poll() is None:
            self.go_on()
            try:
                left.keep_postgres(self)
            finally:
                self.stop("immediate")
        shutil.rmtree(self.dir, ignore_errors=True)
        self.owner.close()

    # ---- databases ----

    def uri(self, database="postgres", local=False, port=None):
        """local: by the socket instead of TCP."""
        if local:
            host = self.dir.replace("/", "%2F")
            return f"postgresql://{USER}:{self.password}@{host}:{self.port}/{database}"
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{port or self.port}/{database}"

    def query(self, sql, database="postgres"):
        """What psql prints: rows as lines, columns with | between."""
        env = {**os.environ, "PGPASSWORD": self.password}
        done = subprocess.run([os.path.join(self.bin, "psql"), "-X", "-q", "-A", "-t", "-v",
                               "ON_ERROR_STOP=1", "-h", self.dir, "-p", str(self.port), "-U", USER,
                               "-d", database, "-c", sql], env=env, capture_output=True, text=True,
                              timeout=DEADLINE_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout.rstrip("\n")

    def create_database(self, local=False):
        """The URI of a new, empty one."""
        self.databases += 1
        name = f"d{self.databases}"
        self.query(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.uri(name, local)


class CommitCutter:
    """A way to the server that ends with the first COMMIT a client sends: "before" it reaches the
    server, or "after" the server has answered, without the answer."""

    def __init__(self, server, when):
        self.server, self.when = server, when
        self.listener = listening.start(self._carry)
        self.port = self.listener.getsockname()[1]

    def close(self):
        self.listener.close()

    def _carry(self, client):
        with client, socket.create_connection(("127.0.0.1", self.server.port)) as server:
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is server:
                        client.sendall(data)
                        continue
                    if b"COMMIT\0" in data and self.when == "before":
                        return
                    server.sendall(data)
                    if b"COMMIT\0" in data:
                        self._wait_until_done(server)
                        return

    @staticmethod
    def _wait_until_done(server):
        """ReadyForQuery, outside of a transaction."""
        answer = b""
        while not answer.endswith(b"Z\0\0\0\5I"):
            data = server.recv(65536)
            if not data:
                return
            answer += data
