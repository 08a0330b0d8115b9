import asyncio
import inspect
import io
import json
import os
import pprint
import random
import ssl
import sys
import threading
import time
import traceback
import unittest
from datetime import datetime, timedelta, timezone
from unittest import mock

import hooktrail
from hooktrail import AsyncHooktrail, Hooktrail
from server import Server, answer, close, data, error

KEY = "htk_a-key-that-nobody-may-see"
TOKEN = "wht_a-token-that-nobody-may-see"
SECRET = "a-secret-that-nobody-may-see"
PATIENCE = 10


async def give(result):
    """The result of a method of either client."""
    return await result if inspect.isawaitable(result) else result


async def entries(iterator, most=None):
    found = []
    if hasattr(iterator, "__anext__"):
        async for entry in iterator:
            found.append(entry)
            if len(found) == most:
                break
    else:
        for entry in iterator:
            found.append(entry)
            if len(found) == most:
                break
    return found


async def following(iterator):
    return await iterator.__anext__() if hasattr(iterator, "__anext__") else next(iterator)


class Cases:
    """What holds for both clients."""

    kind = None

    def setUp(self):
        self.pauses = []

        def note(seconds):
            self.pauses.append(seconds)

        async def note_too(seconds):
            self.pauses.append(seconds)

        for module, stand_in in (
            (sys.modules["hooktrail._client"], note),
            (sys.modules["hooktrail._async_client"], note_too),
        ):
            patch = mock.patch.object(module, "sleep", stand_in)
            patch.start()
            self.addCleanup(patch.stop)
        for name in ("HOOKTRAIL_API_KEY", "HOOKTRAIL_URL"):
            os.environ.pop(name, None)

    def serve(self, *answers, **options):
        server = Server(*answers, **options)
        self.addCleanup(server.stop)
        return server

    async def client(self, server, **options):
        made = self.kind(**{"api_key": KEY, "base_url": getattr(server, "url", server), "timeout": PATIENCE, **options})

        async def end():
            await give(made.close())

        self.addAsyncCleanup(end)
        return made

    # Requests.

    async def test_a_request_carries_the_key_and_what_was_given(self):
        server = self.serve(data([]), data({}), data({}), data({}))
        client = await self.client(server.url + "/behind/a/prefix/")
        since = datetime(2026, 1, 31, 13, 0, tzinfo=timezone(timedelta(hours=1)))
        await give(client.executions.list(status="failed", since=since, session_id="a b&c=d", limit=5))
        await give(client.agents.create(name="Grüße", runner={"kind": "echo"}, max_concurrency=0, input_schema=None))
        await give(client.executions.retry("some id?"))
        await give(client.webhook_triggers.update("t", is_active=False, options={"rate_limit": None}, if_version=3))
        listed, created, retried, updated = server.requests
        self.assertEqual("GET", listed.method)
        self.assertEqual(
            "/behind/a/prefix/api/v1/executions?session_id=a+b%26c%3Dd&status=failed&since=2026-01-31T12%3A00%3A00Z&limit=5",
            listed.target,
        )
        self.assertEqual(KEY, listed.headers["x-api-key"])
        self.assertEqual("application/json", listed.headers["accept"])
        self.assertRegex(listed.headers["user-agent"], r"^hooktrail-python/\d")
        self.assertEqual(server.url.split("//")[1], listed.headers["host"])
        self.assertNotIn("content-length", listed.headers)
        self.assertEqual(
            {"name": "Grüße", "runner": {"kind": "echo"}, "max_concurrency": 0, "input_schema": None}, created.json
        )
        self.assertEqual("application/json", created.headers["content-type"])
        self.assertEqual(
            ("POST", "/behind/a/prefix/api/v1/executions/some%20id%3F/retry", "0"),
            (retried.method, retried.target, retried.headers["content-length"]),
        )
        self.assertEqual(
            ("PATCH", '"3"', {"is_active": False, "options": {"rate_limit": None}}),
            (updated.method, updated.headers["if-match"], updated.json),
        )

    async def test_a_call_is_signed_over_the_bytes_that_are_sent(self):
        server = self.serve(*[answer(202, {"data": {"id": "e", "status": "pending"}})] * 2)
        client = await self.client(server, api_key=None)  # a sender has none
        await give(
            client.fire(
                TOKEN,
                {"text": "Grüße \ud83d", "at": datetime(2026, 1, 31, tzinfo=timezone.utc)},
                secret=SECRET,
                idempotency_key="k-1",
                wait=7,
            )
        )
        await give(client.fire(TOKEN, b'{"exact":  "bytes"}', secret=SECRET.encode()))
        first, second = server.requests
        self.assertEqual(("POST", "/api/v1/webhook/trigger"), (first.method, first.target))
        self.assertEqual({"text": "Grüße \ud83d", "at": "2026-01-31T00:00:00Z"}, first.json)
        self.assertEqual(b'{"exact":  "bytes"}', second.body)
        for request in server.requests:
            self.assertEqual("Bearer " + TOKEN, request.headers["authorization"])
            self.assertTrue(hooktrail.verify(request.body, request.headers["x-webhook-signature"], SECRET))
            self.assertNotIn("x-api-key", request.headers)
        self.assertEqual(("k-1", "wait=7"), (first.headers["idempotency-key"], first.headers["prefer"]))
        self.assertNotIn("prefer", second.headers)

    async def test_an_argument_that_cannot_be_right_is_refused_before_anything_is_sent(self):
        server = self.serve()
        client = await self.client(server)
        for refused, wrong in {
            "agent_id": lambda: client.agents.get(""),
            "trigger_id": lambda: client.webhook_triggers.delete(None),
            "time zone": lambda: client.events.list(since=datetime(2026, 1, 31)),
            "token": lambda: client.fire(TOKEN + "\r\nX-More: 1", {}),
            "idempotency_key": lambda: client.fire(TOKEN, {}, idempotency_key="a\nb"),
            "wait": lambda: client.fire(TOKEN, {}, wait=61),
            "secret": lambda: client.fire(TOKEN, {}, secret=""),
            "JSON": lambda: client.fire(TOKEN, {"n": float("nan")}),
            "poll_interval": lambda: client.events.tail(poll_interval=0),
        }.items():
            with self.subTest(refused), self.assertRaisesRegex(ValueError, refused) as caught:
                await give(wrong())
            self.assertNotIn(TOKEN, "".join(traceback.format_exception(None, caught.exception, None)))
        with self.assertRaisesRegex(TypeError, "set is nothing that JSON has"):
            await give(client.fire(TOKEN, {"n": {1}}))
        # No id has a slash; sent, these would be resolved to something else.
        for other in ("../me", "..", "a/b", "a\\b"):
            with self.assertRaises(hooktrail.NotFoundError):
                await give(client.agents.get(other))
        self.assertEqual([], server.requests)

    async def test_settings_come_from_the_environment(self):
        server = self.serve(data({}), data({}))
        with mock.patch.dict(os.environ, {"HOOKTRAIL_API_KEY": KEY, "HOOKTRAIL_URL": server.url}):
            await give((await self.client(None, api_key=None, base_url=None)).me())
            await give((await self.client(None, api_key="htk_other", base_url=server.url)).me())
        self.assertEqual([KEY, "htk_other"], [request.headers["x-api-key"] for request in server.requests])

    async def test_settings_that_cannot_be_right_are_refused(self):
        for refused, settings in {
            "HOOKTRAIL_URL": {},
            "base_url": {"base_url": "hooktrail.example.com"},
            "base_url must": {"base_url": "ftp://hooktrail.example.com"},
            "like https": {"base_url": "https://hooktrail.example.com:port"},
            "base_url must be": {"base_url": "https://hooktrail.example.com?x=1"},
            "no credentials": {"base_url": "https://me:sesame@hooktrail.example.com"},
            "timeout": {"base_url": "http://localhost", "timeout": 0},
            "max_retries": {"base_url": "http://localhost", "max_retries": -1},
            "api_key": {"base_url": "http://localhost", "api_key": KEY + "\nX-More: 1"},
        }.items():
            with self.subTest(refused), self.assertRaisesRegex(ValueError, refused) as caught:
                self.kind(**settings)
            self.assertNotRegex(str(caught.exception), f"sesame|{KEY}")
        with self.assertRaisesRegex(hooktrail.HooktrailError, "no API key: pass api_key"):
            await give((await self.client("http://localhost", api_key=None)).me())

    # Answers.

    async def test_a_result_is_the_envelope_that_was_sent(self):
        sent = {"data": {"id": "t", "token": TOKEN, "secret": SECRET, "name": "shown"}, "warnings": ["unknown field"]}
        server = self.serve(
            answer(201, sent, X_Request_Id="r-7"), answer(202, {"data": {}}, Idempotent_Replayed="true"), answer(204)
        )
        client = await self.client(server)
        made = await give(client.webhook_triggers.create(agent_id="a", name="shown"))
        self.assertEqual(sent, made)
        self.assertEqual(
            (TOKEN, "Never", ["unknown field"]),
            (made["data"]["token"], made["data"].get("last_used_at", "Never"), made.get("warnings")),
        )
        self.assertEqual(sent, json.loads(json.dumps(made)))
        self.assertEqual((201, "r-7", False), (made.status_code, made.request_id, made.replayed))
        self.assertTrue((await give(client.fire(TOKEN, {}))).replayed)
        self.assertIsNone(await give(client.webhook_triggers.delete("t")))

    async def test_what_is_shown_once_is_not_printed(self):
        shown = {
            "id": "x",
            "token": TOKEN,
            "hook_url": "https://h/hooks/" + TOKEN,
            "secret": SECRET,
            "signing_secret": SECRET,
            "key": KEY,
        }
        server = self.serve(data(shown), data([shown]))
        client = await self.client(server)
        one, several = await give(client.agents.get("x")), await give(client.agents.list())
        printed = io.StringIO()
        for value in (one, one["data"], several, several["data"], several["data"][0], client, client.agents):
            print(value, repr(value), f"{value}", "%s" % (value,), file=printed)
            if sys.version_info >= (3, 10):  # before, pprint asks only short dictionaries for their repr
                pprint.pprint(value, stream=printed)
        self.assertNotRegex(printed.getvalue(), "nobody-may-see")
        self.assertIn("'token': '***'", printed.getvalue())
        self.assertEqual(TOKEN, one["data"]["token"])

    async def test_an_error_says_what_the_server_said(self):
        for status, code, kind in (
            (400, "validation_failed", hooktrail.ValidationError),
            (400, "invalid_json", hooktrail.ValidationError),
            (400, "conflict", hooktrail.ConflictError),
            (400, "schema_mismatch", hooktrail.ValidationError),
            (401, "unauthorized", hooktrail.AuthenticationError),
            (401, "invalid_signature", hooktrail.AuthenticationError),
            (403, "forbidden", hooktrail.PermissionDeniedError),
            (403, "trigger_inactive", hooktrail.PermissionDeniedError),
            (404, "not_found", hooktrail.NotFoundError),
            (405, "method_not_allowed", hooktrail.APIError),
            (409, "conflict", hooktrail.ConflictError),
            (410, "trigger_inactive", hooktrail.APIError),
            (412, "precondition_failed", hooktrail.ConflictError),
            (413, "payload_too_large", hooktrail.ValidationError),
            (415, "unsupported_media_type", hooktrail.ValidationError),
            (422, "idempotency_key_reused", hooktrail.ValidationError),
            (429, "rate_limited", hooktrail.RateLimitError),
            (500, "internal", hooktrail.ServerError),
            (503, "unavailable", hooktrail.ServerError),
        ):
            with self.subTest(status=status, code=code):
                server = self.serve(error(status, code, "no good", {"name": "is too long"}, Retry_After="2"))
                client = await self.client(server, max_retries=0)
                with self.assertRaises(hooktrail.APIError) as caught:
                    await give(client.webhook_triggers.create(agent_id="a", name="n", secret=SECRET))
                found = caught.exception
                self.assertIs(kind, type(found))
                self.assertEqual(
                    (status, code, "no good", "r-1", 2.0),
                    (found.status, found.code, found.message, found.request_id, found.retry_after),
                )
                self.assertEqual({"name": "is too long"} if status < 500 else {}, found.details)
                self.assertRegex(str(found), rf"{status} {code}: no good.*r-1")
                self.assertNotRegex(
                    "".join(traceback.format_exception(None, found, found.__traceback__)) + repr(found),
                    "nobody-may-see",
                )

    async def test_an_answer_of_something_else_is_an_error(self):
        for strange, kind in (
            (answer(200, b"<html>welcome</html>", reason="OK"), hooktrail.ServerError),
            (answer(200, b"[1]"), hooktrail.ServerError),
            (answer(404, b"<html>nothing here</html>"), hooktrail.ServerError),
            (answer(301, b"", Location="http://127.0.0.1:1/"), hooktrail.ServerError),
            (answer(502, b"<html>bad gateway</html>"), hooktrail.ServerError),
            (answer(429, b"slow down"), hooktrail.RateLimitError),
            (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", hooktrail.APIConnectionError),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{}", hooktrail.APIConnectionError),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nxyz\r\n{}",
                hooktrail.APIConnectionError,
            ),
        ):
            with self.subTest(strange):
                server = self.serve(strange)
                client = await self.client(server, max_retries=0, timeout=PATIENCE)
                with self.assertRaises(hooktrail.HooktrailError) as caught:
                    await give(client.me())
                self.assertIs(kind, type(caught.exception), caught.exception)
                if kind is hooktrail.ServerError:
                    self.assertIn("base_url", str(caught.exception))
                self.assertEqual(1, len(server.requests))

    async def test_bodies_come_in_every_form(self):
        document = {"data": {"text": "x" * 70_000}}
        body = json.dumps(document).encode()
        half = len(body) // 2
        chunks = b"%x;ext=1\r\n%s\r\n%x\r\n%s\r\n0\r\nTrailer: 1\r\n\r\n" % (
            half,
            body[:half],
            len(body) - half,
            body[half:],
        )
        server = self.serve(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + answer(200, document),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body,
            b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + body,
            answer(200, document),
        )
        # http.client takes 103 for the answer, as no proxy sends it to who has not asked.
        if self.kind is Hooktrail:
            server.answers[1] = server.answers[1].replace(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", b"")
        client = await self.client(server, max_retries=0)
        for _ in range(5):
            self.assertEqual(document, await give(client.me()))
        self.assertEqual([1, 1, 1, 2, 3], [request.connection for request in server.requests])

    # Connections.

    async def test_a_connection_is_used_again(self):
        server = self.serve(
            data({}), error(404, "not_found"), data({}), answer(200, {"data": {}}, Connection="close"), data({})
        )
        client = await self.client(server, max_retries=0)
        await give(client.me())
        with self.assertRaises(hooktrail.NotFoundError):
            await give(client.agents.get("a"))
        for _ in range(3):
            await give(client.me())
        self.assertEqual([1, 1, 1, 1, 2], [request.connection for request in server.requests])

    async def test_a_connection_that_was_closed_while_idle_is_not_used(self):
        def answer_and_close(connection):
            connection.sendall(data({}))

        server = self.serve(answer_and_close, answer(201, {"data": {}}))
        client = await self.client(server, max_retries=0)
        await give(client.me())
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))
        ((_, connection),) = client._transport._idle
        deadline = time.monotonic() + PATIENCE
        while connection.is_quiet() and time.monotonic() < deadline:
            await asyncio.sleep(0)  # the loop has to see it
        await give(client.agents.create(name="a"))  # which would not be sent twice
        self.assertEqual([1, 2], [request.connection for request in server.requests])

    async def test_a_connection_that_breaks_as_it_is_used_again_costs_no_attempt(self):
        server = self.serve(data({}), close, data({}))
        client = await self.client(server, max_retries=0)
        await give(client.me())
        await give(client.me())
        self.assertEqual([1, 1, 2], [request.connection for request in server.requests])
        self.assertEqual([], self.pauses)

    async def test_another_process_has_connections_of_its_own(self):
        server = self.serve(data({}), data({}))
        client = await self.client(server)
        await give(client.me())
        if self.kind is Hooktrail:
            with mock.patch("os.getpid", return_value=-1):
                await give(client.me())
            self.assertEqual([1, 2], [request.connection for request in server.requests])

    async def test_a_closed_client_keeps_no_connection(self):
        server = self.serve(data({}))
        client = await self.client(server)
        await give(client.me())
        await give(client.close())
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))

    async def test_certificates_are_verified(self):
        folder = os.environ.get("HOOKTRAIL_TEST_CERTIFICATE")
        if not folder:
            self.skipTest("HOOKTRAIL_TEST_CERTIFICATE names no directory with cert.pem and key.pem for localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        server = self.serve(data({}), data({}), context=context)
        with self.assertRaisesRegex(hooktrail.APIConnectionError, "(?i)certificate") as caught:
            await give((await self.client(server, max_retries=0)).me())
        self.assertFalse(caught.exception.sent)
        trusting = ssl.create_default_context(cafile=os.path.join(folder, "cert.pem"))
        client = await self.client(server, ssl_context=trusting)
        for _ in range(2):
            self.assertEqual({"data": {}}, await give(client.me()))
        self.assertEqual(1, len({request.connection for request in server.requests}))
        other = await self.client(server.url.replace("localhost", "127.0.0.1"), ssl_context=trusting, max_retries=0)
        with self.assertRaisesRegex(hooktrail.APIConnectionError, "(?i)certificate|mismatch"):
            await give(other.me())

    async def test_an_attempt_ends_in_time(self):
        stopped = threading.Event()
        self.addCleanup(stopped.set)

        def silent(_connection):
            stopped.wait(PATIENCE)

        def trickle(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not stopped.wait(0.02):
                connection.sendall(b" ")

        for slow in (silent, trickle):
            with self.subTest(slow.__name__):
                server = self.serve(slow)
                client = await self.client(server, timeout=0.3, max_retries=0)
                started = time.monotonic()
                with self.assertRaisesRegex(hooktrail.APITimeoutError, "did not answer in time"):
                    await give(client.me())
                self.assertLess(time.monotonic() - started, PATIENCE / 2)

    async def test_who_asks_to_wait_has_patience(self):
        def late(connection):
            threading.Event().wait(0.5)
            connection.sendall(data({"status": "completed"}, Connection="close"))

        server = self.serve(late, late)
        client = await self.client(server, timeout=0.2, max_retries=0)
        self.assertEqual("completed", (await give(client.fire(TOKEN, {}, wait=30)))["data"]["status"])
        self.assertEqual("completed", (await give(client.agents.execute("a", input={}, sync=True)))["data"]["status"])

    # Retries.

    async def test_what_is_safe_is_tried_again_after_growing_pauses(self):
        for failure in (error(503, "unavailable"), answer(502, b"<html>"), answer(504, b""), close):
            for name, method in {
                "get": lambda client: client.me(),
                "update": lambda client: client.webhook_triggers.update("t", name="n"),
                "delete": lambda client: client.agents.delete("a"),
                "fire": lambda client: client.fire(TOKEN, {}),
            }.items():
                with self.subTest(name, failure=failure):
                    self.pauses.clear()
                    server = self.serve(failure, failure, data({"id": "x"}))
                    client = await self.client(server)
                    self.assertEqual(None if name == "delete" else {"data": {"id": "x"}}, await give(method(client)))
                    self.assertEqual(3, len(server.requests))
                    self.assertEqual(2, len(self.pauses))
                    for pause, longest in zip(self.pauses, (0.5, 1.0)):
                        self.assertTrue(longest / 2 <= pause <= longest, self.pauses)

    async def test_a_call_is_repeated_under_its_idempotency_key(self):
        server = self.serve(close, data({}), close, data({}), data({}))
        client = await self.client(server)
        await give(client.fire(TOKEN, {"n": 1}))
        await give(client.fire(TOKEN, {"n": 1}, idempotency_key="mine"))
        await give(client.fire(TOKEN, {"n": 1}))
        keys = [request.headers["idempotency-key"] for request in server.requests]
        self.assertEqual(keys[0], keys[1])
        self.assertEqual(["mine", "mine"], keys[2:4])
        self.assertNotEqual(keys[0], keys[4])

    async def test_what_might_take_effect_twice_is_not_tried_again(self):
        for failure in (error(503, "unavailable"), answer(502, b""), close):
            for name, method in {
                "create": lambda client: client.webhook_triggers.create(agent_id="a", name="n"),
                "rotate": lambda client: client.webhook_triggers.rotate_token("t"),
                "execute": lambda client: client.agents.execute("a", input={}),
                "retry": lambda client: client.executions.retry("e"),
                "update at a version": lambda client: client.webhook_triggers.update("t", name="n", if_version=2),
                "update that may show a secret": lambda client: client.agents.update("a", runner={"kind": "http"}),
            }.items():
                with self.subTest(name, failure=failure):
                    server = self.serve(failure, data({}))
                    client = await self.client(server)
                    with self.assertRaises(hooktrail.HooktrailError):
                        await give(method(client))
                    self.assertEqual(1, len(server.requests))

    async def test_what_was_refused_is_tried_again_whatever_it_is(self):
        for refusal in (error(429, "rate_limited"), error(503, "overloaded")):
            server = self.serve(refusal, data({"id": "x"}))
            client = await self.client(server)
            await give(client.webhook_triggers.create(agent_id="a", name="n"))
            self.assertEqual(2, len(server.requests))

    async def test_what_was_never_sent_is_tried_again_whatever_it_is(self):
        server = self.serve()
        server.stop()
        client = await self.client(server)
        with self.assertRaisesRegex(hooktrail.APIConnectionError, "cannot connect to .* is base_url right") as caught:
            await give(client.webhook_triggers.create(agent_id="a", name="n"))
        self.assertFalse(caught.exception.sent)
        self.assertEqual(2, len(self.pauses))

    async def test_other_errors_are_final(self):
        for final in (
            error(400, "validation_failed"),
            error(401, "unauthorized"),
            error(404, "not_found"),
            error(409, "conflict"),
            error(500, "internal"),
        ):
            server = self.serve(final, data({}))
            client = await self.client(server)
            with self.assertRaises(hooktrail.APIError):
                await give(client.me())
            self.assertEqual(1, len(server.requests))

    async def test_retries_end(self):
        for retries in (0, 1, 4):
            self.pauses.clear()
            server = self.serve(*[error(503, "unavailable", f"no {n}") for n in range(9)])
            client = await self.client(server, max_retries=retries)
            with self.assertRaisesRegex(hooktrail.ServerError, f"no {retries}"):
                await give(client.me())
            self.assertEqual((retries + 1, retries), (len(server.requests), len(self.pauses)))

    async def test_pauses_have_a_bound(self):
        server = self.serve(*[close] * 9, data({}))
        client = await self.client(server, max_retries=9)
        with mock.patch.object(random, "uniform", lambda _least, most: most):
            await give(client.me())
        self.assertEqual([0.5, 1, 2, 4, 8, 8, 8, 8, 8], self.pauses)

    async def test_the_servers_wish_to_wait_is_honoured(self):
        soon = (datetime.now(timezone.utc) + timedelta(seconds=30)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        server = self.serve(
            error(429, "rate_limited", Retry_After="7"),
            error(503, "unavailable", Retry_After=soon),
            error(429, "rate_limited", Retry_After="rubbish"),
            data({}),
        )
        client = await self.client(server, max_retries=3)
        await give(client.me())
        self.assertEqual(7, self.pauses[0])
        self.assertTrue(20 < self.pauses[1] <= 30, self.pauses)
        self.assertTrue(0 < self.pauses[2] <= 2, self.pauses)

    async def test_a_wish_to_wait_long_is_left_to_the_caller(self):
        server = self.serve(error(429, "rate_limited", Retry_After="3600"))
        client = await self.client(server)
        with self.assertRaises(hooktrail.RateLimitError) as caught:
            await give(client.me())
        self.assertEqual((3600, 1, []), (caught.exception.retry_after, len(server.requests), self.pauses))

    async def test_what_an_earlier_attempt_has_deleted_is_deleted(self):
        server = self.serve(close, error(404, "not_found"))
        self.assertIsNone(await give((await self.client(server)).webhook_triggers.delete("t")))
        # The first of these did nothing, so that it was not there before.
        server = self.serve(error(429, "rate_limited"), error(404, "not_found"))
        with self.assertRaises(hooktrail.NotFoundError):
            await give((await self.client(server)).webhook_triggers.delete("t"))

    # Lists.

    async def test_a_list_is_followed_by_its_cursors(self):
        def page(cursor, *ids):
            meta = {"total": 5, "page": 1, "limit": 2, "pages": 3, "total_pages": 3}
            return answer(
                200, {"data": [{"id": id} for id in ids], "meta": {**meta, "next_cursor": cursor} if cursor else meta}
            )

        pages = [page("c+1", "a", "b"), page("c2", "c", "d"), page(None, "e")]
        server = self.serve(*pages)
        client = await self.client(server)
        found = await entries(client.webhook_triggers.list_all(agent_id="x", is_active=True, limit=2))
        self.assertEqual(["a", "b", "c", "d", "e"], [entry["id"] for entry in found])
        query = "/api/v1/webhook-triggers?agent_id=x&is_active=true&limit=2"
        self.assertEqual(
            [query, query + "&cursor=c%2B1", query + "&cursor=c2"], [request.target for request in server.requests]
        )

        server = self.serve(*pages)
        client = await self.client(server)
        await entries(client.executions.list_all(), most=2)
        self.assertEqual(
            ["/api/v1/executions?limit=100"],
            [request.target for request in server.requests],
            "pages are fetched before they are needed",
        )

    @staticmethod
    def events(*positions, more=False):
        meta = {"total": 9, "page": 1, "limit": 100, "pages": 1, "total_pages": 1}
        return answer(
            200,
            {
                "data": [{"position": at, "type": "t"} for at in positions],
                "meta": {**meta, "next_cursor": "c"} if more else meta,
            },
        )

    async def test_events_are_followed(self):
        server = self.serve(
            error(404, "not_found"),
            self.events(4, 5, more=True),
            self.events(6),
            self.events(),
            error(500, "internal"),
            self.events(9),
            self.events(),
        )
        client = await self.client(server)
        tail = client.events.tail(after=3, type="trigger.invoked", poll_interval=0.25)
        self.assertEqual([4, 5, 6], [(await following(tail))["position"] for _ in range(3)])
        self.assertEqual([], self.pauses, "there was more to fetch")
        with self.assertRaises(hooktrail.ServerError):
            await following(tail)
        self.assertEqual(6, tail.position)
        self.assertEqual(9, (await following(tail))["position"])
        self.assertEqual([0.25, 0.25, 0.25], self.pauses)
        self.assertEqual(9, tail.position)
        query = "/api/v1/events?type=trigger.invoked&after={}&limit=100"
        self.assertEqual(
            [query.format(at) for at in (3, 5, 6, 6, 6)], [request.target for request in server.requests[1:]]
        )
        self.assertEqual("/api/v1/events/stream?type=trigger.invoked&after=3", server.requests[0].target)

    async def test_events_are_followed_from_now(self):
        for newest, start in ((self.events(17), 17), (self.events(), 0)):
            server = self.serve(newest, self.events(), self.events(start + 1, start + 2))
            client = await self.client(server)
            tail = client.events.tail(stop_after=2)
            self.assertIsNone(tail.position)
            self.assertEqual([start + 1, start + 2], [event["position"] for event in await entries(tail)])
            self.assertEqual(
                ["limit=1", f"after={start}", f"after={start}&limit=100"],
                [request.target.split("?")[1] for request in server.requests],
            )
            self.assertEqual(start + 2, tail.position)

    @staticmethod
    def streamed(position, end=b"\n"):
        event = json.dumps({"position": position, "type": "t"}).encode()
        return end.join([b"id: %d" % position, b"event: t", b"data: " + event, b"", b""])

    @staticmethod
    def stream(*pieces, chunked=True, then=None):
        """A stream that gives its pieces and ends, or goes on with a function of the connection."""

        def write(connection):
            head = b"Transfer-Encoding: chunked\r\n" if chunked else b"Connection: close\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + head + b"\r\n")
            for piece in pieces:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if then:
                then(connection)

        return write

    async def test_a_stream_is_read_however_it_is_cut(self):
        text = b"".join(
            (
                b": a comment\n\n",
                self.streamed(3),
                self.streamed(5, b"\r\n"),
                self.streamed(8, b"\r"),
                b'id:9\n\nid:10\nretry: 5\ndata: {"position":\ndata:10}\n\nid: 12\ndata: {"posi',
            )
        )
        for size in (1, 2, 3, 7, 50, len(text)):
            for chunked in (True, False):
                with self.subTest(size=size, chunked=chunked):
                    pieces = [text[at : at + size] for at in range(0, len(text), size)]
                    server = self.serve(self.stream(*pieces, chunked=chunked), self.stream(self.streamed(12)))
                    tail = (await self.client(server)).events.tail(after=2, stop_after=5)
                    self.assertEqual([3, 5, 8, 10, 12], [event["position"] for event in await entries(tail)])
                    first, second = server.requests
                    self.assertEqual("/api/v1/events/stream?after=2", first.target)
                    self.assertNotIn("last-event-id", first.headers)
                    self.assertIn("text/event-stream", first.headers["accept"])
                    self.assertEqual("10", second.headers["last-event-id"])

    async def test_a_stream_keeps_its_place_by_marks(self):
        server = self.serve(
            self.stream(b"id: 7\n\n", self.streamed(9), b"id: 4000\n\n"),
            error(503, "unavailable"),
            self.stream(self.streamed(9), self.streamed(4001)),
        )
        tail = (await self.client(server)).events.tail(after=2, type="t", stop_after=2)
        self.assertEqual([9, 4001], [event["position"] for event in await entries(tail)])
        self.assertEqual(4001, tail.position)
        for request in server.requests[1:]:
            self.assertEqual("4000", request.headers["last-event-id"])
            self.assertEqual("/api/v1/events/stream?type=t&after=4000", request.target)
        self.assertTrue(self.pauses, "it does not begin again at once")

    async def test_a_stream_that_falls_silent_is_opened_again(self):
        gone = threading.Event()
        self.addCleanup(gone.set)
        server = self.serve(
            self.stream(self.streamed(3), then=lambda _: gone.wait(PATIENCE)), self.stream(self.streamed(4))
        )
        tail = (await self.client(server)).events.tail(after=2, stop_after=2)
        with mock.patch.object(sys.modules[type(tail).__module__], "SILENCE", 0.2):
            self.assertEqual([3, 4], [event["position"] for event in await entries(tail)])
        self.assertEqual("3", server.requests[1].headers["last-event-id"])

    async def test_a_stream_that_never_gives_anything_is_none(self):
        gone = threading.Event()
        self.addCleanup(gone.set)

        def hang(_connection):
            gone.wait(PATIENCE)

        for silent in (self.stream(then=hang), hang):
            server = self.serve(silent, self.events(4))
            tail = (await self.client(server)).events.tail(after=2, stop_after=1)
            with mock.patch.object(sys.modules[type(tail).__module__], "SILENCE", 0.2):
                self.assertEqual([4], [event["position"] for event in await entries(tail)])
            self.assertEqual("/api/v1/events?after=2&limit=100", server.requests[1].target)

    async def test_a_stream_that_is_refused_is_an_error(self):
        server = self.serve(self.stream(self.streamed(3)), error(401, "unauthorized"))
        tail = (await self.client(server)).events.tail(after=2)
        self.assertEqual(3, (await following(tail))["position"])
        with self.assertRaises(hooktrail.AuthenticationError):
            await following(tail)

    async def test_a_stream_that_is_left_is_closed(self):
        def until_closed(connection):
            connection.recv(1)

        for leave in (lambda tail: tail.close(), lambda tail: None):
            server = self.serve(self.stream(self.streamed(3), then=until_closed))
            tail = (await self.client(server)).events.tail(after=2)
            self.assertEqual(3, (await following(tail))["position"])
            leave(tail)
            del tail
            await asyncio.sleep(0)  # in which the loop closes it
            self.assertTrue(server.closed.acquire(timeout=PATIENCE))

    # Waiting.

    async def test_an_execution_is_waited_for(self):
        for ended in ("completed", "failed", "cancelled"):
            server = self.serve(
                data({"status": "pending"}), data({"status": "running"}), data({"status": ended, "output": 1})
            )
            client = await self.client(server)
            self.assertEqual(ended, (await give(client.executions.wait("e", timeout=PATIENCE)))["data"]["status"])

    async def test_waiting_for_an_execution_ends(self):
        server = self.serve(*[data({"status": "running"})] * 2000)
        client = await self.client(server)
        with self.assertRaisesRegex(hooktrail.WaitTimeoutError, "e1 is running after 0.2 seconds") as caught:
            await give(client.executions.wait("e1", timeout=0.2))
        self.assertIsInstance(caught.exception, TimeoutError)
        self.assertEqual(("e1", "running"), (caught.exception.execution_id, caught.exception.status))


class HooktrailTest(Cases, unittest.IsolatedAsyncioTestCase):
    kind = Hooktrail

    def test_threads_share_a_client(self):
        server = self.serve(*[data({})] * 80)
        with Hooktrail(api_key=KEY, base_url=server.url, max_retries=0) as client:
            failed = []

            def work():
                try:
                    for _ in range(10):
                        client.me()
                except Exception as error:
                    failed.append(error)

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
        self.assertEqual([], failed)
        self.assertEqual(80, len(server.requests))
        self.assertLessEqual(len({request.connection for request in server.requests}), 8)


class AsyncHooktrailTest(Cases, unittest.IsolatedAsyncioTestCase):
    kind = AsyncHooktrail

    async def test_tasks_share_a_client(self):
        server = self.serve(*[data({})] * 40)
        async with AsyncHooktrail(api_key=KEY, base_url=server.url, max_retries=0) as client:
            self.assertEqual([{"data": {}}] * 40, await asyncio.gather(*(client.me() for _ in range(40))))
        self.assertEqual(40, len(server.requests))

    async def test_a_cancelled_request_leaves_nothing_behind(self):
        arrived = threading.Event()

        def silent(connection):
            arrived.set()
            connection.recv(1)  # returns when the client closes it

        server = self.serve(data({"n": 1}), silent, data({"n": 2}))
        client = await self.client(server)
        await client.me()
        task = asyncio.ensure_future(client.agents.execute("a", input={}, sync=True))
        deadline = time.monotonic() + PATIENCE
        while not arrived.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)  # closing is the loop's next step
        self.assertTrue(server.closed.acquire(timeout=PATIENCE), "the connection stays open")
        self.assertEqual({"data": {"n": 2}}, await client.me())
        self.assertEqual([1, 1, 2], [request.connection for request in server.requests])
        self.assertEqual([], self.pauses)

    def test_a_client_outlives_an_event_loop(self):
        server = self.serve(data({}), data({}))
        client = AsyncHooktrail(api_key=KEY, base_url=server.url, max_retries=0)

        async def work():
            return await client.me()

        for _ in range(2):
            loop = asyncio.new_event_loop()
            try:
                self.assertEqual({"data": {}}, loop.run_until_complete(work()))
                loop.run_until_complete(client.close())
            finally:
                loop.close()
        self.assertEqual(2, len(server.requests))


if __name__ == "__main__":
    unittest.main()
