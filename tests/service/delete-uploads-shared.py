"""Services on one PostgreSQL database: uploads are deleted by either of them, also those of one that died."""
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
os.environ["IMAGING_HASTE"] = "1000"
import faults  # noqa: E402
import service  # noqa: E402
from several import Several  # noqa: E402

IMPORTS = 6


class DeleteUploads(Several):
    def upload(self, scripts):
        bench = faults.Bench()
        self.addCleanup(bench.__exit__)
        return bench, bench.upload(scripts)

    def start(self, one, account, url, size):
        return self.good(one, account, {
            "Action": "ImportVolume", "Version": "2016-11-15", "AvailabilityZone": "standalone",
            "Image.Format": "RAW", "Image.Bytes": str(size), "Volume.Size": "1",
            "Image.ImportManifestUrl": url}).findtext(".//conversionTaskId")

    def test_by_either(self):
        several = self.several(config="delete-uploads = true\n")
        benches, ids = [], []
        for i in range(IMPORTS):
            bench, url = self.upload({})
            benches.append(bench)
            ids.append(self.start(several.services[i % 2], several.account, url, len(bench.bytes)))
        for id in ids:
            self.wait(several.services[0], several.account, id, "completed")
        for bench in benches:
            service.wait_for(lambda: os.listdir(bench.files) == ["log"])
        for id in ids:
            service.wait_for(lambda: any(f"{id}: the upload of disk 1 is deleted" in one.log_text()
                                         for one in several.services))

    def test_of_one_that_died(self):
        several = self.several(config="delete-uploads = true\n")
        several.stop(1)
        bench, url = self.upload({2: "DELETE:silent*1"})  # until the service is gone
        id = self.start(several.services[0], several.account, url, len(bench.bytes))
        service.wait_for(lambda: bench.requests("DELETE", "part2"))
        several.kill(0)
        several.start(1)
        service.wait_for(lambda: os.listdir(bench.files) == ["log"])
        service.wait_for(lambda: re.search(f"{id}: the upload of disk 1 is deleted",
                                           several.services[1].log_text()))


if __name__ == "__main__":
    unittest.main()
