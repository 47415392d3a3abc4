// The console's page in Chromium: what a person sees and does there.
//
//   node console.mjs < JSON    exits 0 when all is as it should be

import assert from "node:assert/strict";
import { examine } from "./consoleaxe.mjs";
import { connect, hostile, payload, refused } from "./consoledevices.mjs";
import { browser, faults, heading, open, panel, see, show, signIn, step, to } from "./consolepage.mjs";
import { eventually, rest, settings, sign } from "./harness.mjs";

try {
  const fleet = "fleets/f1/commands";
  const obey = (data) => [["running", { progress: 1 }], ["succeeded", { did: data.cmd, uptime: 3 }]];
  const live = await connect("camera-live", ["devices/camera-live/commands", fleet], { obey, peerMetadata: { name: "Yard" } });
  const evil = [];
  for (const id of hostile) evil.push(await connect(id, [`devices/${evil.length}/commands`, fleet], { obey, peerMetadata: payload }));
  for (const device of evil) await device.ask({ type: "publish", channel: `log/${hostile[0]}`, data: payload });
  const big = { ...payload, big: "@".repeat(32 << 10) };
  await live.ask({ type: "publish", channel: "log/big", data: big });
  await live.ask({ type: "publish", channel: "devices/camera-live/events", data: { motion: true } });
  await live.ask({ type: "publish", channel: "alarms/yard", data: { motion: true } });
  const refuseAll = async () => { // what waits for the group becomes dead letters
    const { messages } = await rest("POST", "/v1/groups/ingest/pull", settings.key, {});
    await rest("POST", "/v1/groups/ingest/ack", settings.key, { nack: messages.map(({ ackId }) => ({ ackId })) });
  };
  await refuseAll();

  const tab = await open();

  await step("a wrong key is refused, and the reason shown", async () => {
    await tab.getByLabel("Secret key").fill("sk_live_console:wrong");
    await tab.keyboard.press("Enter");
    await see(tab.getByRole("alert"), "no secret key");
  });

  await step("a good key opens the overview, and stays out of the page", async () => {
    await signIn(tab, settings.key);
    const cookies = await tab.context().cookies(`${settings.base}/console/`);
    assert.deepEqual(cookies.map(({ name, httpOnly, sameSite, path }) => [name, httpOnly, sameSite, path]), [["fleetwire_console", true, "Strict", "/console/"]]);
    assert.deepEqual(await tab.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]), ["", 0, 0]);
    assert.ok(!(await tab.content()).includes(settings.key.split(":")[1]));
  });

  await step("the page's policy refuses inline styles and HTML made of text, and the test hears of it", async () => {
    const refusal = await tab.evaluate(() => {
      document.body.setAttribute("style", "color: red");
      try {
        document.createElement("p").innerHTML = "<b>bold</b>";
        return "none";
      } catch (err) {
        return err.name;
      }
    });
    assert.equal(refusal, "TypeError");
    await eventually("two violations are told", () => faults.some((f) => f.startsWith("style-src-attr")) && faults.some((f) => f.startsWith("require-trusted-types-for")));
    faults.length = 0;
  });

  await step("the overview has the figures, the nodes, and who publishes most", async () => {
    await see(tab, "Online now");
    await see(tab.locator(".figure", { hasText: "Online now" }), String(1 + hostile.length));
    await tab.getByRole("table", { name: "Nodes" }).getByText("ready").waitFor();
    await tab.getByRole("img", { name: /Messages per second: \d/ }).waitFor();
    await panel(tab, "Top devices").getByRole("link", { name: "camera-live" }).waitFor();
    await see(panel(tab, "Refusals and closes, as they happen"), "Live");
    assert.equal(await refused("a token that has expired", sign(settings.key, "camera-late", { exp: 1 })), 4002);
    await see(panel(tab, "Refusals and closes, as they happen"), "refused 4002");
    await tab.getByRole("table", { name: "Refusals by code" }).getByText("4002").waitFor();
  });

  await step("10,000 devices come page by page, are searched and filtered", async () => {
    await show(tab, "Devices", "devices");
    const rows = tab.getByRole("table", { name: "Devices" }).locator("tbody tr");
    await rows.nth(99).waitFor();
    assert.equal(await rows.count(), 100);
    const first = await rows.first().innerText();
    await tab.getByRole("button", { name: "Next page" }).click();
    await see(tab, "Page 2");
    await tab.locator("table:not(.stale)", { hasNotText: first.split("\t")[0] }).waitFor();
    await tab.getByRole("button", { name: "Previous page" }).click();
    await see(tab, "Page 1");
    await tab.getByLabel("Id begins with").fill("camera-0999");
    await see(tab, "10 devices on this page");
    assert.equal(await rows.count(), 10);
    await tab.getByLabel("Id begins with").fill("camera-");
    await tab.getByRole("button", { name: "Online" }).click();
    await see(tab, "1 device on this page"); // behind 10,000 that are not online
    await tab.getByRole("link", { name: "camera-live" }).click();
    await heading(tab, "camera-live");
  });

  await step("a device shows its connection, subscriptions, metadata and frames", async () => {
    await tab.getByRole("table", { name: "Connections" }).getByRole("link", { name: fleet }).waitFor();
    await see(tab.getByRole("table", { name: "Connections" }), "<b>camera-live</b>");
    await see(panel(tab, "Metadata"), '"name": "Yard"');
    const frames = panel(tab, "Frames, as they pass");
    await see(frames, "Live");
    live.send({ type: "publish", channel: "devices/camera-live/state", data: { seq: 1 }, requestId: "f-1" });
    await see(frames, `"requestId":"f-1"}`);
    await see(frames, "from device");
    await see(frames, "to device");
    await frames.getByRole("button", { name: "Pause" }).click();
    live.send({ type: "publish", channel: "devices/camera-live/state", data: { seq: 2 }, requestId: "f-2" });
    await frames.getByRole("button", { name: /Go on \(\d+ new\)/ }).waitFor();
    assert.equal(await frames.getByText("f-2").count(), 0);
    await frames.getByRole("button", { name: /Go on/ }).click();
    await see(frames, "f-2");
    await frames.getByLabel("Filter: Frames").fill("f-2");
    await frames.getByText("f-1").first().waitFor({ state: "detached" });
    await frames.locator("summary").first().click();
    await see(frames.getByRole("region", { name: "Frame" }), '"requestId": "f-2"');
  });

  await step("a command is sent to a device, and its answer seen", async () => {
    const form = panel(tab, "Send a command");
    assert.equal(await form.getByLabel("Channel").inputValue(), "devices/camera-live/commands");
    await form.getByLabel("Command (JSON)").fill("{reboot");
    await form.getByRole("button", { name: "Send command" }).click();
    await see(form, "This is not JSON");
    await form.getByLabel("Command (JSON)").fill('{"cmd":"reboot","id":9007199254740993,"rate":1.50}');
    await form.getByRole("button", { name: "Send command" }).click();
    await see(form, '"did": "reboot"');
    await tab.getByRole("status").getByText("The command ended: succeeded").waitFor();
    await tab.getByRole("table", { name: "Commands of the device" }).getByText("succeeded").waitFor();
    await form.getByRole("link", { name: /Open command/ }).click();
    await see(panel(tab, "Data"), '"id": 9007199254740993');
    await see(panel(tab, "Data"), '"rate": 1.50');
    await see(tab, "1 device expected: 1 succeeded.");
  });

  await step("the keyboard alone finds a device, and commands it", async () => {
    await show(tab, "Overview", "");
    const walk = async (role, name) => {
      const there = tab.getByRole(role, { name, exact: true });
      await there.first().waitFor();
      for (let i = 0; i < 60; i++) {
        await tab.keyboard.press("Tab");
        const unseen = await tab.evaluate(() => {
          const focused = document.activeElement; // the body: the end of the page, before it begins again
          return focused !== document.body && getComputedStyle(focused).outlineStyle === "none" ? focused.outerHTML : "";
        });
        assert.equal(unseen, "", "it shows where the focus is");
        if (await there.evaluateAll((all) => all.includes(document.activeElement))) return tab.keyboard.press("Enter");
      }
      throw new Error(`60 tabs do not lead to ${role} ${name}`);
    };
    await walk("link", "Devices");
    await heading(tab, "Devices");
    await walk("button", "Online");
    await see(tab, `${1 + hostile.length} devices on this page`);
    await walk("link", "camera-live");
    await heading(tab, "camera-live");
    await walk("button", "Send command");
    await see(panel(tab, "Send a command"), '"did": "reboot"');
    await tab.getByRole("table", { name: "Commands of the device" }).locator("tbody tr").nth(1).waitFor();
  });

  await step("a fleet's command shows its progress and each answer", async () => {
    await show(tab, "Commands", "commands");
    const form = panel(tab, "Send a command");
    await form.getByLabel("Channel").fill("fleets/none/commands");
    await form.getByRole("button", { name: "Send command" }).click();
    await see(form, "choose a time under “Options”");
    await form.getByText("Options", { exact: true }).click();
    await form.getByLabel("Wait for devices that are away").selectOption("for 10 minutes");
    await form.getByRole("button", { name: "Send command" }).click();
    await heading(tab, "cmd_");
    await see(panel(tab, "Progress"), "waiting");
    await tab.getByRole("button", { name: "Cancel…" }).click();
    await tab.getByRole("dialog").getByRole("button", { name: "Cancel the command" }).click();
    await see(panel(tab, "Progress"), "cancelled");
    await show(tab, "Commands", "commands");
    await form.getByLabel("Channel").fill(fleet);
    await form.getByRole("button", { name: "Send command" }).click();
    await heading(tab, "cmd_");
    await see(tab, `${1 + hostile.length} devices expected: ${1 + hostile.length} succeeded.`);
    for (const id of hostile) await tab.getByRole("table", { name: "Answers" }).getByRole("link", { name: id, exact: true }).waitFor();
    await tab.getByRole("link", { name: fleet }).click();
    await heading(tab, fleet);
    await tab.getByRole("link", { name: "Commands", exact: true }).last().click();
    await tab.getByRole("table", { name: "Commands" }).getByText(`${1 + hostile.length} of ${1 + hostile.length}`).waitFor();
  });

  await step("a channel shows messages live and remembered, and is published to", async () => {
    await show(tab, "log/big", "channels", "log/big");
    await see(panel(tab, "Messages, as they pass"), "Live");
    await see(panel(tab, "Remembered messages"), "Newest position: 1");
    await panel(tab, "Remembered messages").locator("summary").first().click();
    await panel(tab, "Remembered messages").getByRole("button", { name: /Show all 3\d,\d+ characters/ }).click();
    await tab.getByLabel("Message (JSON)").fill('{"said": "hello", "n": 1.50}');
    await tab.getByRole("button", { name: "Publish" }).click();
    await see(tab, "0 connections were subscribed by name");
    await see(panel(tab, "Messages, as they pass"), '"said":"hello"');
    await see(panel(tab, "Remembered messages"), "Newest position: 2");
    await tab.getByRole("button", { name: "Forget all…" }).click();
    await tab.getByRole("dialog").getByRole("button", { name: "Forget them" }).click();
    await see(panel(tab, "Remembered messages"), "has none now");
    await show(tab, "log/**", "channels", "log/**");
    await see(panel(tab, "Messages, as they pass"), "Live");
    await evil[1].ask({ type: "publish", channel: "log/any", data: payload });
    await see(panel(tab, "Messages, as they pass"), "log/any");
  });

  await step("ids and payloads of hostile devices are shown as text", async () => {
    for (const id of hostile) {
      await show(tab, id, "devices", id);
      await tab.getByRole("table", { name: "Connections" }).getByText("devices/").first().waitFor();
      await see(panel(tab, "Metadata"), `"script": ${JSON.stringify(payload.script)}`);
      await see(panel(tab, "Metadata"), "\\u202e");
      await tab.getByRole("table", { name: "Commands of the device" }).getByText("succeeded").first().waitFor();
    }
    const channel = `log/${hostile[0]}`;
    await show(tab, channel, "channels", channel);
    await see(panel(tab, "Remembered messages"), hostile[0]);
    for (const [screen, title] of [["devices", "Devices"], ["channels", "Channels"], ["usage", "Usage"], ["", "Overview"]]) {
      await show(tab, title, screen);
      await see(tab, screen === "devices" ? hostile[1] : channel);
    }
    assert.equal(await tab.evaluate(() => typeof hit), "undefined");
    assert.equal(await tab.evaluate(() => document.querySelectorAll("#console :is(img, script, iframe, object, b b)").length), 0);
  });

  await step("a group shows what waits, and dead letters go round again", async () => {
    await show(tab, "Groups", "groups");
    await tab.getByRole("link", { name: "ingest" }).click();
    await see(tab.locator(".figure", { hasText: "Dead letters" }), "1");
    const letters = panel(tab, "Dead letters");
    await see(letters, "refused, 1 delivery");
    await letters.getByLabel("All on this page").check();
    await letters.getByRole("button", { name: "Deliver 1 again" }).click();
    await see(letters, "1 message waits for the group again.");
    await see(letters, "There is no dead letter.");
    await refuseAll();
    await letters.getByRole("button", { name: "Delete all 1…" }).click();
    await tab.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await see(letters, "1 dead letter was deleted.");
    await show(tab, "none", "groups", "none");
    await see(tab, "document has no such group");
  });

  await step("a sink shows why it delivers nothing, and is tried again", async () => {
    await tab.goto(to("groups"));
    await see(panel(tab, "crm"), "webhook: failing");
    await tab.getByRole("link", { name: "crm" }).click();
    const sink = panel(tab, "Sink");
    await see(sink, "Last error");
    const failing = await sink.getByText(/\d+ (ms|s) ago|just now/).first().getAttribute("datetime");
    await sink.getByRole("button", { name: "Try now" }).click();
    await tab.getByRole("status").getByText("The nodes try the sink again now").waitFor();
    await eventually("the sink was tried again", async () => (await sink.getByText(/\d+ (ms|s) ago|just now/).first().getAttribute("datetime")) !== failing);
  });

  await step("usage is shown by channel and device, and keys without secrets", async () => {
    await show(tab, "Usage", "usage");
    await tab.getByLabel("Channels that match").fill("devices/**");
    await tab.keyboard.press("Enter");
    await tab.getByRole("table", { name: "Usage by channel" }).getByText("devices/camera-live/events").waitFor();
    await tab.getByRole("button", { name: "By device" }).click();
    await tab.getByRole("table", { name: "Usage by device" }).getByText("camera-live").waitFor();
    await show(tab, "Keys", "keys");
    await see(panel(tab, "sk_live_looks"), "viewer");
    await see(panel(tab, "sk_live_console"), "this session");
    await see(panel(tab, "pk_live_page"), "https://app.example.com");
    assert.ok(!(await tab.content()).includes("5ec4e7"), "a secret is in the page");
  });

  await step("the keyboard alone skips, walks and confirms; a device is disconnected and revoked", async () => {
    await tab.goto(to("devices", "camera-live"));
    await tab.reload();
    await heading(tab, "camera-live");
    await tab.keyboard.press("Tab");
    const skip = tab.getByRole("button", { name: "Skip to the content" });
    assert.ok(await skip.evaluate((e) => e === document.activeElement && e.getBoundingClientRect().top >= 0 && getComputedStyle(e).outlineStyle !== "none"));
    await tab.keyboard.press("Enter");
    assert.equal(await tab.evaluate(() => document.activeElement.tagName), "H1");
    const disconnect = tab.getByRole("button", { name: "Disconnect…" });
    await disconnect.waitFor();
    await disconnect.focus();
    await tab.keyboard.press("Enter");
    await tab.getByRole("dialog", { name: "Disconnect the device?" }).waitFor();
    await tab.keyboard.press("Escape");
    await tab.locator("dialog").waitFor({ state: "detached" }); // getByRole does not see it from when it closes, before the page has heard of that
    assert.ok(await disconnect.evaluate((e) => e === document.activeElement), "the focus is back where it was");
    await tab.keyboard.press("Enter");
    await tab.getByRole("dialog").getByRole("button", { name: "Disconnect" }).focus();
    await tab.keyboard.press("Enter");
    await see(tab.locator("main"), "1 connection closed.");
    assert.equal(await live.closed, 4020);
    const again = await connect("camera-live", []);
    await tab.getByRole("button", { name: "Revoke…" }).click();
    await tab.getByRole("dialog").getByRole("button", { name: "Revoke and disconnect" }).click();
    await see(tab.locator("main"), "1 connection closed, and the tokens that the device had are refused.");
    assert.equal(await again.closed, 4020);
    const old = sign(settings.key, "camera-live", { iat: Math.floor(Date.now() / 1000) - 5 });
    assert.equal(await refused("a revoked device", old), 4001);
  });

  await step("errors of the API are shown, with what to do next", async () => {
    await show(tab, "camera-nowhere", "devices", "camera-nowhere");
    await see(tab.getByRole("alert"), "404 peer_not_found");
    await see(tab, "It shows here as soon as it connects.");
    await show(tab, "Not found", "nothing", "like", "it");
  });

  await step("a viewer sees all, has no button that writes, and is refused by the service", async () => {
    const looking = await open();
    await signIn(looking, settings.viewer);
    await see(looking, "view only");
    const id = hostile[0];
    for (const [title, ...segments] of [[id, "devices", id], [fleet, "channels", fleet], ["log/any", "channels", "log/any"], ["Commands", "commands"], ["ingest", "groups", "ingest"], ["Keys", "keys"]]) {
      await show(looking, title, ...segments);
      await looking.locator("main .panel").first().waitFor();
      await looking.getByText("Loading…").first().waitFor({ state: "detached" });
      const writes = looking.locator("main").getByRole("button", { name: /Send|Publish|Disconnect|Revoke|Forget|Deliver|Delete|Cancel|Try now/ });
      assert.deepEqual(await writes.allInnerTexts(), [], `buttons on ${segments}`);
    }
    const tries = await looking.evaluate(async (id) => {
      const ask = async (method, path, body, headers = { "x-fleetwire-console": "1" }) => {
        const response = await fetch(`api/v1/${path}`, { method, headers: { "content-type": "application/json", ...headers }, body });
        return `${response.status} ${(await response.json()).error}`;
      };
      return [
        await ask("DELETE", `peers/${encodeURIComponent(id)}`),
        await ask("POST", "channels/a/publish", '{"data":1}'),
        await ask("POST", "channels/a/commands", '{"data":1}'),
        await ask("POST", "groups/ingest/redrive", "{}"),
        await ask("POST", "channels/a/publish", '{"data":1}', {}),
      ];
    }, id);
    assert.deepEqual(tries, Array(5).fill("403 action_not_permitted"));
    await looking.context().close();
  });

  await step("signing out ends the session, also for another tab", async () => {
    const other = await tab.context().newPage();
    await other.goto(to("keys"));
    await heading(other, "Keys");
    const [cookie] = await tab.context().cookies(`${settings.base}/console/`);
    await tab.route("**/console/session", (route) => route.abort(), { times: 1 });
    await tab.getByRole("button", { name: "Sign out" }).click();
    await see(tab.getByRole("alert"), "The service cannot be reached.");
    await tab.getByRole("button", { name: "Sign out" }).click();
    await see(tab, "You are signed out.");
    const copied = await fetch(`${settings.base}/console/session`, { headers: { cookie: `${cookie.name}=${cookie.value}` } });
    assert.equal(copied.status, 401, "a copy of the cookie");
    await other.getByRole("link", { name: "Devices" }).click();
    await see(other, "Your session has ended. Sign in again.");
    await tab.context().close();
  });

  await step("axe finds nothing serious, light and dark, wide and narrow", async () => {
    await Promise.all([examine("light", 1280), examine("dark", 1280)]);
    await Promise.all([examine("light", 360), examine("dark", 360)]);
  });

  assert.deepEqual(faults, []);
  for (const device of [live, ...evil]) device.end();
} finally {
  await browser.close();
}
