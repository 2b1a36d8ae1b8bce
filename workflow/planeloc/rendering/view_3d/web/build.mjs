// Bundles src/ with three.js into ../page/viewer.min.js, and writes bundle.json: what the bundle was made from.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const page = new URL("../page/", import.meta.url);
const three = JSON.parse(read("package-lock.json")).packages["node_modules/three"].version;
const licence = read("node_modules/three/LICENSE").trim();

const { outputFiles } = await build({
  absWorkingDir: new URL(".", import.meta.url).pathname,
  entryPoints: ["src/main.js"],
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  legalComments: "none",
  banner: { js: `/*\nplaneloc's 3D view, with three.js r${three.split(".")[1]}:\n\n${licence}\n*/` },
  write: false,
});
const code = outputFiles[0].text;
if (code.includes("</script")) throw new Error("the bundle would end its own script element");
writeFileSync(new URL("viewer.min.js", page), code);
writeFileSync(new URL("three.LICENSE.txt", page), `${licence}\n`);
const made = ["package.json", "package-lock.json", "build.mjs", ...readdirSync(new URL("src", import.meta.url)).sort().map((file) => `src/${file}`)];
const record = { three, bundle: sha256(code), made_from: Object.fromEntries(made.map((file) => [file, sha256(read(file))])) };
writeFileSync(new URL("bundle.json", import.meta.url), `${JSON.stringify(record, null, 2)}\n`);
console.log(`viewer.min.js: ${Buffer.byteLength(code)} bytes`);
