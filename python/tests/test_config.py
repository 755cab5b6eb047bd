import os
import stat
import tempfile
import unittest
from unittest import mock

from sluice import config, connection, ephemeral, logs
from sluice.errors import ConfigurationError


class Settings(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = folder.name
        self.environment({"SLUICE_HOME": self.home})
        self.addCleanup(connection.reset)

    def environment(self, values):
        patch = mock.patch.dict(os.environ, values, clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        config.reset()

    def profiles(self, text):
        with open(os.path.join(self.home, "profiles.toml"), "w", encoding="utf-8") as file:
            file.write(text)
        config.reset()

    def test_the_active_profile_is_used_and_the_environment_wins(self):
        self.profiles(
            'active = "work" # which\n\n[profiles.default]\nSLUICE_API_URL = "http://a/api"\n'
            "[profiles.work]\nSLUICE_API_URL = \"http://b/api, http://c/api/\"  # two\nOTHER = 'sing\"le'\nESCAPED = \"a\\\"b\\u00e4\"\n"
        )
        self.assertEqual(config.api_addresses(), ["http://b/api", "http://c/api"])
        self.assertEqual((config.get("OTHER"), config.get("ESCAPED"), config.get("MISSING", "x")), ('sing"le', 'a"bä', "x"))
        self.environment({"SLUICE_HOME": self.home, "SLUICE_API_URL": "http://e/api"})
        self.assertEqual(config.api_addresses(), ["http://e/api"])

    def test_the_log_level_of_the_profile_counts_and_the_environment_wins(self):
        self.profiles('active = "default"\n[profiles.default]\nSLUICE_LOGGING_LEVEL = "ERROR"\n')
        self.assertEqual(logs._threshold(), logs.ERROR)
        self.environment({"SLUICE_HOME": self.home, "SLUICE_LOGGING_LEVEL": "DEBUG"})
        self.assertEqual(logs._threshold(), logs.DEBUG)
        self.environment({"SLUICE_HOME": self.home, "SLUICE_LOGGING_LEVEL": "loud"})
        self.assertEqual(logs._threshold(), logs.INFO)

    def test_the_address_of_a_server_alone_gets_the_path_of_the_api(self):
        self.environment({"SLUICE_HOME": self.home, "SLUICE_API_URL": "http://a:1, https://b/,http://c/api/,http://d/prefix/api"})
        self.assertEqual(config.api_addresses(), ["http://a:1/api", "https://b/api", "http://c/api", "http://d/prefix/api"])

    def test_no_profile_means_nothing_is_configured(self):
        self.assertEqual(config.api_addresses(), [])

    def test_a_malformed_line_is_named(self):
        for text in ('active = "x"\nnonsense\n', 'active = "x"\nKEY = value\n', 'active = "x"\n[profiles.x\n', 'active = "x"\nK = "a" b\n'):
            self.profiles(text)
            with self.subTest(text), self.assertRaisesRegex(ConfigurationError, r"profiles\.toml:2"):
                config.get("KEY")

    def binary(self, body):
        path = os.path.join(self.home, "sluice")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + body)
        os.chmod(path, stat.S_IRWXU)
        self.environment({"SLUICE_HOME": self.home, "SLUICE_BINARY": path, "PATH": os.defpath})
        return path

    def test_an_ephemeral_server_is_started_and_its_address_read(self):
        self.binary('echo "$@" > "$SLUICE_HOME/args"\necho \'{"api_url":"http://127.0.0.1:9/api","pid":1,"started":true}\'\n')
        self.assertEqual(ephemeral.start(), "http://127.0.0.1:9/api")
        with open(os.path.join(self.home, "args"), encoding="utf-8") as file:
            self.assertEqual(file.read().split(), ["server", "start", "--ephemeral"])

    def test_a_server_that_does_not_start_is_an_error_with_its_log(self):
        self.binary("echo broken >&2\nexit 3\n")
        with self.assertRaisesRegex(ConfigurationError, r"exit status 3.*ephemeral\.log"):
            ephemeral.start()
        with open(os.path.join(self.home, "ephemeral.log"), encoding="utf-8") as file:
            self.assertIn("broken", file.read())

    def test_a_missing_binary_is_an_error_with_what_to_do(self):
        self.environment({"SLUICE_HOME": self.home, "PATH": self.home})
        with self.assertRaisesRegex(ConfigurationError, "no `sluice` binary.*sluice config set SLUICE_API_URL"):
            ephemeral.find_binary()
        self.environment({"SLUICE_HOME": self.home, "SLUICE_BINARY": "/no/such/file"})
        with self.assertRaisesRegex(ConfigurationError, "SLUICE_BINARY"):
            connection.client()
