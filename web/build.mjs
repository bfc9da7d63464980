// Makes dist/pycnn.html of the modules that build_core.py has made: one file, which needs no server
// and asks for nothing. Its policy names what it holds by hash, so that nothing else can run.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const options = {
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  write: false,
  legalComments: "none",
};

async function bundle(entry, loader) {
  const { outputFiles } = await build({ ...options, entryPoints: [entry], loader });
  return outputFiles[0].text;
}

const inTag = (text, tag) => text.replaceAll(`</${tag}`, `<\\/${tag}`);
const hashOf = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

writeFileSync("build/worker.js", await bundle("src/worker.ts", { ".wasm": "binary" }));
const script = inTag(await bundle("src/main.ts", { ".js": "text", ".bin": "binary" }), "script");
const style = (await bundle("src/style.css", {})).trim();
const policy = [
  "default-src 'none'",
  `script-src ${hashOf(script)} 'wasm-unsafe-eval'`,
  `style-src ${hashOf(style)}`,
  "worker-src blob:",
  "img-src data: blob:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const page = readFileSync("src/index.html", "utf8")
  .replace("$POLICY", () => policy)
  .replace("$STYLE", () => style)
  .replace("$SCRIPT", () => script);
mkdirSync("dist", { recursive: true });
writeFileSync("dist/pycnn.html", page);
const size = (text) => Buffer.byteLength(text).toLocaleString("en");
console.log(`dist/pycnn.html: ${size(page)} bytes, compressed ${gzipSync(page).length}`);
