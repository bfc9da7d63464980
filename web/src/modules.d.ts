// What the bundler makes of files that are no TypeScript.
declare module "*.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
declare module "*.bin" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
declare module "*/worker.js" {
  const source: string;
  export default source;
}
