#!/usr/bin/python3
"""Rows 22 to 25 of the EC2 contract's feature table: DescribeConversionTasks."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402
from contract import refused  # noqa: E402

PROGRESS = re.compile(r"Progress: (\d{1,3})%")


class DescribeConversionTasks(contract.Case):
    def describe(self, *ids):
        return self.ec2.describe_conversion_tasks(**({"ConversionTaskIds": list(ids)} if ids else {}))

    def ids(self, *ids):
        return [task["ConversionTaskId"] for task in self.describe(*ids)["ConversionTasks"]]

    def test_row_22_all_one_many_and_an_unknown(self):
        tasks = [self.waiting() for _ in range(3)]
        for task in tasks:
            self.assertEqual(self.ids(task), [task])
        self.assertEqual(self.ids(*tasks[::-1]), tasks[::-1])
        self.assertEqual([t for t in self.ids() if t in tasks], tasks)
        unknown = "import-vol-zzzzzzzz"
        for ids in ([unknown], [*tasks, unknown], [unknown, *tasks], ["import-i-zzzzzzzz"],
                    ["import-vol-0123456789abcdef0"]):
            self.assertEqual(refused(self.describe, *ids), (400, "InvalidConversionTaskId"), ids)
        for malformed in ("x", "", "import-vol-", "import-vol-1234567", "import-vol-123456789",
                          "import-ami-12345678", tasks[0].upper(), tasks[0] + " ", "import-vol-é234567"):
            reply = self.main.describe(malformed)
            self.assertEqual(reply.refusal, (400, "InvalidConversionTaskId.Malformed"), reply.text)
        status, document, said = self.main.aws("describe-conversion-tasks", "--conversion-task-ids",
                                               *tasks)
        self.assertEqual(status, 0, said)
        self.assertEqual([t["ConversionTaskId"] for t in document["ConversionTasks"]], tasks)
        status, _, said = self.main.aws("describe-conversion-tasks", "--conversion-task-ids", unknown)
        self.assertEqual(status, 254)
        self.assertIn("(InvalidConversionTaskId)", said)
        self.assertIn(f": The conversion task ID '{unknown}' is not valid.", said)

    def test_row_22_a_hundred_ids(self):
        task = self.waiting()
        reply = self.main.describe(*[task] * 100)
        self.assertEqual(set(reply.ids()), {task}, reply.text[:300])

    def watch(self, seen):
        """Look at all these tasks again and again, until each has ended; what differed from the look
        before is added to the lists in seen."""
        def look():
            for item in self.main.describe(*seen).tasks():
                now = [item.findtext("{*}" + path) for path in (
                    "state", "statusMessage", "importVolume/{*}bytesConverted")]
                before = seen[item.findtext("{*}conversionTaskId")]
                if before[-1] != now:
                    before.append(now)
            return all(states[-1][0] != "active" for states in seen.values())
        service.wait_for(look)

    def assert_progress(self, seen, size):
        """States, messages and byte counts in the order of section 4.1."""
        counts = [int(count) for _, _, count in seen]
        self.assertEqual(counts, sorted(counts), seen)
        self.assertLessEqual(counts[-1], size)
        self.assertTrue([c for c in counts if 0 < c < size], seen)
        self.assertEqual([state for state, _, _ in seen], ["active"] * (len(seen) - 1) + ["completed"])
        words = [message for _, message, _ in seen]
        self.assertIsNone(words[-1])
        self.assertEqual(words[0], "Pending")
        begun = next(i for i, m in enumerate(words) if not m.startswith("Pending"))
        percents = [int(PROGRESS.fullmatch(m)[1]) for m in words[begun:-1]]
        self.assertEqual(percents, sorted(percents), seen)
        self.assertLessEqual(percents[-1], 100)

    def test_row_23_progress(self):
        raw = self.world.disk("random", 16)
        images = {"RAW": raw, "VMDK": contract.make_disk(self.world.path("d.vmdk"), "vmdk-stream", raw),
                  "VHD": contract.make_disk(self.world.path("d.vhd"), "vhd-dyn", raw)}
        seen, sizes = {}, {}
        for form, path in images.items():
            upload = self.world.upload(form, path, rate=5 << 20)
            reply = self.main.ask("ImportVolume", upload.parameters())
            task = self.task_of(reply)
            sizes[task] = form, upload.bytes
            seen[task] = [["active", reply["conversionTask/statusMessage"],
                           reply["conversionTask/importVolume/bytesConverted"]]]
        self.watch(seen)
        for task, (form, size) in sizes.items():
            with self.subTest(form):
                self.assert_progress(seen[task], size)
                self.assertEqual(int(seen[task][-1][2]), size)

    def test_row_24_completed(self):
        task = self.completed()
        shown, = self.describe(task)["ConversionTasks"]
        self.assertEqual(shown["State"], "completed")
        self.assertNotIn("StatusMessage", shown)
        volume = shown["ImportVolume"]["Volume"]
        self.assertRegex(volume["Id"], r"^vol-([0-9a-f]{8}|[0-9a-f]{17})$")
        self.assertEqual(volume["Size"], 1)
        self.assertEqual(shown["ImportVolume"]["BytesConverted"], self.world.open_upload().bytes)
        self.assertRegex(shown["ImportVolume"]["Image"]["Checksum"], r"^[0-9a-f]{32,128}$")
        self.assertIn(volume["Id"] + ".raw", self.world.volumes())
        status, document, said = self.main.aws("describe-conversion-tasks", "--conversion-task-ids",
                                               task)
        self.assertEqual((status, document), (0, {"ConversionTasks": [shown]}), said)

    def test_row_24_a_volume_has_no_id_before_it_is_there(self):
        task, upload = self.held("RAW", self.world.disk("random", 4), closed=2)
        self.assertNotIn("Id", self.describe(task)["ConversionTasks"][0]["ImportVolume"]["Volume"])
        upload.open()
        item = self.main.wait(task, "completed", "cancelled")
        self.assertTrue(item.findtext("{*}importVolume/{*}volume/{*}id"))

    def test_row_25_filters_of_old_versions(self):
        task = self.waiting()
        filters = {"Filter.1.Name": "state", "Filter.1.Value.1": "active", "Filter.1.Value.2": "x"}
        for version in contract.VERSIONS[1:]:
            for ids in ({}, {"ConversionTaskId.1": task}):
                reply = self.main.ask("DescribeConversionTasks", {**ids, **filters}, version=version)
                self.assertEqual(reply.status, 200, reply.text)
                self.assertIn(task, reply.ids())
        reply = self.main.ask("DescribeConversionTasks", filters)
        self.assertEqual(reply.refusal, (400, "UnknownParameter"))
        self.assertRegex(reply.message, r"^The parameter Filter\.1\.\S+ is not recognized$")


class Empty(contract.Case):
    def test_row_22_no_tasks(self):
        begun = time.monotonic()
        answer = self.ec2.describe_conversion_tasks()
        self.assertEqual(answer["ConversionTasks"], [])
        reply = self.main.describe()
        lists = reply.all("conversionTasks")
        self.assertEqual([(len(e), e.text) for e in lists], [(0, None)])
        self.assertIn("<conversionTasks/>", reply.text)
        self.assertEqual(self.main.aws("describe-conversion-tasks")[:2], (0, {"ConversionTasks": []}))
        self.assertLess(time.monotonic() - begun, 60)


if __name__ == "__main__":
    contract.main()
