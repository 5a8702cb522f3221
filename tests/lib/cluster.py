"""cluster - several imaging services for one test.

    with cluster.Cluster(2) as c:
        c.stop(0); c.start(0); c.kill(1); ... c.url(0), c.status(0), c.keys

Each listens on a loopback address of its own, where it has the same ports all its life: no connection
that some other program makes can take them while it is down.  Without a database_uri they are standalone
services that know nothing of each other's tasks, but know the same accounts; what all of them answer
alike can be asked of any.
"""
import os
import random
import re
import shutil

import service


class Cluster:
    """Starts at once; close() or the end of a with-block ends all.  config: of each service."""

    def __init__(self, n, database_uri=None, config=""):
        if database_uri:
            config += f'\ndatabase = "{database_uri}"\n'
        self.services = []
        try:
            for _ in range(n):
                self.services.append(service.Service(start=False, config=config))
            self.net = "127.%d.%d." % (random.randrange(1, 255), random.randrange(256))
            for i in range(n):
                if i == 1 and not database_uri:
                    self._share_accounts()
                self.start(i)
        except BaseException:
            self.close()
            raise

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
        if wrong:
            raise wrong[0]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
