#!/usr/bin/python3
"""The files of the list of hostile inputs, rows 1 to 34: each goes every way into the toolkit, and its
neighbour, too.  At the end there is a line for each row.

The files are hostile_files.py's; what refused and accepted mean is hostile.py's.  Variations of a row
are in the tests of its format (hostile-vmdk.py, …); rows 35 on in service/ (tests/README.md)."""
import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hostile  # noqa: E402
import hostile_files  # noqa: E402

COPIES = ("file", "pipe", "parts", "job", "digest", "import-volume")
FOR_PLACES = ("file", "job", "import-volume", *hostile.LOOKS)  # --extents: from files alone


class Rows(hostile.Case):
    said = []

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(lambda: print("\n".join(cls.said), flush=True))

    def how(self, format, made, split):
        """Ways, options and job by which a file is given."""
        job = {"format": format}
        kind, _, packed = ("vmdk.ova" if format == "ova" else format).partition(".")
        if packed:
            job = {"format": kind, "stages": [{"name": "unpack", "kind": packed}]}
        options, ways = (), (*COPIES, *hostile.LOOKS, "encode")
        if "HiddenFormat" in made.says:
            ways = COPIES + hostile.LOOKS  # in another image it is no raw volume's beginning
        elif made.limit:  # of 10 GiB nobody waits for the digest
            options, ways = ("--max-size", str(made.limit)), ("file", "pipe", "parts", "job", "import-volume")
            job["max_size"] = made.limit
        elif split:
            options, ways = ("--extents", self.bench.path("extents")), FOR_PLACES
            job["extents"] = self.bench.path("extents")
        elif made.instance:
            ways = ("import-instance",)
        return {"ways": ways, "options": options, "job": job}

    def judge(self, row):
        made = row.make(hostile_files.Place(self.bench, "canary.raw"))  # it lies beside the image
        for place, files in (("in", made.beside), ("extents", made.extents)):
            for name, data in files.items():
                self.bench.put(data, place, name)
        self.bench.cost = hostile.Cost()
        for bad in made.bad or ():
            with self.subTest("refused"):
                self.refuse(bad, made)
        bad = self.bench.cost
        self.bench.cost = hostile.Cost()
        with self.subTest("accepted"):
            self.bench.accepted(self, made.good, made.format, made.disk,
                                **self.how(made.format, made, bool(made.extents)))
        return made.bad and bad, self.bench.cost

    def refuse(self, image, made):
        how = self.how(made.bad_format, made, False)
        ways = how.pop("ways")
        self.bench.refused(self, image, made.bad_format, made.says, made.status,
                           [way for way in ways if way != "pipe"], **how)
        if "pipe" in ways:  # which does not know how long it is, and may say something else
            self.bench.refused(self, image, made.bad_format, (), made.status, ["pipe"], **how)

    def show(self, row, bad, good):
        """A line of the table: what it is, how it ended, the most that it took."""
        said = {"accepted": good, "refused": bad and f"exit {bad.status}, {bad}"}
        other = "accepted" if row.result == "refused" else "refused"
        self.said.append(f"row {row.number:2} {row.result}: {row.what} ({said[row.result]})"
                         + (f"; its neighbour is {other} ({said[other]})" if said[other] else ""))


def add(row, name):
    def test(self):
        if row.what.startswith("qcow2") and not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        before = len(self._outcome.result.failures) + len(self._outcome.result.errors)
        bad, good = self.judge(row)
        if len(self._outcome.result.failures) + len(self._outcome.result.errors) == before:
            self.show(row, bad, good)
    test.__doc__ = row.what
    setattr(Rows, name, test)


for row in hostile_files.ROWS:
    first = f"test_{row.number:02}"
    add(row, first if not hasattr(Rows, first) else first + "_again")


if __name__ == "__main__":
    hostile.main()
