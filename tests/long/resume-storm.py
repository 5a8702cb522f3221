#!/usr/bin/python3
"""Conversions killed at any moment, again and again, until they come to their end: no wrong byte, no
file left, and how much was fetched twice.

    resume-storm.py [--kills N]
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import resuming  # noqa: E402

MIB = 1 << 20
RATE = 10 * MIB  # slower than a disk that others use as well
KINDS = {"raw": "raw", "vhd-dyn": "vhd", "vhd-fixed": "vhd", "vmdk-stream": "vmdk", "vmdk-vmware": "vmdk",
         "vmdk-mono": "vmdk", "vhdx": "vhdx"}
LAYOUTS = {"random": 24, "checker": 48, "edges": 64}
# at each kill parts are on their way or not marked yet: those the pool of the source holds, the last one
# (its end is looked at first), and a few that came while a mark was written
IN_FLIGHT = 12


def manifest(path):
    with open(path + ".manifest.json", encoding="utf-8") as text:
        told = json.load(text)
    del told["volume"], told["times"], told["source"]["name"]
    return told


def images():
    for layout, mib in LAYOUTS.items():
        resuming.make_disk(layout, layout, mib)
        for kind, form in KINDS.items():
            image = f"{layout}.{kind}"
            resuming.make_disk(kind, image, layout)
            resuming.end(resuming.start(form, image, image + ".volume"))
            yield form, image


def one(form, image):
    """Kill it up to five times; (kills, parts, requests for them)."""
    kills = 0
    with resuming.Gate(form.upper(), image, part_bytes=MIB, rate=RATE) as gate:
        for _ in range(random.randrange(1, 6)):
            run = resuming.start(form, gate.source, "out/disk", "--resume", "--force")
            try:
                run.wait(random.uniform(0, 2))
            except subprocess.TimeoutExpired:
                resuming.kill(run, random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                kills += 1
            else:
                resuming.end(run)
                break
        resuming.end(resuming.start(form, gate.source, "out/disk", "--resume", "--force"))
        requests = gate.requests()
    assert resuming.same("out/disk", image + ".volume"), ("wrong bytes", image)
    assert manifest("out/disk") == manifest(image + ".volume"), image
    assert sorted(os.listdir("out")) == ["disk", "disk.manifest.json"], os.listdir("out")
    for name in os.listdir("out"):
        os.unlink("out/" + name)
    return kills, len(requests), sum(requests.values())


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=300)
    wanted = options.parse_args().kills
    seed = int.from_bytes(os.urandom(4), "big")
    random.seed(seed)
    print("seed", seed, flush=True)
    with tempfile.TemporaryDirectory(prefix="storm.") as tmp:
        os.chdir(tmp)
        os.mkdir("out")
        things = list(images())
        kills = parts = requests = runs = 0
        while kills < wanted:
            k, p, n = one(*random.choice(things))
            kills, parts, requests, runs = kills + k, parts + p, requests + n, runs + 1
        again = requests - parts
        print(f"figures: {runs} conversions, {kills} kills: 0 wrong volumes, 0 files left; {parts} parts, "
              f"{again} requests for one that had been asked for before, {again / kills:.1f} a kill")
        assert again <= IN_FLIGHT * (kills + runs), "more than what was on its way"
        os.chdir("/")


main()
