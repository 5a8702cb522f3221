#!/usr/bin/python3
"""The configuration file: what it sets, what wins over it, and how a mistake is told."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402

PROGRAM = os.environ.get("IMAGING_SERVICE") or service.built("imaging-service/imaging-service")
EXAMPLE = os.path.join(service.TOP, "init", "imaging-service.conf.example")
CLUSTER_EXAMPLE = os.path.join(service.TOP, "init", "imaging-service-cluster.conf.example")
CLUSTER = """database = "postgresql://u@db1,db2:5433/n?sslmode=require"
volumes-directory = "/srv/v"
scratch-directory = "/var/tmp/s"
state-directory = "/srv/s"
master-key = "/etc/k"
"""


class Conf(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="conf.")
        self.addCleanup(directory.cleanup)
        self.file = os.path.join(directory.name, "c")
        self.program = PROGRAM

    def run_program(self, *arguments, text=None):
        if text is not None:
            with open(self.file, "wb") as file:
                file.write(text if isinstance(text, bytes) else text.encode())
            os.chmod(self.file, 0o600)
            arguments = ("--config", self.file, *arguments)
        return subprocess.run([self.program, *arguments], stdin=subprocess.DEVNULL, check=False,
                              capture_output=True, text=True, timeout=60)

    def shown(self, text="", *arguments):
        """The settings in force: name, or section.name, and value as it is shown."""
        result = self.run_program("--check-config", *arguments, text=text)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        settings, section = {}, ""
        for line in result.stdout.splitlines():
            if line.endswith("{"):
                section = line[:-1].strip() + "."
            elif line == "}":
                section = ""
            elif not line.startswith("#"):
                name, value = line.strip().split(" = ", 1)
                settings[section + name] = value
        return settings, result.stdout

    def refused(self, text, *words):
        for check in (["--check-config"], ["--standalone", self.file + ".d"]):
            result = self.run_program(*check, text=text)
            self.assertEqual((result.returncode, result.stdout), (2, ""), text)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
            for word in words:
                self.assertIn(word, result.stderr)
        self.assertFalse(os.path.exists(self.file + ".d"))

    def cluster_refused(self, text, *words):
        for arguments in (["--check-config"], []):
            result = self.run_program(*arguments, text=text)
            self.assertEqual((result.returncode, result.stdout), (2, ""), text)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
            for word in words:
                self.assertIn(word, result.stderr)

    def test_defaults(self):
        settings, _ = self.shown()
        for name, value in (("listen", '"127.0.0.1:8773"'), ("workers", "2"),
                            ("zones", '{"standalone"}'), ("max-active-tasks", "20"),
                            ("max-volume-gib", "16384"), ("manifest-schemes", '{"http", "https"}'),
                            ("manifest-hosts", "{}"), ("manifest-networks", "{}"), ("launcher", '"none"'),
                            ("limits.idle-seconds", "30"), ("scratch-reserve", "64"),
                            ("limits.stop-delay-seconds", "0")):
            self.assertEqual(settings[name], value, name)
        self.assertNotIn("status-listen", settings)
        self.assertNotIn("tls.certificate", settings)
        without_file = self.run_program("--check-config")
        self.assertEqual(without_file.stdout, self.shown()[1])

    def test_everything_can_be_set_and_read_back(self):
        text = """# a comment
standalone = "/srv/imaging"
listen = "[::1]:80"   // another
status-listen = "[::1]:8774"
scratch-reserve = 4096
public-host = imaging.example.com
toolkit = "/usr/bin/imaging-toolkit"
workers = 64
zones = {"east", "west-1"}
max-active-tasks = 1
max-volume-gib = 65536
unconfined = true
delete-uploads = true
manifest-schemes = https
manifest-hosts = {"s3.example.com", "*.example.org:8080", "[::1]", "*:443"}
manifest-networks = {"10.1.0.0/16", "fd00::1"}
launcher = ec2
launcher-command = "/usr/lib/launch it \\"now\\" \\${HOME}"
launcher-endpoint = "https://ec2.example.com/"
launcher-credentials = "/etc/imaging/ec2"
launcher-region = eu-west-1
limits { connections = 100
         connections-per-address = 0
         idle-seconds = 5
         request-seconds = 6
         stop-delay-seconds = 7
         stop-seconds = 0 }
