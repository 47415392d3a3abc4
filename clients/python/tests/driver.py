"""The driver of the Python client for the clients' suite: clients/suite/README.md has the protocol."""
from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Awaitable, Callable
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fleetwire  # noqa: E402
from fleetwire import State  # noqa: E402

Fields = dict[str, Any]


def write(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def code_of(error: BaseException) -> str:
    if isinstance(error, fleetwire.Refused) and error.code:
        return error.code
    names = {fleetwire.TooLarge: "too_large", fleetwire.ConnectionLost: "connection_lost", fleetwire.Closed: "closed", fleetwire.Stopped: "stopped"}
    return names.get(type(error), "other")


def position(at: fleetwire.Position | None) -> Fields | None:
    return None if at is None else {"epoch": at.epoch, "offset": at.offset}


def at(fields: Fields | None) -> fleetwire.Position | None:
    return None if fields is None else fleetwire.Position(fields["epoch"], fields["offset"])


def members(entries: list[fleetwire.Member]) -> list[Fields]:
    return [{"peer": m.peer, "metadata": m.metadata} for m in entries]


def shown(message: fleetwire.Message) -> Fields:
    return {
        "channel": message.channel, "from": message.sender, "data": message.data, "replayed": message.replayed,
        "metadata": message.sender_metadata, "position": position(message.position),
    }


class Peer:
    """One client of the suite."""

    def __init__(self, name: str, r: Fields) -> None:
        self.name, self.released, self.groups = name, asyncio.Event(), dict[str, asyncio.Task[None]]()
        token = r.get("token") or (lambda: json.load(urlopen(r["tokenServer"], timeout=10))["token"])
        self.client = fleetwire.Client(
            r["url"], token, on_state=self.state, on_direct=lambda m: self.tell("direct", **shown(m)),
            on_error=lambda e: self.tell("error", code=code_of(e)),
            on_gap=lambda g: self.tell("gap", channel=g.channel, after=position(g.after), until=position(g.until)),
        )
        self.client.start()

    def tell(self, event: str, **fields: Any) -> None:
        write(event=event, client=self.name, **fields)

    def state(self, change: fleetwire.Change) -> None:
        code = change.error.code if isinstance(change.error, fleetwire.ConnectionEnded) else 1006
        retry = round((change.retry_in or 0) * 1000)
        if change.state == State.CONNECTED and change.welcome:
            self.tell("connected", peer=change.welcome.peer, expiresAt=change.welcome.expires_at)
        elif change.state == State.LIVE:
            self.tell("live")
        elif change.state == State.GOING_AWAY:
            self.tell("going_away", retryAfterMs=retry)
        elif change.state == State.WAITING:
            self.tell("disconnected", code=code, retryInMs=retry)
        elif change.state == State.STOPPED:
            self.tell("stopped", code=code)

    async def close(self, r: Fields) -> None:
        for group in self.groups.values():
            group.cancel()
        await asyncio.gather(*self.groups.values(), return_exceptions=True)
        await self.client.close()

    async def subscribe(self, r: Fields) -> None:
        await self.client.subscribe(
            r["channel"], lambda m: self.tell("message", **shown(m)), presence=self.presence if r.get("presence") else None,
            sender_metadata=r.get("metadata", False), last=r.get("last"), since=at(r.get("since")),
        )

    def presence(self, change: fleetwire.Presence) -> None:
        self.tell("presence", channel=change.channel, joined=members(change.joined), left=members(change.left))

    async def unsubscribe(self, r: Fields) -> None:
        await self.client.unsubscribe(r["channel"])

    async def publish(self, r: Fields) -> Fields:
        done = await self.client.publish(r["channel"], r["data"], idempotency_key=r.get("idempotencyKey"), if_newest=at(r.get("if")))
        return {"position": position(done)}

    async def send(self, r: Fields) -> None:
        await self.client.send(r["to"], r["data"])

    async def handle_commands(self, r: Fields) -> None:
        await self.client.handle_commands(r["channel"], lambda c: self.obey(c, r["mode"]), confirm=r.get("confirm", False))

    async def obey(self, command: fleetwire.Command, mode: str) -> Fields:
        self.tell("command", id=command.id, channel=command.channel, data=command.data, attempt=command.attempt, **{"from": command.sender})
        if mode == "progress":
            await command.progress({"percent": 50})
        elif mode == "fail":
            raise RuntimeError("it is broken")
        elif mode == "reject":
            raise fleetwire.Rejected("not now")
        elif mode == "hold":
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.tell("cancelled", id=command.id)
                raise
        return {"did": command.data}

    async def release(self, r: Fields) -> None:
        self.released.set()

    async def group(self, r: Fields) -> None:
        self.groups[r["group"]] = asyncio.create_task(self.ingest(r["group"], r["mode"]))

    async def ingest(self, group: str, mode: str) -> None:
        def handle(events: list[fleetwire.Event]) -> None:
            for e in events:
                self.tell("event", group=group, channel=e.channel, data=e.data, attempt=e.attempt, **{"from": e.sender})
            if mode == "fail_first" and any(e.attempt == 1 for e in events):
                raise RuntimeError("not the first time")

        try:
            await self.client.group(group, handle)
        except asyncio.CancelledError:
            self.tell("group_ended", group=group)
        except fleetwire.Error as error:
            self.tell("group_ended", group=group, error=code_of(error))

    async def leave_group(self, r: Fields) -> None:
        self.groups[r["group"]].cancel()

    async def set_will(self, r: Fields) -> None:
        await self.client.set_will(r["channel"], r["data"], r["delayMs"] / 1000)

    async def clear_will(self, r: Fields) -> None:
        await self.client.clear_will()


class Rest:
    """The requests of a backend, by their names without rest_."""

    def __init__(self, r: Fields) -> None:
        self.backend = fleetwire.Backend(r["url"], r["key"])

    async def token(self, r: Fields) -> Fields:
        return {"token": await self.backend.mint_token(r["peer"], channels=r.get("channels"), permissions=r.get("permissions"), ttl=r.get("ttlSec", 3600))}

    async def publish(self, r: Fields) -> Fields:
        done = await self.backend.publish(
            r["channel"], r["data"], sender=r.get("from"), idempotency_key=r.get("idempotencyKey"), if_newest=at(r.get("if")))
        return {"subscribers": done.subscribers, "position": position(done.position)}

    async def command(self, r: Fields, wait: float | None = None) -> Fields:
        return command(await self.backend.command(
            r["channel"], r["data"], wait=wait, ttl=r.get("ttlMs", 0) / 1000, timeout=r.get("timeoutMs", 30000) / 1000,
            expect=r.get("expect"), sender=r.get("from"), idempotency_key=r.get("idempotencyKey")))

    async def start_command(self, r: Fields) -> Fields:
        return await self.command(r, wait=0)

    async def read_command(self, r: Fields) -> Fields:
        return command(await self.backend.read_command(r["command"]))

    async def cancel_command(self, r: Fields) -> Fields:
        return command(await self.backend.cancel_command(r["command"]))

    async def history(self, r: Fields) -> Fields:
        found = await self.backend.history(r["channel"], last=r.get("last"), since=at(r.get("since")))
        return {"position": position(found.position), "recovered": found.recovered, "messages": [shown(m) for m in found.messages]}

    async def pull(self, r: Fields) -> Fields:
        return {"messages": await self.backend.pull(r["group"], max_messages=r["max"], wait=r["waitMs"] / 1000)}

    async def ack(self, r: Fields) -> Fields:
        return {"results": await self.backend.ack(r["group"], r["ackIds"])}

    async def peers(self, r: Fields) -> Fields:
        found = self.backend.peers(prefix=r.get("prefix", ""), online=r.get("online"))
        return {"peers": [{"peer": p["peerId"], "online": p["online"]} async for p in found]}

    async def members(self, r: Fields) -> Fields:
        return {"members": members(await self.backend.members(r["channel"]))}

    async def disconnect(self, r: Fields) -> Fields:
        return {"closed": await self.backend.disconnect(r["peer"], revoke=r.get("revoke", False))}


def command(sent: fleetwire.SentCommand) -> Fields:
    answers = [{"peer": a.peer, "status": a.status, "data": a.data, "attempt": a.attempt} for a in sent.answers]
    return {"command": sent.id, "status": sent.status, "answers": answers}


class Driver:
    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {}

    async def answer(self, r: Fields) -> None:
        try:
            write(id=r["id"], ok=True, **(await self.do(r) or {}))
        except Exception as error:
            more = {"position": position(error.position)} if isinstance(error, fleetwire.Refused) else {}
            write(id=r["id"], error=code_of(error), message=str(error), **more)

    def do(self, r: Fields) -> Awaitable[Fields | None]:
        if r["do"] == "connect":
            self.peers[r["client"]] = Peer(r["client"], r)
            return asyncio.sleep(0)
        to: Any = Rest(r) if r["do"].startswith("rest_") else self.peers[r["client"]]
        act: Callable[[Fields], Awaitable[Fields | None]] = getattr(to, r["do"].removeprefix("rest_"))
        return act(r)


async def main() -> None:
    driver, working, loop = Driver(), set[asyncio.Task[None]](), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(driver.answer(json.loads(line)))
        working.add(task)
        task.add_done_callback(working.discard)
    for peer in driver.peers.values():
        await peer.close({})
    await asyncio.gather(*working)


asyncio.run(main())
