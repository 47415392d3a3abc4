// Names and patterns (protocol §2).

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkChannel, checkPeer, isPattern, matcher } from "../src/names.js";

test("patterns match as the protocol says", () => {
  for (const [pattern, name, want] of [
    ["devices/*/events", "devices/cam-1/events", true], ["devices/*/events", "devices/cam-1/a/b", false], ["devices/*/events", "devices/", false],
    ["devices/*", "devices/cam-1/events", false], ["devices/*", "devices/", true],
    ["devices/**", "devices/cam-1/events", true], ["devices/**", "devices/cam-1/a/b", true], ["devices/**", "devices/", true], ["**", "devices/a", true],
    ["***", "a/b", true], ["a\\*b*", "a*bc", true], ["a\\*b*", "axbc", false], ["a\\\\*", "a\\b", true], ["a\\b*", "a\\bc", true], ["a\\\\\\*b*", "a\\*b", true],
    ["a.c*", "abc", false], ["a.c*", "a.cd", true], ["[a-z]*", "b", false], ["(a|b)*", "(a|b)c", true], ["^$*", "^$x", true], ["a*", "A", false], ["ü*", "üx", true],
    ["*a", "aaaaab", false], ["**/x", "a/b/x", true], ["*", "new\nline", true],
    ["**", "_system/connectivity/a", false], ["_s*/**", "_system/connectivity/a", false], ["_system/connectivity/*", "_system/connectivity/a", true],
    ["**", "_other/a", true], ["**", "_metered/a", false], ["**", "_internal/a", false],
  ]) {
    assert.equal(matcher(pattern)(name), want, `${pattern} matches ${name}`);
  }
});

test("a name without an unescaped star is no pattern", () => {
  for (const [name, want] of [["a", false], ["a*", true], ["a\\*b", false], ["a\\\\*b", true], ["a\\", false], ["**", true]]) {
    assert.equal(isPattern(name), want, name);
  }
});

test("names are checked as the service checks them", () => {
  for (const name of ["a", "a/b", "...", "a/..b", "ü".repeat(128), "a b", "*"]) checkChannel(name);
  for (const name of ["", "a\nb", "\u0085", ".", "a/./b", "../b", "ü".repeat(129), undefined, 1]) {
    assert.throws(() => checkChannel(name), { code: "invalid_channel" }, String(name));
  }
  for (const id of ["a", " ~", "x".repeat(128)]) checkPeer(id);
  for (const id of ["", "ü", "x".repeat(129), "a\n", undefined]) assert.throws(() => checkPeer(id), { code: "invalid_peer_id" }, String(id));
});
