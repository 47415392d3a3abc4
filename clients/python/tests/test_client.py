"""The client against a service that the test plays, on a clock that waiting moves."""
from __future__ import annotations

import asyncio
import unittest
from typing import Any

import fleetwire
from fleetwire import ConnectionLost, Gap, Message, Position, Refused, State, Stopped
from fake import Service, client, run


class ConnectionTest(unittest.TestCase):
    def test_states(self) -> None:
        async def test() -> None:
            seen: list[fleetwire.Change] = []
            with Service() as service:
                camera = client(on_state=seen.append)
                camera.start()
                first = await service.next()
                await camera.connected()
                first.end(1006)
                second = await service.next()
                second.say(type="going_away", retryAfterMs=3000)
                await asyncio.sleep(1)
                second.end(1001)
                third = await service.next()
                third.end(4020, "disconnected by an operator")
                with self.assertRaises(Stopped) as stopped:
                    await camera.wait()
                self.assertEqual(stopped.exception.code, 4020)
                with self.assertRaises(Stopped):
                    await camera.publish("devices/camera-001/events", 1)
                await asyncio.sleep(1)
                await camera.close()
            connect = [State.CONNECTING, State.CONNECTED, State.LIVE]
            self.assertEqual([c.state for c in seen], [*connect, State.WAITING, *connect, State.GOING_AWAY, State.WAITING, *connect, State.STOPPED])
            self.assertEqual([c.retry_in for c in seen if c.retry_in is not None], [1, 3, 2])

        run(test())

    def test_leaves_when_the_service_does_not_close(self) -> None:
        async def test() -> None:
            clock = asyncio.get_running_loop().time
            with Service() as service:
                async with client_started(service) as (camera, first):
                    first.say(type="going_away", retryAfterMs=2000)
                    first.say(type="going_away", retryAfterMs=3000)  # the last one counts
                    began = clock()
                    await service.next()
                    self.assertAlmostEqual(clock() - began, 3, delta=0.1)
                    self.assertIsNotNone(first.closed)

        run(test())

    def test_retry_after(self) -> None:
        async def test() -> None:
            clock = asyncio.get_running_loop().time
            with Service() as service:
                service.refuses = [Refused("", "no WebSocket", status=429, retry_after=20), OSError("no route")]
                camera, began = client(), clock()
                camera.start()
                await service.next()
                await camera.connected()
                self.assertAlmostEqual(clock() - began, 20 + 1 + 2, delta=0.1)
                await camera.close()

        run(test())

    def test_something_else_answers(self) -> None:
        async def test() -> None:
            seen: list[fleetwire.Change] = []
            with Service() as service:
                camera = client(on_state=seen.append)
                camera.start()
                for text in ("hello", "[]", '{"type":"ack"}'):
                    (await service.connections.get()).write(text)
                await service.next()
                await camera.connected()
                await asyncio.sleep(0.1)
                await camera.close()
            self.assertEqual([type(c.error) for c in seen if c.error], [fleetwire.NotService] * 3)

        run(test())

    def test_no_welcome(self) -> None:
        async def test() -> None:
            with Service() as service:
                camera = client()
                camera.start()
                silent = await service.connections.get()
                await service.next()
                self.assertIsNotNone(silent.closed)
                await camera.connected()
                await camera.close()

        run(test())

    def test_the_program_closes(self) -> None:
        async def test() -> None:
            with Service() as service:
                async with client_started(service) as (camera, socket):
                    publishing = asyncio.create_task(camera.publish("a", 1))
                    await socket.expect("publish")
                self.assertEqual(socket.closed and socket.closed.code, 1000)
                with self.assertRaises(ConnectionLost):
                    await publishing
                await camera.wait()
                with self.assertRaises(fleetwire.Closed):
                    await camera.publish("a", 1)
                await camera.close()

        run(test())

    def test_a_handler_closes(self) -> None:
        async def test() -> None:
            with Service() as service:
                async with client_started(service) as (camera, socket):
                    subscribing = asyncio.create_task(camera.subscribe("a", lambda m: camera.close()))
                    await socket.ack("subscribe")
                    await subscribing
                    socket.say(type="message", channel="a", **{"from": "b"}, data=1)
                    await camera.wait()

        run(test())


