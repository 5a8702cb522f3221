"""cluster - several imaging services for one test.

    with cluster.Cluster(2) as c:
        c.stop(0); c.start(0); c.kill(1); ... c.url(0), c.status(0), c.keys

Each listens on a loopback address of its own, where it has the same ports all its life: no connection
that some other program makes can take them while it is down.

With a database_uri they share that PostgreSQL database, c.volumes, c.state and c.master_key; c.keys are
those of an account "cluster" that is made before they start.  Without one they are standalone services
that know nothing of each other's tasks, but know the same accounts; what all of them answer alike can be
asked of any.
"""
import os
import random
import re
import shutil
import subprocess
import tempfile

import left
import service


class Shared(service.Service):
    """One of several services with a database.  Its own is s.scratch; it writes no env.sh."""

    def __init__(self, config):
        super().__init__(start=False)
        self.scratch = os.path.join(self.tmp, "scratch")
        self.file = self.write("config", service.STORES_HERE + config + f'\nscratch-directory = "{self.scratch}"\n')
        self.options = ("--config", self.file)

    def command(self, *options):
        return [self.program, "--listen", "127.0.0.1:0", "--toolkit", self.toolkit, *options]

    def env_text(self):
        return self.printed

    def run_account(self, command, *arguments):
        return subprocess.run([self.program, "account", command, "--config", self.file, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=service.DEADLINE_S)


class Cluster:
    """Starts at once, unless told otherwise; close() or the end of a with-block ends all.  config: of
    each service."""

    def __init__(self, n, database_uri=None, config="", start=True):
        self.services, self.account, self.tmp = [], None, None
        self.net = "127.%d.%d." % (random.randrange(1, 255), random.randrange(256))
        try:
            if database_uri:
                config = self._share_places(database_uri) + config
            for _ in range(n):
                self.services.append(Shared(config) if database_uri else
                                     service.Service(start=False, config=config))
            if database_uri:
                self.account = self.services[0].account("add", "--name", "cluster")
            for i in range(n if start else 0):
                if i == 1 and not database_uri:
                    self._share_accounts()
                self.start(i)
        except BaseException:
            self.close()
            raise

    def _share_places(self, database_uri):
        """What all of them have; its settings."""
        self.tmp = tempfile.mkdtemp(prefix="cluster.")
        self.volumes, self.state, self.master_key = (os.path.join(self.tmp, name) for name in
                                                     ("volumes", "state", "master.key"))
        os.mkdir(self.volumes)
        os.mkdir(self.state)
        with open(self.master_key, "wb") as file:
            file.write(os.urandom(32))
        os.chmod(self.master_key, 0o400)
        return (f'database = "{database_uri}"\nvolumes-directory = "{self.volumes}"\n'
                f'state-directory = "{self.state}"\nmaster-key = "{self.master_key}"\n')

    def _share_accounts(self):
        """Give all the accounts of the first."""
        first = self.services[0]
        self.kill(0)
        for other in self.services[1:]:
            os.mkdir(other.dir, 0o700)
            for name in os.listdir(first.dir):
                if name in ("accounts.db", "accounts.db-wal", "master.key"):
                    shutil.copy2(os.path.join(first.dir, name), other.dir)
        self.start(0)

    def start(self, i):
        """Start it (again) and wait until it serves."""
        one, address = self.services[i], f"{self.net}{i + 1}"
        first = one.process is None
        if first:
            one.config = one.options
            one.options = (*one.config, "--listen", f"{address}:0", "--status-listen", f"{address}:0")
        one.start()
        if first:
            one.status = "%s:%s" % re.search(r"^Its status is at (\S+) port (\d+):", one.printed,
                                             re.M).groups()
            one.options = (*one.config, "--listen", self.url(i), "--status-listen", one.status)

    def stop(self, i):
        """SIGTERM; it must end well."""
        status = self.services[i].terminate()
        if status != 0:
            raise AssertionError(f"service {i} ended with status {status}; its log:\n" +
                                 self.services[i].log_text()[-10000:])

    def kill(self, i):
        self.services[i].kill()

    def url(self, i):
        """Its API, as "address:port"."""
        return re.match(r"https?://([^/]+)/", self.services[i].env["EC2_URL"])[1]

    def status(self, i):
        """Its /live, /ready and /metrics, as "address:port"."""
        return self.services[i].status

    @property
    def keys(self):
        """Access key and secret key that all of them know."""
        if self.account:
            return self.account["access_key"], self.account["secret_key"]
        env = self.services[0].env
        return env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    def servers(self):
        """For haproxy.HAProxy."""
        return [(self.url(i), self.status(i)) for i in range(len(self.services))]

    def close(self):
        """End all of them, side by side; one that was killed may be dead."""
        wrong = []
        alive = [one.process for one in self.services if one.process and one.process.poll() is None]
        for process in alive:
            process.terminate()
        for one in self.services:
            try:
                if one.process in alive and one.process.wait(service.DEADLINE_S) != 0:
                    wrong.append(AssertionError("a service did not end well:\n" +
                                                one.log_text()[-10000:]))
                one.stop()
            except Exception as error:  # the others are to be ended, too
                wrong.append(error)
        if self.tmp:
            left.keep_service(self.tmp, None)
            shutil.rmtree(self.tmp, ignore_errors=True)
        if wrong:
            raise wrong[0]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
