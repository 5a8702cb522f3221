#!/usr/bin/python3
"""A conversion that was interrupted goes on where it was: no part that had come is fetched again, the
volume and its manifest are those of one that was not interrupted, nothing else is left."""
import json
import os
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import resuming  # pylint: disable=wrong-import-position

MIB = 1 << 20
TOTAL = 10
KINDS = {  # layouts whose data come in the first parts, and their formats
    "raw": "raw", "vhd-dyn": "vhd", "vhd-fixed": "vhd", "vmdk-stream": "vmdk", "vmdk-vmware": "vmdk",
    "vmdk-mono": "vmdk", "vhdx": "vhdx",
}


def say(text):
    print("#", text, flush=True)


def manifest(path):
    """What the manifest of a result tells, but for names and times."""
    with open(path + ".manifest.json", encoding="utf-8") as text:
        told = json.load(text)
    for name in ("volume", "times"):
        del told[name]
    del told["source"]["name"]
    return told


def reference(kind):
    """The image of a kind, and the volume it gives without an interruption."""
    if not os.path.exists("disk.raw"):
        resuming.make_disk("random", "disk.raw", TOTAL)
    image, volume = "image." + kind, "volume." + kind
    if not os.path.exists(volume):
        resuming.make_disk(kind, image, "disk.raw")
        resuming.end(resuming.start(KINDS[kind], image, volume))
    return image, volume


def check(kind, out="out/disk"):
    """The result is right, and alone."""
    volume = "volume." + kind
    assert resuming.same(out, volume), kind
    assert manifest(out) == manifest(volume), (manifest(out), manifest(volume))
    left = sorted(os.listdir("out"))
    assert left == sorted([os.path.basename(out), os.path.basename(out) + ".manifest.json"]), left
    os.unlink(out)
    os.unlink(out + ".manifest.json")


def interrupt(kind, gate, until, out="out/disk", number=signal.SIGKILL):
    run = resuming.start(KINDS[kind], gate.source, out, "--resume")
    gate.wait()
    resuming.wait_marked(out + ".journal", until)
    resuming.kill(run, number)
    return run.returncode


def first_parts_come_once(kind):
    image, _ = reference(kind)
    closed = 14 if kind == "vhdx" else 7  # its first block is in the middle
    with resuming.Gate(KINDS[kind].upper(), image, f"{closed}-{closed + 1}") as gate:
        assert interrupt(kind, gate, closed * MIB) == -signal.SIGKILL
        before = gate.requests()
        assert sorted(os.listdir("out")) == ["disk.journal", "disk.partial"], os.listdir("out")
        gate.open()
        resuming.end(resuming.start(KINDS[kind], gate.source, "out/disk", "--resume"))
        again = {part: n - before[part] for part, n in gate.requests().items() if part < closed}
    assert not any(again.values()), (kind, "fetched again", again)
    check(kind)


def killed_twice():
    image, _ = reference("vmdk-stream")
    for closed in (3, 5, 7):
        with resuming.Gate("VMDK", image, f"{closed}-{closed + 1}") as gate:
            interrupt("vmdk-stream", gate, closed * MIB)
            fetched = gate.requests()
        again = [part for part in fetched if part < closed - 3]
        assert closed == 3 or not [part for part in again if part > 0], (closed, fetched)
    with resuming.Gate("VMDK", image) as gate:
        resuming.end(resuming.start("vmdk", gate.source, "out/disk", "--resume"))
        assert not [part for part in gate.requests() if part < 7], gate.requests()
    check("vmdk-stream")


def stopped_by_a_signal():
    image, _ = reference("vhd-dyn")
    for number in (signal.SIGTERM, signal.SIGINT):
        with resuming.Gate("VHD", image, "7-8") as gate:
            run = resuming.start("vhd", gate.source, "out/disk", "--resume")
            gate.wait()
            resuming.wait_marked("out/disk.journal", 7 * MIB)
            run.send_signal(number)
            resuming.end(run, 130, "out/disk.partial holds what was done")
            before = gate.requests()
            gate.open()
            resuming.end(resuming.start("vhd", gate.source, "out/disk", "--resume"))
            assert all(before[part] == n for part, n in gate.requests().items() if part < 7)
        check("vhd-dyn")


def a_part_is_gone():
    image, _ = reference("raw")
    with resuming.Gate("RAW", image) as gate:
        gate.hide("G7")
        resuming.end(resuming.start("raw", gate.source, "out/disk", "--resume"), 3, "part 8 of 10 is not there")
        before = gate.requests()
        gate.hide()
        resuming.end(resuming.start("raw", gate.source, "out/disk", "--resume"))
        assert all(before[part] == n for part, n in gate.requests().items() if part < 4), gate.requests()
    check("raw")