class TokenTest(unittest.TestCase):
    def test_refresh(self) -> None:
        async def test() -> None:
            given = iter(["one", "two", "three"])

            async def token() -> str:
                return next(given)

            clock = asyncio.get_running_loop().time
            with Service() as service:
                camera = client(token, jitter=lambda bound: 0)
                camera.start()
                socket = await service.next(life=101)
                await camera.connected()
                began = clock()
                frame = await socket.expect("refresh", token="two")
                self.assertAlmostEqual(clock() - began, 80, delta=0.1)  # a fifth of the 100 s is left
                socket.say(type="error", requestId=frame["requestId"], code="backend_error", message="", outcome="none")
                frame = await socket.expect("refresh", token="three")
                self.assertAlmostEqual(clock() - began, 82, delta=0.1)
                socket.say(type="ack", requestId=frame["requestId"], expiresAt=1000 + 10_001)
                await asyncio.sleep(1)
                socket.end(4002)  # its key was rotated
                await asyncio.sleep(0)
                await camera.close()
            self.assertEqual(service.tokens, ["one"])

        run(test())

    def test_the_only_token(self) -> None:
        async def test() -> None:
            with Service() as service:
                async with client_started(service) as (camera, socket):
                    socket.end(4002, "expired")
                    with self.assertRaises(Stopped) as stopped:
                        await camera.wait()
                    self.assertIsInstance(stopped.exception.__cause__, fleetwire.NoMoreTokens)
            self.assertEqual(service.tokens, ["token"])

        run(test())

    def test_rotation_asks_for_another(self) -> None:
        async def test() -> None:
            given = iter(["one", "two"])

            async def token() -> str:
                return next(given)

            clock = asyncio.get_running_loop().time
            with Service() as service:
                camera = client(token)
                camera.start()
                first = await service.next()
                await camera.connected()
                began = clock()
                first.end(4002)
                await service.next()
                self.assertAlmostEqual(clock(), began, delta=0.1)
                await camera.close()
            self.assertEqual(service.tokens, ["one", "two"])

        run(test())

    def test_what_is_no_token(self) -> None:
        async def test() -> None:
            for wrong in ("", "with space", "Tökén", None, 7):
                seen: list[fleetwire.Change] = []

                async def token() -> Any:
                    return wrong

                with Service() as service:
                    camera = client(token, on_state=seen.append)
                    camera.start()
                    await asyncio.sleep(0.5)
                    await camera.close()
                self.assertEqual(service.tokens, [])
                self.assertIn("no token", str(seen[-1].error))
                if wrong:
                    self.assertNotIn(str(wrong), str(seen[-1].error))

        run(test())


