"""Commands and groups against a service that the test plays."""
from __future__ import annotations

import asyncio
import unittest
from typing import Any

import fleetwire
from fleetwire import Command, Event
from fake import Service, Socket, client, run


def command(id: str, data: Any = None, attempt: int = 1) -> dict[str, Any]:
    return {"type": "message", "channel": "a", "from": "server", "data": data, "command": {"id": id, "attempt": attempt, "timeoutMs": 30000}}


def event(number: int, attempt: int = 1) -> dict[str, Any]:
    return {
        "type": "message", "channel": "a", "from": "b", "data": number, "group": "ingest",
        "publishedAt": 1767222000123, "ackId": f"id-{number}", "attempt": attempt,
    }


class CommandTest(unittest.TestCase):
    def test_each_once(self) -> None:
        async def test() -> None:
            done: list[Any] = []

            async def obey(c: Command) -> Any:
                done.append((c.id, c.data, c.attempt, c.timeout))
                await c.progress({"percent": 50})
                return {"did": c.data}

            with Service() as service:
                camera, socket = await handling(service, obey, confirm=True)
                socket.say(**command("c1", "reboot"))
                await socket.ack("answer", command="c1", status="received")
                await socket.ack("answer", command="c1", status="running", data={"percent": 50})
                await socket.expect("answer", command="c1", status="succeeded", data={"did": "reboot"})
                socket.end(1006)  # the answer's ack is lost
                socket = await service.next()
                await socket.ack("subscribe", commands="confirm")
                await socket.ack("answer", command="c1", status="succeeded", data={"did": "reboot"})
                socket.say(**command("c1", "reboot", attempt=2))  # it comes again: its answer does
                await socket.ack("answer", command="c1", status="succeeded", data={"did": "reboot"})
                await camera.close()
            self.assertEqual(done, [("c1", "reboot", 1, 30)])

        run(test())

    def test_outcomes(self) -> None:
        async def test() -> None:
            def obey(c: Command) -> Any:
                if c.data == "reject":
                    raise fleetwire.Rejected("not now")
                if c.data == "fail":
                    raise RuntimeError("it is broken: " + "x" * 20_000)
                return {"none": None, "large": "x" * 20_000, "odd": object()}[c.data]

            with Service() as service:
                camera, socket = await handling(service, obey)
                for data, status, said in (
                    ("none", "succeeded", "None"), ("reject", "rejected", "not now"), ("fail", "failed", "it is broken"),
                    ("large", "failed", "done, but its answer is 20002 bytes long"), ("odd", "failed", "done, but its answer is no JSON"),
                ):
                    socket.say(**command(data, data))
                    await socket.ack("answer", status="received")
                    frame = await socket.ack("answer", command=data, status=status)
                    self.assertTrue(str(frame.get("data")).startswith(said), frame)
                    self.assertLess(len(str(frame)), 16 << 10)
                await camera.close()

        run(test())

    def test_cancelled(self) -> None:
        async def test() -> None:
            begun: list[str] = []

            async def obey(c: Command) -> None:
                begun.append(c.id)
                await asyncio.sleep(1000)

            with Service() as service:
                camera, socket = await handling(service, obey, confirm=True)
                socket.say(**command("c1"))
                socket.say(**command("c2"))
                await socket.ack("answer", command="c1", status="received")
                await asyncio.sleep(1)
                socket.say(type="command_cancelled", command="c2")  # it waits for its turn
                socket.say(type="command_cancelled", command="c1")
                await socket.ack("answer", command="c1", status="rejected", data="the command was cancelled")
                await socket.ack("answer", command="c2", status="rejected", data="the command was cancelled")
                await camera.close()
            self.assertEqual(begun, ["c1"])

        run(test())

    def test_answers_are_insisted_on(self) -> None:
        async def test() -> None:
            errors: list[Exception] = []
            clock = asyncio.get_running_loop().time
            with Service() as service:
                camera, socket = await handling(service, lambda c: 1, on_error=errors.append)
                socket.say(**command("c1"))
                frame = await socket.expect("answer", status="received")
                socket.say(type="error", requestId=frame["requestId"], code="backend_error", message="", outcome="unknown")
                began = clock()
                await socket.ack("answer", status="received")
                self.assertAlmostEqual(clock() - began, 2, delta=0.1)
                frame = await socket.expect("answer", status="succeeded", data=1)
                socket.say(type="error", requestId=frame["requestId"], code="command_final", message="it has timed out")
                await asyncio.sleep(10)
                self.assertTrue(socket.sent.empty())
                await camera.close()
            self.assertEqual([str(e) for e in errors], ["command_final: it has timed out"])

        run(test())

    def test_other_messages_and_strange_commands(self) -> None:
        async def test() -> None:
            got: list[Any] = []
            with Service() as service:
                camera, socket = await handling(service, lambda c: 1, on_message=lambda m: got.append(m.data))
                strange: Any
                for strange in (None, [], {}, {"id": 7}):
                    socket.say(type="message", channel="a", **{"from": "b"}, data=strange, command=strange)
                await asyncio.sleep(1)
                self.assertTrue(socket.sent.empty())
                await camera.close()
            self.assertEqual(got, [None, [], {}, {"id": 7}])

        run(test())


