import base64
import json
import unittest
from pathlib import Path

import hooktrail

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "signatures.json").read_text(encoding="utf-8"))


def body(vector):
    return base64.b64decode(vector["body_base64"]) if "body_base64" in vector else vector["body"]


class SigningTest(unittest.TestCase):
    def test_vectors(self):
        for group in ("signed", "accepted", "refused"):
            self.assertTrue(VECTORS[group])
        for vector in VECTORS["signed"]:
            with self.subTest(vector["name"]):
                self.assertEqual(vector["signature"], hooktrail.sign(body(vector), vector["secret"]))
        for valid, vectors in ((True, VECTORS["signed"] + VECTORS["accepted"]), (False, VECTORS["refused"])):
            for vector in vectors:
                with self.subTest(vector["name"]):
                    self.assertIs(valid, hooktrail.verify(body(vector), vector["signature"], vector["secret"]))

    def test_text_and_bytes_are_the_same(self):
        signature = hooktrail.sign("Grüße", "sésame")
        self.assertEqual(signature, hooktrail.sign("Grüße".encode(), "sésame".encode()))
        self.assertTrue(hooktrail.verify("Grüße".encode(), f" {signature}\t", "sésame"))

    def test_a_header_that_is_absent_is_no_signature(self):
        self.assertFalse(hooktrail.verify(b"{}", None, "a secret"))

    def test_an_empty_secret_is_refused(self):
        with self.assertRaises(ValueError):
            hooktrail.sign("{}", "")
        with self.assertRaises(ValueError):
            hooktrail.verify("{}", hooktrail.sign("{}", "x"), "")


if __name__ == "__main__":
    unittest.main()