def something_is_in_the_way():
    image, _ = reference("raw")
    with resuming.Gate("RAW", image, "7-8") as gate:
        interrupt("raw", gate, 7 * MIB)
        before = gate.requests()
        gate.open()
        with open("out/disk", "w", encoding="ascii") as file:
            file.write("mine")
        resuming.end(resuming.start("raw", gate.source, "out/disk", "--resume"), 1, "--force replaces it")
        resuming.end(resuming.start("raw", gate.source, "out/disk", "--resume", "--force"))
        assert all(before[part] == n for part, n in gate.requests().items() if part < 7)
    check("raw")


def without_the_wish_nothing_is_left():
    image, _ = reference("raw")
    with resuming.Gate("RAW", image) as gate:
        gate.hide("G7")
        resuming.end(resuming.start("raw", gate.source, "out/disk"), 3)
    assert os.listdir("out") == []


def another_upload():
    """Other bytes under the same name: all is fetched, nothing of the old ones stays."""
    image, _ = reference("raw")
    with resuming.Gate("RAW", image, "7-8") as gate:
        interrupt("raw", gate, 7 * MIB)
    resuming.make_disk("checker", "other.raw", TOTAL)
    with resuming.Gate("RAW", "other.raw") as gate:
        resuming.end(resuming.start("raw", gate.source, "out/disk", "--resume"))
        assert all(gate.requests()[part] for part in range(TOTAL))
    assert resuming.same("out/disk", "other.raw")
    assert sorted(os.listdir("out")) == ["disk", "disk.manifest.json"]
    for name in os.listdir("out"):
        os.unlink("out/" + name)


def run_job(source, store, earlier, **more):
    job = {"source": source, "format": "vmdk", "store": store, "resume": True, "earlier": earlier,
           "digest": "fs-verity", "force": True}
    run = subprocess.Popen([resuming.toolkit(), "run", "--progress-fd", "1"], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    run.stdin.write(json.dumps(job))
    run.stdin.close()
    run.stdin = None
    return run


def taken_over_under_another_name():
    image, _ = reference("vmdk-stream")
    with resuming.Gate("VMDK", image, "7-8") as gate:
        run = run_job(gate.source, "out/.task.1.1.part", "out/.task.1.")
        gate.wait()
        resuming.wait_marked("out/.task.1.1.part.journal", 7 * MIB)
        resuming.kill(run)
        position = resuming.marks("out/.task.1.1.part.journal")[-1]["position"]
        before = gate.requests()
        gate.open()
        # one that cannot even begin hands it on
        gate.hide("H9")
        resuming.end(run_job(gate.source, "out/.task.1.2.part", "out/.task.1."), 3)
        assert sorted(os.listdir("out")) == [".task.1.2.part.journal", ".task.1.2.part.partial"], os.listdir("out")
        gate.hide()
        said = resuming.end(run_job(gate.source, "out/.task.1.12.part", "out/.task.1."))
        assert all(before[part] == n for part, n in gate.requests().items() if part < 7)
    told = [json.loads(line) for line in said.splitlines() if '"progress"' in line]
    told = [line["done"] for line in told if line["stage"] == "copy" and line.get("total")]
    assert min(told[1:] or [position]) >= position, (position, told)
    check("vmdk-stream", "out/.task.1.12.part")


def what_is_held_is_left_alone():
    """A process that was stopped, and wakes when another has done the work."""
    image, _ = reference("vmdk-stream")
    with resuming.Gate("VMDK", image, "7-8") as gate:
        first = run_job(gate.source, "out/.task.1.1.part", "out/.task.1.")
        gate.wait()
        resuming.wait_marked("out/.task.1.1.part.journal", 7 * MIB)
        first.send_signal(signal.SIGSTOP)
        gate.open()
        resuming.end(run_job(gate.source, "out/.task.1.2.part", "out/.task.1."))
        refused = subprocess.run([resuming.toolkit(), "convert", "-f", "vmdk", "-O", "raw", "--resume",
                                  gate.source, "out/.task.1.1.part"], capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and "another process is writing" in refused.stderr, refused
        first.send_signal(signal.SIGCONT)
        resuming.end(first)
    assert resuming.same("out/.task.1.1.part", "volume.vmdk-stream")
    os.unlink("out/.task.1.1.part")
    os.unlink("out/.task.1.1.part.manifest.json")
    check("vmdk-stream", "out/.task.1.2.part")


def main():
    with tempfile.TemporaryDirectory(prefix="resume.") as tmp:
        os.chdir(tmp)
        os.mkdir("out")
        for kind in KINDS:
            say(f"{kind}: killed after part 7")
            first_parts_come_once(kind)
        for story in (killed_twice, stopped_by_a_signal, a_part_is_gone, something_is_in_the_way,
                      without_the_wish_nothing_is_left, another_upload, taken_over_under_another_name,
                      what_is_held_is_left_alone):
            say(story.__name__.replace("_", " "))
            story()
        os.chdir("/")


main()
