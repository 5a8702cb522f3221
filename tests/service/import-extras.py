#!/usr/bin/python3
"""Client tokens, tags and filters of both imports."""
import concurrent.futures
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from tasks import NEW, OLD, Tasks  # noqa: E402

URL = "http://127.0.0.1:9/m"
VOLUME = {"Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
          "Image.Format": "RAW", "Image.Bytes": "4096", "Volume.Size": "1",
          "Image.ImportManifestUrl": URL}
INSTANCE = {"Action": "ImportInstance", "Version": NEW, "Platform": "Linux",
            "DiskImage.1.Image.Format": "RAW", "DiskImage.1.Image.Bytes": "4096",
            "DiskImage.1.Volume.Size": "1", "DiskImage.1.Image.ImportManifestUrl": URL}


def spec(kind, *tags):
    result = {"TagSpecification.1.ResourceType": kind}
    for i, (key, value) in enumerate(tags):
        result[f"TagSpecification.1.Tag.{i + 1}.Key"] = key
        result[f"TagSpecification.1.Tag.{i + 1}.Value"] = value
    return result


class Extras(Tasks):
    def id_of(self, parameters):
        return self.good(parameters).findtext("conversionTaskId")

    # -- client tokens

    def test_the_same_request_again_is_the_same_task(self):
        for base in (VOLUME, INSTANCE):
            with self.subTest(base["Action"]):
                first = self.good({**base, "ClientToken": "again"})
                id = first.findtext("conversionTaskId")
                count = len(self.tasks())
                turned = dict(reversed({**base, "ClientToken": "again"}.items()))
                self.assertEqual(self.id_of({**turned, "DryRun": "false"}), id)
                self.assertEqual(self.id_of({**turned, "Version": OLD, "Description": ""}), id)
                self.assertEqual(len(self.tasks()), count)
                self.cancel(id, "enough")
                again = self.good({**base, "ClientToken": "again"})
                self.assertEqual(again.findtext("conversionTaskId"), id)
                self.assertEqual((again.findtext("state"), again.findtext("statusMessage")),
                                 ("cancelled", "enough"))
                self.assertNotEqual(self.id_of({**base, "ClientToken": "Again"}), id)
                self.assertNotEqual(self.id_of(base), self.id_of(base))

    def test_another_request_with_the_token_is_refused(self):
        self.id_of({**VOLUME, "ClientToken": "mine"})
        for change in ({"Volume.Size": "2"}, {"Description": "x"}, {"Image.Bytes": "4097"},
                       spec("import-volume-task", ("a", "b"))):
            self.assert_refused(self.call({**VOLUME, "ClientToken": "mine", **change}), 400,
                                "IdempotentParameterMismatch", "same client token")
        self.id_of({**INSTANCE, "ClientToken": "mine"})  # of another action

    def test_tokens_have_a_length(self):
        self.id_of({**VOLUME, "ClientToken": "t" * 64})
        self.assert_refused(self.call({**VOLUME, "ClientToken": "t" * 65}), 400,
                            "InvalidParameterValue", "ClientToken")

    def test_racing_requests_make_one_task(self):
        count = len(self.tasks())
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(lambda _: self.id_of({**INSTANCE, "ClientToken": "race"}), range(24)))
        self.assertEqual(len(ids), 1)
        self.assertEqual(len(self.tasks()), count + 1)

    def test_tokens_live_as_long_as_the_task(self):
        id = self.id_of({**VOLUME, "ClientToken": "after a restart"})
        self.service.kill()
        self.restart()
        self.assertEqual(self.id_of({**VOLUME, "ClientToken": "after a restart"}), id)

    # -- tags

    def tags(self, id):
        return [(t.findtext("key"), t.findtext("value"))
                for t in self.look(id).findall("tagSet/item")]

    def test_tags_of_new_tasks(self):
        for base, kind in ((VOLUME, "import-volume-task"), (INSTANCE, "import-instance-task")):
            for name in (kind, "conversion-task"):
                task = self.good({**base, **spec(name, ("z", "1"), ("Name", "a & b"), ("e", ""))})
                id = task.findtext("conversionTaskId")
                self.assertEqual(self.tags(id), [("Name", "a & b"), ("e", ""), ("z", "1")])
                self.assertEqual(task[-1].tag, "tagSet")
                self.cancel(id)
            other = "import-volume-task" if base is INSTANCE else "import-instance-task"
            for wrong in (other, "instance", "import-image-task", ""):
                answer = self.call({**base, **spec(wrong, ("a", "b"))})
                self.assert_refused(answer, 400,
                                    "InvalidParameterValue" if wrong else "MissingParameter")
        self.assertEqual(self.look(self.id_of(VOLUME)).findall("tagSet"), [])

    def test_what_no_tag_can_be(self):
        id = self.id_of(VOLUME)
        good = [("k" * 127, "v" * 256), ("ü" * 127, "ü" * 256), ("a", "")]
        bad = [(("", "v"), "InvalidTagKey.Malformed"), (("k" * 128, "v"), "InvalidTagKey.Malformed"),
               (("aws:x", "v"), "InvalidTagKey.Malformed"), (("AWS:", "v"), "InvalidTagKey.Malformed"),
               (("k", "v" * 257), "InvalidParameterValue"), (("k", "ü" * 257), "InvalidParameterValue")]

        def create(*tags):
            return self.call({"Action": "CreateTags", "Version": NEW, "ResourceId.1": id,
                              **{f"Tag.{i + 1}.{name}": tag[n] for i, tag in enumerate(tags)
                                 for n, name in enumerate(("Key", "Value"))}})

        for tag, code in bad:
            self.assert_refused(create(tag), 400, code)
            self.assert_refused(self.call({**VOLUME, **spec("import-volume-task", tag)}), 400, code)
        self.assert_refused(create(("a", "1"), ("a", "2")), 400, "InvalidParameterValue", "Duplicate")
        self.assert_refused(self.call({"Action": "CreateTags", "Version": NEW, "ResourceId.1": id,
                                       "Tag.1.Value": "v"}), 400, "MissingParameter", "Tag.1.Key")
        self.assertEqual(self.tags(id), [])
        many = [(f"k{i}", "v") for i in range(51)]
        self.assert_refused(create(*many), 400, "TagLimitExceeded", "51")
        self.assertEqual(create(*many[:50]).status, 200)
        self.assertEqual(create(*many[:50]).status, 200)
        self.assert_refused(create(many[50]), 400, "TagLimitExceeded", "50")
        self.delete_tags(id)
        for tag in good:
            self.assertEqual(create(tag).status, 200)
        self.assertEqual(sorted(self.tags(id)), sorted(good))

    def delete_tags(self, id, **tags):
        answer = self.call({"Action": "DeleteTags", "Version": NEW, "ResourceId.1": id,
                            **{k.replace("_", "."): v for k, v in tags.items()}})
        self.assertIn("<return>true</return>", answer.text)

    def test_tags_come_and_go(self):
        ids = [self.id_of(VOLUME), self.id_of(INSTANCE)]
        answer = self.call({"Action": "CreateTags", "Version": OLD, "ResourceId.2": ids[0],
                            "ResourceId.9": ids[1], "Tag.1.Key": "a", "Tag.1.Value": "1",
                            "Tag.2.Key": "b", "Tag.3.Key": "c", "Tag.3.Value": "3"})
        self.assertIn("<return>true</return>", answer.text)
        for id in ids:
            self.assertEqual(self.tags(id), [("a", "1"), ("b", ""), ("c", "3")])
        self.delete_tags(ids[0], Tag_1_Key="a", Tag_1_Value="2")
        self.delete_tags(ids[0], Tag_1_Key="c", Tag_1_Value="")
        self.assertEqual(len(self.tags(ids[0])), 3)
        self.delete_tags(ids[0], Tag_1_Key="a", Tag_2_Key="b", Tag_2_Value="", Tag_3_Key="x")
        self.assertEqual(self.tags(ids[0]), [("c", "3")])
        self.assertEqual(len(self.tags(ids[1])), 3)
        for action in ("CreateTags", "DeleteTags"):
            base = {"Action": action, "Version": NEW, "Tag.1.Key": "n", "Tag.1.Value": "v"}
            self.assert_refused(self.call({**base, "ResourceId.1": "import-vol-00000000"}), 400,
                                "InvalidConversionTaskId")
            self.assert_refused(self.call({**base, "ResourceId.1": "i-1"}), 400,
                                "InvalidConversionTaskId.Malformed")
            self.assert_refused(self.call(base), 400, "MissingParameter", "ResourceId")
            self.assert_refused(self.call({**base, "ResourceId.1": ids[0], "DryRun": "true"}), 412,
                                "DryRunOperation")
        self.assert_refused(self.call({"Action": "CreateTags", "Version": NEW,
                                       "ResourceId.1": ids[0]}), 400, "MissingParameter", "Tag")
        self.assertEqual(self.tags(ids[0]), [("c", "3")])

    # -- filters

    def test_filters(self):
        a = self.id_of({**VOLUME, **spec("import-volume-task", ("Name", "web*1"))})
        b = self.id_of({**VOLUME, **spec("import-volume-task", ("Name", "web 2"), ("x", "y"))})
        c = self.id_of(INSTANCE)
        self.cancel(b)
        instance = self.look(c).findtext("importInstance/instanceId")

        def found(*filters, version=OLD, **more):
            parameters = {"Action": "DescribeConversionTasks", "Version": version, **more}
            for i, (name, *values) in enumerate(filters):
                parameters[f"Filter.{i + 1}.Name"] = name
                parameters.update({f"Filter.{i + 1}.Value.{k + 1}": v
                                   for k, v in enumerate(values)})
            answer = self.call(parameters)
            self.assert_accepted(answer)
            ids = {t.findtext("conversionTaskId")
                   for t in self.tree(answer).findall("conversionTasks/item")}
            return ids & {a, b, c}

        self.assertEqual(found(), {a, b, c})
        self.assertEqual(found(("state", "active")), {a, c})
        self.assertEqual(found(("state", "Active")), set())
        self.assertEqual(found(("state", "cancelled", "active")), {a, b, c})
        self.assertEqual(found(("state", "act?ve"), ("tag-key", "Na*")), {a})
        self.assertEqual(found(("conversion-task-id", a, c)), {a, c})
        self.assertEqual(found(("conversion-task-id", "import-i-*")) - {a, b}, {c})
        self.assertEqual(found(("tag:Name", "web*")), {a, b})
        self.assertEqual(found(("tag:Name", "web\\*1")), {a})
        self.assertEqual(found(("tag:Name", "web??")), {a, b})
        self.assertEqual(found(("tag:x", "*y*"), ("tag:Name", "*")), {b})
        self.assertEqual(found(("instance-id", instance)), {c})
        self.assertEqual(found(("availability-zone", "standalone")), {a, b})
        self.assertEqual(found(("volume-id", "*")), set())
        self.assertEqual(found(("state", "active"), **{"ConversionTaskId.1": b}), set())
        base = {"Action": "DescribeConversionTasks", "Version": OLD}
        self.assert_refused(self.call({**base, "Filter.1.Name": "fish", "Filter.1.Value.1": "x"}),
                            400, "InvalidParameterValue", "The filter 'fish' is invalid")
        self.assert_refused(self.call({**base, "Filter.1.Value.1": "x"}), 400, "MissingParameter")
        self.assert_refused(
            self.call({**base, "Filter.1.Name": "state",
                       **{f"Filter.1.Value.{i}": "x" for i in range(1, 202)}}),
            400, "FilterLimitExceeded", "201")
        self.assert_refused(self.call({**base, "Version": NEW, "Filter.1.Name": "state",
                                       "Filter.1.Value.1": "active"}), 400, "UnknownParameter")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