class PublishTest(unittest.TestCase):
    def test_waits_for_subscriptions(self) -> None:
        async def test() -> None:
            with Service() as service:
                async with client_started(service) as (camera, first):
                    subscribing = asyncio.create_task(camera.subscribe("a", lambda m: None))
                    await first.ack("subscribe", channel="a")
                    await subscribing
                    first.end(1006)
                    publishing = asyncio.create_task(camera.publish("b", {"n": 1}))
                    second = await service.next()
                    frame = await second.expect("subscribe", channel="a")
                    await asyncio.sleep(5)
                    self.assertTrue(second.sent.empty())
                    second.say(type="ack", requestId=frame["requestId"])
                    await second.ack("publish", channel="b", data={"n": 1}, position=("e", 7))
                    self.assertEqual(await publishing, Position("e", 7))

        run(test())

    def test_an_answer_is_lost(self) -> None:
        async def test() -> None:
            with Service() as service:
                async with client_started(service) as (camera, first):
                    once = asyncio.create_task(camera.publish("a", 1))
                    again = asyncio.create_task(camera.publish("a", 2, idempotency_key="k"))
                    await first.expect("publish", data=1)
                    await first.expect("publish", data=2)
                    first.end(1006)
                    with self.assertRaises(ConnectionLost):
                        await once
                    second = await service.next()
                    await second.ack("publish", data=2, idempotencyKey="k")
                    await again

        run(test())

    def test_refusals(self) -> None:
        async def test() -> None:
            with Service() as service:
                async with client_started(service) as (camera, socket):
                    publishing = asyncio.create_task(camera.publish("a", 1, if_newest=Position("e", 3)))
                    frame = await socket.expect("publish", ifOffset=3, ifEpoch="e")
                    socket.say(type="error", requestId=frame["requestId"], code="offset_mismatch", message="another came first", epoch="e", offset=4)
                    with self.assertRaises(Refused) as refused:
                        await publishing
                    self.assertEqual((refused.exception.code, refused.exception.position), ("offset_mismatch", Position("e", 4)))
                    with self.assertRaises(fleetwire.TooLarge):
                        await camera.publish("a", "x" * 65536)
                    with self.assertRaises(ValueError):
                        await camera.publish("a", float("nan"))
                    self.assertTrue(socket.sent.empty())

        run(test())

    def test_pace(self) -> None:
        async def test() -> None:
            clock = asyncio.get_running_loop().time
            with Service() as service:
                async with client_started(service) as (camera, socket):
                    began = clock()
                    all_ = [asyncio.create_task(camera.publish("a", n)) for n in range(95 * 3)]
                    for n in range(95 * 3):
                        await socket.ack("publish", data=n)
                    await asyncio.gather(*all_)
                    self.assertAlmostEqual(clock() - began, 2, delta=0.1)  # 95 at once, then 95 a second

        run(test())


class MessageTest(unittest.TestCase):
    def test_whom_a_message_is_for(self) -> None:
        async def test() -> None:
            got: list[tuple[str, str, Any]] = []
            with Service() as service:
                async with client_started(service, on_direct=lambda m: got.append(("direct", m.channel, m.data))) as (camera, socket):
                    for channel in ("devices/a/events", "devices/*/events", "devices/**", "other"):
                        def handler(m: Message, to: str = channel) -> None:
                            got.append((to, m.channel, m.data))

                        subscribing = asyncio.create_task(camera.subscribe(channel, handler))
                        await socket.ack("subscribe", channel=channel)
                        await subscribing
                    socket.say(type="message", channel="devices/a/events", **{"from": "a"}, data=1)
                    socket.say(type="message", channel="devices/a/b/events", **{"from": "a"}, data=2)
                    socket.say(type="direct", **{"from": "a"}, data=3)
                    await asyncio.sleep(0.1)
            self.assertEqual(got, [
                ("devices/a/events", "devices/a/events", 1), ("devices/*/events", "devices/a/events", 1), ("devices/**", "devices/a/events", 1),
                ("devices/**", "devices/a/b/events", 2), ("direct", "", 3),
            ])

        run(test())

    def test_hostile_frames_are_skipped(self) -> None:
        """HOSTILE: a peer writes data that json can't read, and something stranger than the service is at the other end."""

        async def test() -> None:
            got: list[Any] = []
            with Service() as service:
                async with client_started(service) as (camera, socket):
                    subscribing = asyncio.create_task(camera.subscribe("a", lambda m: got.append(m.data)))
                    await socket.ack("subscribe")
                    await subscribing
                    message = '{"type":"message","channel":"a","from":"b","data":%s}'
                    with self.assertLogs("fleetwire", "WARNING") as logged:
                        for text in (
                            "", "hello", "null", "[]", "{}", '{"type":7}', '{"type":"message"}', '{"type":"message","channel":[],"from":"b","data":1}',
                            '{"type":"message","group":{},"channel":"a"}', '{"type":"presence","channel":"a","joined":[7],"left":[]}',
                            message % ("9" * 5000), message % ("[" * 100_000 + "]" * 100_000), message % "nope",
                            '{"type":"ack","requestId":[]}', '{"type":"error","requestId":{},"group":[]}', '{"type":"gap","channel":{}}',
                            '{"type":"going_away","retryAfterMs":"soon"}', '{"type":"command_cancelled","command":[]}', '{"type":"newer"}',
                        ):
                            socket.write(text)
                        for data in ('"\\ud800"', "1e400", '{"a":1,"a":2}', "123456789012345678901234567890"):
                            socket.write(message % data)
                        await asyncio.sleep(0.1)
                    self.assertTrue(any("skipped a frame" in line for line in logged.output))
                    self.assertFalse(any("99999" in line for line in logged.output))
            self.assertEqual(got, ["\ud800", float("inf"), {"a": 2}, 123456789012345678901234567890])

        run(test())

    def test_a_slow_handler(self) -> None:
        """Messages wait up to a bound, and are counted beyond it. Acks do not wait."""

        async def test() -> None:
            got: list[tuple[int, int]] = []
            go = asyncio.Event()

            async def slow(m: Message) -> None:
                await go.wait()
                got.append((m.data, m.missed))

            with Service() as service:
                async with client_started(service, queue_bytes=2000) as (camera, socket):
                    subscribing = asyncio.create_task(camera.subscribe("a", slow))
                    await socket.ack("subscribe")
                    await subscribing
                    for n in range(20):
                        socket.say(type="message", channel="a", **{"from": "b"}, data=n)
                        await asyncio.sleep(0.01)
                    publishing = asyncio.create_task(camera.publish("b", 1))
                    await socket.ack("publish")
                    await publishing
                    go.set()
                    await asyncio.sleep(0.1)
                    socket.say(type="message", channel="a", **{"from": "b"}, data=20)
                    await asyncio.sleep(0.1)
            taken = [n for n, _ in got]
            self.assertEqual(taken, [*range(len(got) - 1), 20])
            self.assertEqual(got[-1], (20, 20 - (len(got) - 1)))
            self.assertLess(len(got), 12)

        run(test())

    def test_a_handler_fails(self) -> None:
        async def test() -> None:
            errors: list[Exception] = []
            got: list[Any] = []

            def handler(m: Message) -> None:
                got.append(m.data)
                if m.data == 1:
                    raise KeyError("it is broken")

            with Service() as service, self.assertLogs("fleetwire"):
                async with client_started(service, on_error=errors.append) as (camera, socket):
                    subscribing = asyncio.create_task(camera.subscribe("a", handler))
                    await socket.ack("subscribe")
                    await subscribing
                    for n in (1, 2):
                        socket.say(type="message", channel="a", **{"from": "b"}, data=n)
                    socket.say(type="error", code="channel_not_authorized", message="the key has lost it")
                    await asyncio.sleep(0.1)
            self.assertEqual(got, [1, 2])
            self.assertEqual([type(e) for e in errors], [Refused, KeyError])

        run(test())


