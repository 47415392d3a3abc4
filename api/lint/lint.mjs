// Lints API documents with the linters of their formats.
//
//   node lint.mjs FILE…
//
// Prints a JSON object: each file's problems as an array of strings, empty when
// all is well. Exits 0 also when there are some; the files are read as what
// their first key says, openapi or asyncapi.

import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";
import { createConfig, lint } from "@redocly/openapi-core";

// What the recommended rules leave at a warning counts here as well: see problemsOf.
const config = await createConfig({
  extends: ["recommended-strict"],
  rules: {
    "no-schema-type-mismatch": "error",
    "no-invalid-media-type-examples": { severity: "error", allowAdditionalProperties: false },
    "no-invalid-schema-examples": { severity: "error", allowAdditionalProperties: false },
    "no-invalid-parameter-examples": { severity: "error", allowAdditionalProperties: false },
    "operation-description": "off",
    "operation-operationId": "error",
    "paths-kebab-case": "error",
    "tags-alphabetical": "off",
  },
});

async function problemsOf(file) {
  const text = await readFile(file, "utf8");
  if (/^asyncapi:/m.test(text)) {
    const diagnostics = await new Parser().validate(text);
    // 3.0 on purpose: what generates code from these documents is slow to follow.
    return diagnostics.filter(({ code }) => code !== "asyncapi-latest-version").map(({ code, path, message }) => `${code} at ${path.join(".")}: ${message}`);
  }
  const problems = await lint({ ref: file, config });
  return problems.map(({ ruleId, location, message }) => `${ruleId} at ${location[0]?.pointer ?? "#"}: ${message}`);
}

const found = {};
for (const file of process.argv.slice(2)) found[file] = await problemsOf(file);
console.log(JSON.stringify(found, null, 2));
