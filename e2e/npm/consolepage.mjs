// A browser in which the console is tried: signing in, screens, and what is wrong with them.

import { chromium } from "playwright-core";
import { patience, settings } from "./harness.mjs";

/** to is the address of a screen. */
export const to = (...segments) => `${settings.base}/console/#/${segments.map(encodeURIComponent).join("/")}`;

export const browser = await chromium.launch({
  executablePath: settings.chromium,
  args: [
    ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), // Chromium's own does not work for root
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // it asks nobody else, whatever it is curious about
  ],
});

export const faults = []; // violations of the page's policy, and errors of its scripts

/** open opens the page in a browser of its own, as somebody who has not signed in. */
export async function open(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(patience);
  await context.exposeFunction("fault", (what) => faults.push(what));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (e) => fault(`${e.violatedDirective} ${e.blockedURI} ${e.sample} at ${e.sourceFile}:${e.lineNumber}`));
  });
  const tab = await context.newPage();
  tab.on("pageerror", (err) => faults.push(err.stack));
  tab.on("console", (message) => /policy|violat/i.test(message.text()) && faults.push(message.text()));
  await tab.goto(to(""));
  return tab;
}

export async function signIn(tab, credential) {
  await tab.getByLabel("Secret key").fill(credential);
  await tab.getByRole("button", { name: "Sign in" }).click();
  await heading(tab, "Overview");
}

/** heading waits for the title of a screen, panel is one of its parts, and see waits for a text. */
export const heading = (tab, name) => tab.getByRole("heading", { level: 1, name, exact: false }).waitFor();
export const panel = (tab, name) => tab.getByRole("region", { name, exact: true });
export const see = (where, text) => where.getByText(text).first().waitFor();

/** show goes to a screen by its address, and waits for its title. */
export async function show(tab, title, ...segments) {
  await tab.goto(to(...segments));
  await heading(tab, title);
}

/** step runs one step of the test, and names it if it fails. */
export async function step(name, run) {
  const begin = performance.now();
  try {
    await run();
  } catch (err) {
    throw new Error(`${name}: ${err.stack}\n${faults.join("\n")}`);
  }
  console.log(`${Math.round(performance.now() - begin)} ms ${name}`);
}

