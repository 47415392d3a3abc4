// The console's screens under axe, which finds what people who do not see or point well stumble over.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { hostile } from "./consoledevices.mjs";
import { open, show, signIn } from "./consolepage.mjs";
import { settings } from "./harness.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const screens = [
  ["Overview", ""], ["Devices", "devices"], [hostile[5], "devices", hostile[5]], ["camera-none", "devices", "camera-none"], ["Channels", "channels"], [`log/${hostile[0]}`, "channels", `log/${hostile[0]}`],
  ["log/**", "channels", "log/**"], ["Commands", "commands"], ["Groups", "groups"], ["ingest", "groups", "ingest"], ["Usage", "usage"], ["Keys", "keys"],
];
/** examine has axe look at each screen, in a page whose policy lets axe in. */
export async function examine(colorScheme, width) {
  const look = await open({ bypassCSP: true, colorScheme, viewport: { width, height: 800 } });
  const check = async (name) => {
    await look.getByText("Loading…").first().waitFor({ state: "detached" });
    const wide = await look.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${name} is ${wide} px wide, in a window of ${width}`);
    const found = await look.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    const bad = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    assert.deepEqual(bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 150)} ${any[0]?.message ?? ""}`).slice(0, 3).join(" | ")}`), [], `${name}, ${colorScheme}, ${width} px`);
  };
  await look.getByLabel("Secret key").waitFor();
  await look.evaluate(axe);
  await check("sign-in");
  await signIn(look, settings.key);
  for (const [title, ...segments] of screens) {
    await show(look, title, ...segments);
    await check(segments.join("/") || "overview");
  }
  await show(look, hostile[0], "devices", hostile[0]);
  await look.getByRole("button", { name: "Revoke…" }).click();
  await check("a dialog");
  await look.context().close();
}
