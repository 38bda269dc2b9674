// Makes build/js-invoice.wasm: the JavaScript engine as a component, started once and with the source read already.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize(await readFile("src/invoice.js", "utf8"), {
  sourceName: "invoice.js",
  witPath: "wit",
  worldName: "invoice",
});
await mkdir("build", { recursive: true });
await writeFile("build/js-invoice.wasm", component);
