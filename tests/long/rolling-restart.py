#!/usr/bin/python3
"""Three services on one PostgreSQL database behind HAProxy, 200 requests a second, for three minutes each:
restarted in turn, no request fails; one killed every 15 s, only imports without a token fail that were
under way there.

    rolling-restart.py [SECONDS [REQUESTS_PER_SECOND]]
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import haproxy  # noqa: E402
import load  # noqa: E402
import postgres  # noqa: E402
import service  # noqa: E402

SERVICES = 3
SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 180
RATE = int(sys.argv[2]) if len(sys.argv) > 2 else 200
CONFIG = "limits { stop-delay-seconds = 4 }"
KILL_S = 15

# a connection of HAProxy to a process that has just died may be used before HAProxy has seen its end
MOMENT_S = 0.1


def start(services, proxy, i):
    """Start one again; until HAProxy sends requests there, when it had noticed."""
    downs, ups = proxy.changes("DOWN"), proxy.changes("UP")
    services.start(i)
    if downs > ups:
        service.wait_for(lambda: proxy.changes("UP") > ups)


def rolling(services, proxy):
    """Failures, after a line with the figures."""
    restarts, end = 0, time.monotonic() + SECONDS
    with load.Load(proxy.host, services.keys, RATE) as steady:
        while time.monotonic() < end:
            services.stop(restarts % SERVICES)
            start(services, proxy, restarts % SERVICES)
            restarts += 1
    print(f"rolling restart: {restarts} restarts, {steady.sent} requests in {steady.seconds:.0f} s, "
          f"{len(steady.failures)} failed", flush=True)
    return steady.failures


def killing(services, proxy):
    """Failures that are not excused, after a line with the figures."""
    deaths, end = [], time.monotonic() + SECONDS
    with load.Load(proxy.host, services.keys, RATE) as steady:
        while time.monotonic() < end:
            began, victim = time.monotonic(), len(deaths) % SERVICES
            services.kill(victim)
            deaths.append((began, time.monotonic() + MOMENT_S))
            start(services, proxy, victim)
            time.sleep(max(0, began + KILL_S - time.monotonic()))

    def is_excused(failure):
        return not failure.repeatable and any(failure.began <= dead and failure.ended >= killed
                                              for killed, dead in deaths)
    wrong = [failure for failure in steady.failures if not is_excused(failure)]
    print(f"killing: {len(deaths)} kill -9, {steady.sent} requests in {steady.seconds:.0f} s, "
          f"{len(steady.failures)} failed, {len(wrong)} of them not under way there", flush=True)
    return wrong


def main():
    if not haproxy.PROGRAM or not postgres.bin_dir():
        print("haproxy or postgresql is not installed")
        return 77
    with postgres.Postgres() as server, \
            cluster.Cluster(SERVICES, server.create_database(), config=CONFIG) as services, \
            haproxy.HAProxy(services.servers()) as proxy:
        wrong = rolling(services, proxy)
        wrong += killing(services, proxy)
        for failure in wrong[:20]:
            print(failure)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
