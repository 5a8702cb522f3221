#!/usr/bin/python3
"""Two services behind HAProxy are stopped and started in turn under load: no request fails.

Longer and with more services: tests/long/rolling-restart.py.
"""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import haproxy  # noqa: E402
import load  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402

# longer than HAProxy needs to notice: 2 s, half a second, and the check itself
DELAY_S = 4


def restart(services, proxy, i):
    """Stop one and start it again; until HAProxy sends requests there."""
    ups = proxy.changes("UP")
    services.stop(i)
    services.start(i)
    service.wait_for(lambda: proxy.changes("UP") > ups)


@unittest.skipUnless(haproxy.PROGRAM, "haproxy is not installed")
class RollingRestart(unittest.TestCase):
    def test_no_request_fails(self):
        with cluster.Cluster(2, config=f"limits {{ stop-delay-seconds = {DELAY_S} }}") as services:
            for i in range(2):  # else HAProxy's first look may find it not ready, which is a DOWN more
                service.wait_for(lambda: sign.send(services.status(i), "GET", "/ready").status == 200)  # noqa: B023
            self.restart_each(services)

    def restart_each(self, services):
        with haproxy.HAProxy(services.servers()) as proxy:
            with load.Load(proxy.host, services.keys, rate=60) as steady:
                for i in range(2):
                    answered = steady.sent
                    restart(services, proxy, i)
                    self.assertGreater(steady.sent, answered + 20)
            self.assertEqual(steady.failures, [], proxy.complaint())
            self.assertEqual(proxy.changes("DOWN"), 2, proxy.complaint())
            for i in range(2):
                self.assertIn(" DescribeConversionTasks, account ", services.services[i].log_text())


if __name__ == "__main__":
    unittest.main(warnings="ignore")
