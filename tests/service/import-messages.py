#!/usr/bin/python3
"""What an owner sees of an import from its start to its end, polled; and after kill -9 of the service in
the middle of it."""
import os
import re
import sqlite3
import subprocess
import sys
import unittest

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
sys.path.insert(0, LIB)
import service  # noqa: E402
from tasks import NEW, Tasks, make_bootable  # noqa: E402


class Messages(Tasks):
    def poll(self, id):
        """Everything seen of the task until it has ended."""
        seen = []

        def ended():
            seen.append(self.look(id))
            return seen[-1].findtext("state") in ("completed", "cancelled")
        service.wait_for(ended, 60)
        self.assertEqual(seen[-1].findtext("state"), "completed")
        return seen

    def assert_grows(self, disks):
        size = int(disks[0].findtext("image/size"))
        counts = [int(d.findtext("bytesConverted")) for d in disks]
        self.assertEqual(counts, sorted(counts))
        self.assertTrue(all(0 <= n <= size for n in counts))
        self.assertEqual((counts[0], counts[-1]), (0, size))
        self.assertTrue(any(0 < n < size for n in counts), counts)
        for disk in disks[:-1]:
            if disk.findtext("status") != "completed":
                self.assertIsNone(disk.find("volume/id"))
        self.assertRegex(disks[-1].findtext("volume/id"), "^vol-[0-9a-f]{17}$")

    def start_halfway(self, start):
        """A task that stopped in the middle of its upload; what was seen so far."""
        large = os.path.join(self.service.tmp, "large")
        subprocess.run([os.path.join(LIB, "make-disk"), "random", large, "40"], check=True)
        make_bootable(large)
        upload = self.upload("RAW", large, 1, closed=1)
        id = start(upload)
        seen = [self.look(id)]

        def halfway():
            seen.append(self.look(id))
            if len(seen) % 4 == 0 and upload.closed < 36:
                upload.closed += 1  # slowly, because what is done is told a few times a second only
            return any(0 < int(e.text) < len(upload.data)
                       for e in seen[-1].iter("bytesConverted"))
        service.wait_for(halfway)
        upload.open()
        return id, seen

    def import_volume(self, upload):
        return self.good({"Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
                          "Image.Format": upload.form, "Image.Bytes": str(len(upload.data)),
                          "Image.ImportManifestUrl": upload.url, "Volume.Size": "1"}
                         ).findtext("conversionTaskId")

    def test_a_volume(self):
        id, seen = self.start_halfway(self.import_volume)
        seen += self.poll(id)
        said = [t.findtext("statusMessage") for t in seen]
        self.assertEqual((said[0], said[-1]), ("Pending", None))
        for message in said[:-1]:
            self.assertRegex(message, r"^(Pending|Progress: \d+%)$")
        begun = next(i for i, message in enumerate(said) if message != "Pending")
        self.assertNotIn("Pending", said[begun:])
        self.assert_grows([t.find("importVolume") for t in seen])

    def test_an_instance(self):
        id, seen = self.start_halfway(lambda upload: self.start(upload))
        seen += self.poll(id)
        self.assertEqual(len({t.findtext("importInstance/instanceId") for t in seen}), 1)
        pairs = []
        for task in seen:
            disk = task.find("importInstance/volumes/item")
            pair = (task.findtext("statusMessage"), disk.findtext("status"),
                    re.sub(r"\d+%", "N%", disk.findtext("statusMessage") or "-"))
            pairs += [pair] if pair not in pairs else []
        self.assertEqual(pairs[0], ("Pending", "active", "Pending : Downloaded 0"))
        self.assertEqual(pairs[1], ("Pending", "active", "Progress: N%"))
        self.assertEqual(pairs[-1], (None, "completed", "-"))
        for message, status, words in pairs[2:-1]:
            self.assertEqual((status, words), ("completed", "-"))
            self.assertRegex(message, r"^Progress: \d+%")
        self.assert_grows([t.find("importInstance/volumes/item") for t in seen])

    def test_waiting_is_told(self):
        upload = self.upload("RAW", self.raw, 1, missing=True)
        id = self.import_volume(upload)
        service.wait_for(lambda: self.look(id).findtext("statusMessage") != "Pending")
        self.assertRegex(self.look(id).findtext("statusMessage"),
                         r"^Pending : waiting for the upload: ")
        upload.show()
        self.wait(id, "completed")

    # -- kill -9

    def half_done(self):
        """An instance task with one disk published and one in the middle of its upload."""
        first = self.upload("VHD", self.vhd, 1)
        second = self.upload("RAW", self.raw, 1, closed=4)
        id = self.start(first, second)
        service.wait_for(lambda: self.look(id).findtext(".//volumes/item/status") == "completed")
        self.assertTrue(second.waiting.wait(20))
        return id, second

    def test_killed_between_two_disks(self):
        id, second = self.half_done()
        volume = self.look(id).findtext(".//volumes/item/volume/id")
        self.service.kill()
        second.open()
        self.restart()
        task = self.wait(id, "completed")
        self.assertEqual(task.findtext(".//volumes/item/volume/id"), volume)
        for item in task.findall(".//volumes/item"):
            self.assert_volume(item.findtext("volume/id"))

    def test_killed_and_cancelled(self):
        before = self.all_files()
        id, _ = self.half_done()
        self.service.kill()
        self.restart()
        self.cancel(id, "after all")
        task = self.wait(id, "cancelled")
        self.assertEqual(self.all_files(), before)
        self.assertEqual(task.findtext("statusMessage"), "after all")

    def change(self, sql, *values):
        """Change the table of a service that does not run."""
        with sqlite3.connect(self.service.dir + "/tasks.db") as db:
            self.assertEqual(db.execute(sql, values).rowcount, 1)
        db.close()

    def test_killed_while_it_launched(self):
        """The records were written, the row was not: the launch is done again under the same ids."""
        id = self.start(self.upload("VHD", self.vhd, 1))
        task = self.wait(id, "completed")
        instance = task.findtext("importInstance/instanceId")
        machines = self.files("instances")
        self.service.kill()
        self.change("UPDATE task SET state = 'active', ended_ms = NULL WHERE id = ?", id)
        self.change("UPDATE stage SET state = 'active', lease_ms = 99, epoch = 1 WHERE kind = 'launch' "
                    "AND task = (SELECT seq FROM task WHERE id = ?)", id)
        self.restart()
        task = self.wait(id, "completed")
        self.assertEqual(task.findtext("importInstance/instanceId"), instance)
        self.assertEqual(self.files("instances"), machines)

    def test_killed_while_volumes_were_taken_back(self):
        before = self.all_files()
        id = self.start(self.upload("VHD", self.vhd, 1))
        self.wait(id, "completed")
        self.service.kill()
        for kind, known in zip(("images", "instances"), before[2:]):
            for name in self.files(kind) - known:
                os.unlink(os.path.join(self.service.dir, kind, name))
        self.change("UPDATE task SET state = 'cancelling', status_message = 'x', ended_ms = NULL "
                    "WHERE id = ?", id)
        self.change("UPDATE stage SET state = 'removing' WHERE kind = 'convert' "
                    "AND task = (SELECT seq FROM task WHERE id = ?)", id)
        self.restart()
        self.assertEqual(self.wait(id, "cancelled").findtext("statusMessage"), "x")
        self.assertEqual(self.all_files(), before)

    def test_a_launch_that_dies_too_often(self):
        before = self.all_files()
        id = self.start(self.upload("VHD", self.vhd, 1))
        self.wait(id, "completed")
        self.service.kill()
        self.change("UPDATE task SET state = 'active', ended_ms = NULL WHERE id = ?", id)
        self.change("UPDATE stage SET state = 'active', lease_ms = 99, deaths = 2 "
                    "WHERE kind = 'launch' AND task = (SELECT seq FROM task WHERE id = ?)", id)
        self.restart()
        task = self.wait(id, "cancelled")
        self.assertRegex(task.findtext("statusMessage"), "^ServerError: .*died 3 times")
        self.assertEqual(self.all_files(), before)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
