#!/usr/bin/python3
"""The setting `conversions`: no more disks than that are converted at once although more workers are free,
those behind it wait and come in their turn, and another limit holds after a start with it."""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
from tasks import NEW, Tasks  # noqa: E402

CONFIG = "workers = 4\nconversions = %d\n"


class Conversions(Tasks):
    config = CONFIG % 1

    def import_volume(self, upload):
        return self.good({"Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
                          "Image.Format": upload.form, "Image.Bytes": str(len(upload.data)),
                          "Image.ImportManifestUrl": upload.url, "Volume.Size": "1"}
                         ).findtext("conversionTaskId")

    def working(self):
        """The tasks that are worked on now, by the table itself."""
        done = subprocess.run([self.service.program, "task", "stages", "--standalone", self.service.dir,
                               "--output", "json"], check=True, stdout=subprocess.PIPE)
        return [row["task"] for row in json.loads(done.stdout) if row["worker"]
                and row["lease_left_s"] is not None and row["state"] == "active"]

    def some(self, n):
        """Imports that stop in the middle of their upload: (id, upload) of each."""
        uploads = [self.upload("RAW", self.raw, 1, closed=4) for _ in range(n)]
        return [(self.import_volume(upload), upload) for upload in uploads]

    def in_their_turn(self, imports, limit):
        """Let one after the other end; never more than the limit are under way."""
        waiting = list(imports)
        while waiting:
            service.wait_for(lambda: sum(upload.waiting.is_set() for _, upload in waiting)
                             == min(limit, len(waiting)))
            busy = {id for id, upload in waiting if upload.waiting.is_set()}
            for _ in range(5):  # each look is a program that starts: time enough for four workers
                working = self.working()
                self.assertLessEqual(len(working), limit)
                self.assertEqual(set(working), busy)
            for id, upload in waiting:
                if id not in busy:
                    self.assertFalse(upload.waiting.is_set())
                    self.assertEqual(self.look(id).findtext("statusMessage"), "Pending")
            id, upload = next(one for one in waiting if one[0] in busy)
            upload.open()
            self.wait(id, "completed")
            waiting.remove((id, upload))

    def test_one_at_a_time_then_two(self):
        self.in_their_turn(self.some(3), 1)
        self.service.terminate()
        self.service.write("config", service.STORES_HERE + CONFIG % 2)
        self.restart()
        self.in_their_turn(self.some(4), 2)


if __name__ == "__main__":
    unittest.main()
