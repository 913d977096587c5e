// SPDX-FileCopyrightText: usdx.rollback contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// Fails when Mermaid cannot read a diagram of the pages: node check_diagrams.mjs mermaid.min.js PAGE...
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

const [library, ...pages] = process.argv.slice(2);
// Mermaid asks for a browser when it loads. To read a diagram it needs no more of one than this.
globalThis.window = { document: { nodeType: 9, createElement: () => ({}), implementation: {} }, Element: class {} };
runInThisContext(readFileSync(library, "utf8"), { filename: library });

let read = 0;
for (const page of pages) {
  const text = readFileSync(page, "utf8");
  for (const found of text.matchAll(/^```mermaid\n(.*?)^```$/gms)) {
    try {
      await globalThis.mermaid.parse(found[1]);
      read += 1;
    } catch (error) {
      const line = text.slice(0, found.index).split("\n").length;
      console.error(`${page}:${line}: Mermaid cannot read this diagram: ${error.message}`);
      process.exitCode = 1;
    }
  }
}
if (!process.exitCode && !read) {
  console.error("No page has a diagram, so nothing was checked.");
  process.exitCode = 1;
}