class SubscriptionTest(unittest.TestCase):
    def test_goes_on_where_it_was(self) -> None:
        async def test() -> None:
            gaps: list[Gap] = []
            got: list[tuple[Any, Position | None]] = []
            with Service() as service:
                async with client_started(service, on_gap=gaps.append) as (camera, socket):
                    subscribing = asyncio.create_task(camera.subscribe("a", lambda m: got.append((m.data, m.position)), last=2))
                    await socket.ack("subscribe", last=2, position=("e", 9))
                    await subscribing
                    socket.say(type="message", channel="a", **{"from": "b"}, data=8, offset=8, replayed=True)
                    socket.end(1006)
                    socket = await service.next()  # 9 was asked for, and did not come
                    await socket.ack("subscribe", since={"epoch": "e", "offset": 8}, position=("e", 11), recovered=True)
                    for n in (9, 10, 11):
                        socket.say(type="message", channel="a", **{"from": "b"}, data=n, offset=n, replayed=True)
                    socket.end(1006)
                    socket = await service.next()
                    await socket.ack("subscribe", since={"epoch": "e", "offset": 11}, position=("f", 3), recovered=False)
                    socket.say(type="message", channel="a", **{"from": "b"}, data=3, offset=3, replayed=True)
                    socket.say(type="gap", channel="a", epoch="f", offset=20)
                    socket.end(1006)
                    socket = await service.next()
                    await socket.ack("subscribe", since={"epoch": "f", "offset": 20}, position=("f", 20), recovered=True)
                    await asyncio.sleep(0.1)
            self.assertEqual(got, [(n, Position("e", n)) for n in (8, 9, 10, 11)] + [(3, Position("f", 3))])
            self.assertEqual(gaps, [
                Gap("a", Position("e", 11), Position("f", 3)), Gap("a", Position("f", 3), Position("f", 20)),
            ])

        run(test())

    def test_owed_messages_that_were_fewer(self) -> None:
        async def test() -> None:
            gaps: list[Gap] = []
            with Service() as service:
                async with client_started(service, on_gap=gaps.append) as (camera, socket):
                    subscribing = asyncio.create_task(camera.subscribe("a", lambda m: None, last=5))
                    await socket.ack("subscribe", last=5, position=("e", 9))
                    await subscribing
                    socket.end(1006)
                    socket = await service.next()
                    await socket.ack("subscribe", since={"epoch": "e", "offset": 4}, position=("e", 9), recovered=False)
                    await asyncio.sleep(0.1)
            self.assertEqual(gaps, [])

        run(test())

    def test_replaced_while_it_is_under_way(self) -> None:
        async def test() -> None:
            gaps: list[Gap] = []
            with Service() as service:
                async with client_started(service, on_gap=gaps.append) as (camera, socket):
                    first = asyncio.create_task(camera.subscribe("a", lambda m: None))
                    one = await socket.expect("subscribe", channel="a")
                    second = asyncio.create_task(camera.subscribe("a", lambda m: None, sender_metadata=True))
                    two = await socket.expect("subscribe", channel="a", includeSenderMetadata=True)
                    with self.assertRaisesRegex(fleetwire.Error, "in between"):
                        await first
                    socket.say(type="ack", requestId=one["requestId"], epoch="e", offset=1)
                    # Which of the two came last is not known, so the client makes it sure.
                    await asyncio.sleep(0)
                    socket.say(type="ack", requestId=two["requestId"], epoch="e", offset=2)
                    await second
                    await socket.ack("subscribe", includeSenderMetadata=True, position=("e", 3))
                    await asyncio.sleep(0.1)
            self.assertEqual(gaps, [])

        run(test())

    def test_refused(self) -> None:
        async def test() -> None:
            errors: list[Exception] = []
            with Service() as service:
                async with client_started(service, on_error=errors.append) as (camera, socket):
                    subscribing = asyncio.create_task(camera.subscribe("a", lambda m: None))
                    frame = await socket.expect("subscribe")
                    socket.say(type="error", requestId=frame["requestId"], code="channel_not_authorized", message="no")
                    with self.assertRaises(Refused):
                        await subscribing
                    subscribing = asyncio.create_task(camera.subscribe("b", lambda m: None))
                    await socket.ack("subscribe")
                    await subscribing
                    socket.end(1006)
                    socket = await service.next()
                    frame = await socket.expect("subscribe", channel="b")  # and not "a"
                    socket.say(type="error", requestId=frame["requestId"], code="backend_error", message="", outcome="none")
                    await socket.ack("subscribe", channel="b")  # once more, after a pause
                    publishing = asyncio.create_task(camera.publish("c", 1))
                    await socket.ack("publish")
                    await publishing
            self.assertEqual([str(e) for e in errors], ["backend_error: "])

        run(test())

    def test_a_limit_of_time(self) -> None:
        async def test() -> None:
            with Service() as service:
                async with client_started(service) as (camera, socket):
                    with self.assertRaises(TimeoutError):
                        async with asyncio.timeout(5):
                            await camera.subscribe("a", lambda m: None)
                    await socket.expect("subscribe", channel="a")
                    await socket.ack("unsubscribe", channel="a")
                    for wrong in ({"last": 1, "since": Position("e", 1)},):
                        with self.assertRaises(ValueError):
                            await camera.subscribe("a", lambda m: None, **wrong)  # type: ignore[arg-type]
                    with self.assertRaises(ValueError):
                        await camera.subscribe("devices/*", lambda m: None, last=1)

        run(test())


class client_started:
    """A client with its first connection."""

    def __init__(self, service: Service, **options: Any) -> None:
        self.service, self.client = service, client(**options)

    async def __aenter__(self) -> Any:
        self.client.start()
        socket = await self.service.next()
        await self.client.connected()
        return self.client, socket

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
