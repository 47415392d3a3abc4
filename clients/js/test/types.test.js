// The types, which are written by hand, are those of the code.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import * as fleetwire from "../src/index.js";

const types = fileURLToPath(new URL("../index.d.ts", import.meta.url));

test("tsc accepts a program that uses them", () => {
  const tsc = fileURLToPath(import.meta.resolve("typescript/bin/tsc"));
  try {
    execFileSync(process.execPath, [tsc, "-p", fileURLToPath(new URL(".", import.meta.url))], { encoding: "utf8" });
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test("they have the names that the code exports, and the methods of its classes", () => {
  const source = ts.createSourceFile(types, ts.sys.readFile(types), ts.ScriptTarget.Latest);
  const declared = new Map();
  for (const statement of source.statements) {
    if (ts.isClassDeclaration(statement)) declared.set(statement.name.text, statement.members);
    if (ts.isFunctionDeclaration(statement)) declared.set(statement.name.text, undefined);
  }
  assert.deepEqual([...declared.keys()].sort(), Object.keys(fleetwire).sort());
  for (const [name, members] of declared) {
    const { prototype } = fleetwire[name];
    if (!members || prototype instanceof Error) continue;
    const named = members.map((member) => member.name?.text ?? "constructor");
    assert.deepEqual(named.sort(), Object.getOwnPropertyNames(prototype).sort(), name);
  }
});