class GroupTest(unittest.TestCase):
    def test_acks(self) -> None:
        async def test() -> None:
            got: list[list[tuple[Any, int]]] = []

            def store(events: list[Event]) -> None:
                got.append([(e.data, e.attempt) for e in events])
                if any(e.data == 3 for e in events):
                    raise OSError("the disk is full")

            with Service() as service, self.assertLogs("fleetwire"):
                camera, socket, _ = await ingesting(service, store)
                socket.say(**event(1))
                socket.say(**event(2))
                await socket.ack("group_ack", ackIds=["id-1", "id-2"], nack=None)
                socket.say(**event(3, attempt=2))
                await socket.ack("group_ack", ackIds=None, nack=[{"ackId": "id-3", "delayMs": 2000}])
                # From the third attempt on alone; what became of them goes in few frames.
                socket.say(**event(4))
                socket.say(**event(3, attempt=3))
                socket.say(**event(5, attempt=3))
                socket.say(**event(6))
                await socket.ack("group_ack", ackIds=["id-4", "id-5"])
                await socket.ack("group_ack", nack=[{"ackId": "id-3", "delayMs": 4000}])
                await socket.ack("group_ack", ackIds=["id-6"])
                await camera.close()
            self.assertEqual(got, [[(1, 1), (2, 1)], [(3, 2)], [(4, 1)], [(3, 3)], [(5, 3)], [(6, 1)]])

        run(test())

    def test_leaving_gives_back(self) -> None:
        async def test() -> None:
            async def store(events: list[Event]) -> None:
                await asyncio.sleep(1000)

            with Service() as service:
                camera, socket, group = await ingesting(service, store)
                socket.say(**event(1))
                await asyncio.sleep(1)
                socket.say(**event(2))
                await asyncio.sleep(1)
                group.cancel()
                await socket.ack("unsubscribe", group="ingest")
                await socket.ack("group_ack", nack=[{"ackId": "id-1", "delayMs": 0}, {"ackId": "id-2", "delayMs": 0}])
                with self.assertRaises(asyncio.CancelledError):
                    await group
                await camera.close()

        run(test())

    def test_leaving_while_an_ack_is_under_way(self) -> None:
        async def test() -> None:
            with Service() as service:
                camera, socket, group = await ingesting(service, lambda events: None)
                socket.say(**event(1))
                await socket.expect("group_ack", ackIds=["id-1"])
                group.cancel()
                await socket.ack("unsubscribe", group="ingest")
                await socket.ack("group_ack", ackIds=["id-1"])
                with self.assertRaises(asyncio.CancelledError):
                    await group
                await camera.close()

        run(test())

    def test_the_connection_ends(self) -> None:
        """Events that were handled on a connection that has ended come again, and their first ackIds are of no use."""

        async def test() -> None:
            got: list[Any] = []
            go = asyncio.Event()

            async def store(events: list[Event]) -> None:
                got.append([e.data for e in events])
                await go.wait()

            with Service() as service:
                camera, socket, _ = await ingesting(service, store)
                socket.say(**event(1))
                await asyncio.sleep(1)
                socket.say(**event(2))
                socket.end(1006)
                socket = await service.next()
                await socket.ack("subscribe", group="ingest")
                go.set()
                await asyncio.sleep(1)
                self.assertTrue(socket.sent.empty())
                socket.say(**event(1, attempt=2))
                await socket.ack("group_ack", ackIds=["id-1"])
                await camera.close()
            self.assertEqual(got, [[1], [1]])

        run(test())

    def test_refused(self) -> None:
        async def test() -> None:
            with Service() as service:
                camera, socket, group = await ingesting(service, lambda events: None)
                socket.say(type="error", group="ingest", code="channel_not_authorized", message="the key has lost it")
                with self.assertRaises(fleetwire.Refused):
                    await group
                again = asyncio.create_task(camera.group("ingest", lambda events: None))
                await socket.ack("subscribe", group="ingest")
                with self.assertRaises(ValueError):
                    await camera.group("ingest", lambda events: None)
                socket.end(4020)
                with self.assertRaises(fleetwire.Stopped):
                    await again
                await camera.close()

        run(test())


async def started(service: Service, **options: Any) -> tuple[fleetwire.Client, Socket]:
    made = client(**options)
    made.start()
    return made, await service.next()


async def handling(service: Service, handler: Any, *, confirm: bool = False, on_message: Any = None, **options: Any) -> tuple[fleetwire.Client, Socket]:
    made, socket = await started(service, **options)
    subscribing = asyncio.create_task(made.handle_commands("a", handler, confirm=confirm, on_message=on_message))
    await socket.ack("subscribe", channel="a", commands="confirm" if confirm else None)
    await subscribing
    return made, socket


async def ingesting(service: Service, handler: Any) -> tuple[fleetwire.Client, Socket, asyncio.Task[None]]:
    made, socket = await started(service)
    group = asyncio.create_task(made.group("ingest", handler))
    await socket.ack("subscribe", group="ingest", maxInFlight=100, includeSenderMetadata=True)
    return made, socket, group
