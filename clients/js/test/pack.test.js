// The package as npm packs it. A program that installs it is in the README's story, which ../../suite tells.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = new URL("..", import.meta.url);
const text = (path) => readFileSync(new URL(path, root), "utf8");

test("npm packs what the package needs, and nothing else, without a network", () => {
  const packed = execFileSync("npm", ["pack", "--dry-run", "--json", "--offline", "--loglevel=error"], { cwd: fileURLToPath(root), encoding: "utf8" });
  const sources = readdirSync(new URL("src", root)).map((name) => `src/${name}`);
  const files = JSON.parse(packed)[0].files.map(({ path }) => path);
  assert.deepEqual(files.sort(), ["LICENSE", "README.md", "index.d.ts", "package.json", ...sources].sort());
});

test("its description is complete, and it needs no other package", () => {
  const described = JSON.parse(text("package.json"));
  for (const field of ["name", "version", "description", "keywords", "license", "type", "exports", "types", "files", "sideEffects", "engines"]) {
    assert.ok(described[field] !== undefined, field);
  }
  assert.deepEqual([described.type, described.sideEffects, described.dependencies, described.peerDependencies], ["module", false, undefined, undefined]);
  const { types, default: main } = described.exports["."];
  assert.equal(types, described.types);
  for (const path of [types, main]) assert.ok(existsSync(new URL(path, root)), path);
  assert.equal(text("LICENSE"), text("../../LICENSE"));
  for (const source of readdirSync(new URL("src", root))) {
    for (const [, from] of text(`src/${source}`).matchAll(/ from "([^"]+)"/g)) assert.match(from, /^\.\/[a-z]+\.js$/, source);
  }
});

test("its lock file names no host", () => assert.doesNotMatch(text("package-lock.json"), /https?:/));