rate "*" { requests-per-second = 100 }
rate "ImportVolume" { requests-per-second = 3  burst = 7 }
"""
        settings, printed = self.shown(text)
        for name, value in (("standalone", '"/srv/imaging"'), ("listen", '"[::1]:80"'),
                            ("status-listen", '"[::1]:8774"'), ("scratch-reserve", "4096"),
                            ("limits.stop-delay-seconds", "7"),
                            ("public-host", '"imaging.example.com"'), ("workers", "64"),
                            ("zones", '{"east", "west-1"}'), ("manifest-schemes", '{"https"}'),
                            ("manifest-hosts", '{"s3.example.com", "*.example.org:8080", "[::1]", "*:443"}'),
                            ("manifest-networks", '{"10.1.0.0/16", "fd00::1"}'),
                            ("launcher-command", '"/usr/lib/launch it \\"now\\" \\${HOME}"'),
                            ("limits.connections-per-address", "0"), ("limits.stop-seconds", "0"),
                            ('rate "*".requests-per-second', "100"),
                            ('rate "ImportVolume".burst', "7")):
            self.assertEqual(settings[name], value, name)
        self.assertEqual(self.shown(printed)[1], printed)

    def test_options_win(self):
        text = ('listen = "127.0.0.1:1"\nworkers = 3\ntoolkit = "/a"\nstandalone = "/b"\n'
                'status-listen = "127.0.0.1:3"\n')
        settings, _ = self.shown(text, "--listen", "127.0.0.2:2", "--workers", "4", "--toolkit", "/c",
                                 "--standalone", "/d", "--status-listen", "127.0.0.2:4")
        self.assertEqual([settings[name] for name in ("listen", "workers", "toolkit", "standalone",
                                                      "status-listen")],
                         ['"127.0.0.2:2"', "4", '"/c"', '"/d"', '"127.0.0.2:4"'])

    def test_the_master_key_that_systemd_hands_over(self):
        directory = os.path.dirname(self.file)
        key = os.path.join(directory, "master.key")
        with mock.patch.dict(os.environ, CREDENTIALS_DIRECTORY=directory):
            self.assertNotIn("master-key", self.shown()[0])  # there is none
            shutil.copy("/dev/null", key)
            for arguments, shown in (((), key), (('master-key = "/a"',), "/a"), (("", "--master-key", "/b"), "/b")):
                self.assertEqual(self.shown(*arguments)[0]["master-key"], f'"{shown}"')
        with mock.patch.dict(os.environ, CREDENTIALS_DIRECTORY=os.path.relpath(directory)):
            self.assertNotIn("master-key", self.shown()[0])

    def test_the_toolkit_is_looked_for_beside_the_program(self):
        directory = os.path.realpath(os.path.dirname(self.file))
        self.program = shutil.copy(PROGRAM, directory)
        self.assertEqual(self.shown()[0]["toolkit"], '"imaging-toolkit"')  # on the search path
        for place in "imaging-toolkit", "../imaging-toolkit/imaging-toolkit":
            place = os.path.join(directory, "below", place)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copy("/bin/true", place)
            self.program = shutil.copy(PROGRAM, os.path.join(directory, "below"))
            self.assertEqual(self.shown()[0]["toolkit"], f'"{place}"')

    def test_a_current_directory_that_is_gone(self):
        for there, status in ("true", 0), ("rmdir $PWD", 2):
            result = subprocess.run(["sh", "-c", f'mkdir "$1" && cd "$1" && {there} && exec "$2" --check-config '
                                     '--standalone here', "sh", self.file + there[:1], self.program],
                                    check=False, capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertIn("cannot tell the current directory" if status else "", result.stderr)

    def test_mistakes_are_told_with_line_value_and_what_is_allowed(self):
        for text, words in (
                ("fish = 3", (":1: no such option 'fish'", "zones")),
                ("\n\nlimits { fish = 3 }", (":3: no such option 'fish'", "idle-seconds")),
                ("limit { idle-seconds = 3 }", (":1: no such option 'limit'", "limits")),
                ("\nworkers = 0", (":2: workers wants", "from 1 to 64", "'0'")),
                ("workers = 65", ("from 1 to 64", "'65'")), ("workers = -1", ("'-1'",)),
                ("workers = 0x10", ("'0x10'",)), ("workers = \"\"", ("not ''",)),
                ("workers = two", (":1: ", "'two'")), ("workers = {1}", (":1: ",)),
                ("max-volume-gib = 18446744073709551616", ("'18446744073709551616'",)),
                ("limits {\n connections = 0\n}", (":2: limits: connections wants", "1 to 65536")),
                ("zones = {}", ("zones wants from 1 to 64",)),
                ("zones = {\"a\",\n\"b c\"}", (":2: zones wants", "'b c'")),
                ("zones = {" + ",".join(f"z{i}" for i in range(65)) + "}", ("given 65",)),
                ("manifest-schemes = {http, ftp}", ("http and https", "'ftp'")),
                ("manifest-hosts = {\"http://s3/\"}", ("*.example.com", "'http://s3/'")),
                ("manifest-hosts = {\"a.*.com\"}", ("'a.*.com'",)),
                ("manifest-hosts = {\"s3:0\"}", ("'s3:0'",)),
                ("manifest-hosts = {\"*:0\"}", ("'*:0'",)),
                ("manifest-hosts = {\"*a\"}", ("'*a'",)),
                ("manifest-networks = {\"10.1.2.3/16\"}", ("10.1.0.0/16", "'10.1.2.3/16'")),
                ("manifest-networks = {\"s3.example.com\"}", ("'s3.example.com'",)),
                ("listen = 8773", ("ADDR:PORT", "'8773'")),
                ("listen = \"127.0.0.1:65536\"", ("0 to 65535",)),
                ("listen = \":80\"", ("ADDR:PORT", "':80'")),
                ("status-listen = \"localhost\"", ("status-listen wants ADDR:PORT", "'localhost'")),
                ("scratch-reserve = 1g", ("scratch-reserve wants", "'1g'")),
                ("public-host = \"a:80\"", ("'a:80'",)),
                ("standalone = here", ("absolute path", "'here'")),
                ("toolkit = \"/a\\x01\"", ("absolute path", "'/a?'")),
                ("tls { certificate = \"/c\" }", ("both certificate and key",)),
                ("tls {}", ("both certificate and key",)),
                ("tls { certificate = c\nkey = k }", (":1: tls: certificate", "'c'")),
                ("launcher = fish", ("none, command or ec2", "'fish'")),
                ("launcher = command", ("launcher-command",)),
                ("launcher = ec2", ("launcher-endpoint",)),
                ("launcher-endpoint = \"ftp://x\"", ("http or https", "'ftp://x'")),
                ("rate { burst = 1 }", (":1: ", "rate")),
                ("rate \"*\" { burst = 1000001 }", ("0 to 1000000",)),
                ("rate \"a b\" { burst = 1 }", ("name of an action", "'a b'")),
                ("\nrate \"Fly\" { burst = 1 }", ("\"Fly\"", "no such action")),
                ("rate \"*\" {}\nrate \"*\" {}", (":2: ", "'*'")),
                ("workers", (":1: ",)), ("workers = ", (":1: ",)), ("workers = \"3", (":1: ",)),
                ("workers = 3 }", (":1: ",)), ("include(\"/x\")", (":1: ",)),
                (b"workers = 3\n\0fish = 4", ("NUL",)), (b"\xff\xfe = \x01", (":1: ",))):
            self.refused(text, *words)
        missing = self.run_program("--check-config", "--config", "/nonexistent/c")
        self.assertEqual(missing.returncode, 2)
        self.assertIn("/nonexistent/c", missing.stderr)

    def test_services_that_share_a_database(self):
        settings, printed = self.shown(CLUSTER + 'instance-name = "a:1"\nconversions = 9\n'
                                       'zones = {a, b}\nzone "b" { conversions = 3 }\n')
        for name, value in (("database", '"postgresql://u@db1,db2:5433/n?sslmode=require"'),
                            ("volumes-directory", '"/srv/v"'), ("instance-name", '"a:1"'),
                            ("conversions", "9"), ("conversions-per-account", "0"),
                            ('zone "b".conversions', "3")):
            self.assertEqual(settings[name], value, name)
        self.assertEqual(self.shown(printed)[1], printed)

    def test_databases(self):
        for uri in ("postgresql://h", "postgres://h/n", "postgresql:///n?host=/run/postgresql&port=5433",
                    "postgresql://u@%2Frun%2Fpostgresql/n", "postgresql://u@[::1]:5432/n",
                    "postgresql://[::1]/n", "postgresql://h:1,h:2/n?passfile=/p"):
            settings, printed = self.shown(CLUSTER.replace(CLUSTER.split('"')[1], uri))
            self.assertEqual(settings["database"], f'"{uri}"')
            self.assertNotIn("is not shown", printed)

    def test_each_of_the_two_ways_wants_its_own_settings(self):
        for name in ("volumes-directory", "scratch-directory", "state-directory", "master-key"):
            text = "".join(line for line in CLUSTER.splitlines(keepends=True)
                           if not line.startswith(name))
            self.cluster_refused(text, name, "a service with a database wants")
        self.assertIn("database is missing",
                      self.run_program("--check-config", text=CLUSTER.split("\n", 1)[1]).stderr)
        self.cluster_refused(CLUSTER + "standalone = \"/x\"\n", "database is for services that share")
        self.refused('volumes-directory = "/x"\n', "volumes-directory is for services that share")
        self.assertIn("--standalone DIR is missing, or a --config FILE with a database",
                      self.run_program(text="workers = 3\n").stderr)

    def test_mistakes_of_services_that_share_a_database(self):
        for line, words in (
                ('instance-name = "a b"', (":6: instance-name wants", "'a b'")),
                (f'instance-name = "{"a" * 65}"', ("at most 64",)),
                ("conversions = 100001", ("0 to 100000",)),
                ('zone "a b" {conversions = 1}', (":6: zone wants the name of a zone", "'a b'")),
                ("".join('zone "z%d" {conversions = 1}\n' % i for i in range(65)),
                 (":70: there may be at most 64 sections zone",)),
                ('zone "other" {conversions = 1}', ('zone "other" is of no zone in zones',)),
                ('scratch-directory = "here"', ("an absolute path", "'here'"))):
            self.cluster_refused(CLUSTER + line, *words)

    def test_a_password_is_neither_told_nor_left_to_others(self):
        text = CLUSTER.replace("u@", "u:geheim@")
        _, printed = self.shown(text)
        self.assertIn("password of the database is not shown", printed)
        self.assertNotIn("geheim", printed)
        self.assertIn('"postgresql://u@db1,', printed)
        for mode in (0o644, 0o604, 0o620, 0o660):
            os.chmod(self.file, mode)
            result = self.run_program("--check-config", "--config", self.file)
            self.assertEqual((result.returncode, result.stdout), (2, ""), oct(mode))
            self.assertIn(f"mode {mode:04o}", result.stderr)
        os.chmod(self.file, 0o440)
        self.assertEqual(self.run_program("--check-config", "--config", self.file).returncode, 0)
        for uri in ("postgresql:/u:geheim@h/n", "mysql://u:geheim@h/n", "postgresql://u:geheim@x@h/n",
                    "postgresql://u:geheim/@h/n", "postgresql://h/n?a=b&password=geheim",
                    "postgresql://h/n?sslpassword=geheim", "postgresql://h/n?p%61ssword=geheim",
                    "postgresql://h/geheim n", "geheim"):
            result = self.run_program("--check-config", text=f'database = "{uri}"\n')
            self.assertEqual(result.returncode, 2, uri)
            self.assertIn(":1: database wants a URI like", result.stderr)
            self.assertNotIn("geheim", result.stderr)

    def test_check_config_looks_at_the_certificate(self):
        text = 'tls { certificate = "/nonexistent/c"\nkey = "/nonexistent/k" }\n'
        result = self.run_program("--check-config", text=text)
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertIn("/nonexistent/k", result.stderr)

    def test_the_example_holds(self):
        """As it stands it sets the defaults; what it shows besides can be switched on."""
        with open(EXAMPLE, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(self.shown(text)[1], self.shown()[1])
        enabled = [line[1:] if line.startswith("#") and line[1:2] not in (" ", "\n") else line
                   for line in text.splitlines(keepends=True)]
        result = self.run_program("--check-config", text="".join(enabled))
        # its certificate does not exist here, and all the rest is right
        self.assertEqual(result.returncode, 2)
        self.assertIn("/etc/imaging-service/key.pem", result.stderr)
        settings, _ = self.shown("".join(line for line in enabled if not line.startswith("tls {")))
        self.assertEqual(settings["zones"], '{"zone-a", "zone-b"}')
        self.assertEqual(settings['rate "ImportVolume".burst'], "20")

    def test_the_example_of_several_services_holds(self):
        with open(CLUSTER_EXAMPLE, encoding="utf-8") as file:
            text = file.read()
        self.shown(text)
        settings, _ = self.shown(re.sub("^#(?=[a-z])", "", text, flags=re.M))
        self.assertEqual(settings["instance-name"], '"imaging-1"')
        self.assertEqual(settings['zone "zone-a".conversions'], "4")

    def test_a_service_started_with_it(self):
        with service.Service(config='zones = {"east", "west"}\npublic-host = "localhost"\n'
                             'instance-name = "a:1"\n') as s:
            self.assertEqual(s.env["EC2_AVAILABILITY_ZONE"], "east")
            self.assertRegex(s.env["S3_URL"], r"^http://localhost:\d+/objects/$")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
