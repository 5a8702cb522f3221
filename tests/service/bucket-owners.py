#!/usr/bin/python3
"""Buckets belong to the account that made them: nobody else lists, reads, writes or presigns, and the
owner's presigned URLs serve whoever holds them."""
import os
import sys
import unittest
import urllib.parse

import boto3
import botocore.config
import botocore.exceptions

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402


class Owners(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = service.Service()
        cls.addClassCleanup(cls.service.stop)
        env = cls.service.env
        cls.host = urllib.parse.urlsplit(env["S3_URL"]).netloc
        cls.alice, cls.bob = cls.client(cls.service.account("add")), cls.client(
            cls.service.account("add"))
        cls.first = cls.client({"access_key": env["AWS_ACCESS_KEY_ID"],
                                "secret_key": env["AWS_SECRET_ACCESS_KEY"]})
        cls.alice.create_bucket(Bucket="hers")
        cls.alice.put_object(Bucket="hers", Key="k", Body=b"secret")

    @classmethod
    def client(cls, keys, signature="s3v4"):
        return boto3.client(
            "s3", endpoint_url=cls.service.env["S3_URL"], region_name="us-east-1",
            aws_access_key_id=keys["access_key"], aws_secret_access_key=keys["secret_key"],
            config=botocore.config.Config(signature_version=signature, retries={"max_attempts": 0},
                                          s3={"addressing_style": "path"}))

    def refused(self, code, status, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**arguments)
        answer = caught.exception.response
        self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]),
                         (code, status))

    def fetch(self, client, operation="get_object", method="GET", body=None):
        url = urllib.parse.urlsplit(client.generate_presigned_url(
            operation, {"Bucket": "hers", "Key": "k"}))
        return sign.send(self.host, method, url.path + "?" + url.query, body=body)

    def test_others_are_kept_out(self):
        for other in (self.bob, self.first):
            for call, more in ((other.list_objects, {}), (other.list_objects_v2, {}),
                               (other.get_object, {"Key": "k"}), (other.get_object, {"Key": "none"}),
                               (other.put_object, {"Key": "k", "Body": b"x"}),
                               (other.delete_object, {"Key": "k"})):
                self.refused("AccessDenied", 403, call, Bucket="hers", **more)
            self.refused("403", 403, other.head_bucket, Bucket="hers")
            self.refused("403", 403, other.head_object, Bucket="hers", Key="k")
            self.refused("NoSuchBucket", 404, other.list_objects, Bucket="nobodys")
        self.assertEqual(self.alice.get_object(Bucket="hers", Key="k")["Body"].read(), b"secret")

    def test_presigned_urls(self):
        self.assertEqual(self.fetch(self.alice).body, b"secret")
        for client in (self.bob, self.first):
            for operation, method, body in (("get_object", "GET", None), ("put_object", "PUT", b"x"),
                                            ("delete_object", "DELETE", None),
                                            ("head_object", "HEAD", None)):
                self.assertEqual(self.fetch(client, operation, method, body).status, 403)
        self.assertEqual(self.fetch(self.alice, "put_object", "PUT", b"secret").status, 200)

    def test_listings_show_ones_own(self):
        self.bob.create_bucket(Bucket="his")
        self.first.create_bucket(Bucket="old")

        def names(client):
            return {row["Name"] for row in client.list_buckets()["Buckets"]}
        self.assertEqual((names(self.alice), names(self.bob), names(self.first)),
                         ({"hers"}, {"his"}, {"old"}))

    def test_a_name_is_taken_once(self):
        self.alice.create_bucket(Bucket="hers")  # hers already
        self.refused("BucketAlreadyExists", 409, self.bob.create_bucket, Bucket="hers")
        self.refused("BucketAlreadyExists", 409, self.first.create_bucket, Bucket="hers")
        self.assertEqual(self.alice.get_object(Bucket="hers", Key="k")["Body"].read(), b"secret")

    def test_buckets_of_before_are_the_first_accounts(self):
        os.mkdir(os.path.join(self.service.dir, "objects", "ancient"))
        self.first.put_object(Bucket="ancient", Key="k", Body=b"x")
        self.refused("AccessDenied", 403, self.bob.list_objects, Bucket="ancient")
        self.refused("BucketAlreadyExists", 409, self.bob.create_bucket, Bucket="ancient")
        self.first.create_bucket(Bucket="ancient")
        os.rename(os.path.join(self.service.dir, "objects", "ancient"),
                  os.path.join(self.service.tmp, "ancient"))


if __name__ == "__main__":
    unittest.main(warnings="ignore", verbosity=2)
