// SHA-256 (FIPS 180-4): the browser's own is not there for pages that come without encryption.

const PRIMES = [...Array(312).keys()].filter(
  (n) => n > 1 && [...Array(n).keys()].slice(2).every((d) => n % d !== 0),
);

// Cube and square roots of primes: integers decide the last bit, which a function's might miss.
function rootBits(prime: bigint, power: bigint): number {
  const shifted = prime << (32n * power);
  let [low, high] = [0n, prime << 32n];
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** power <= shifted) low = middle;
    else high = middle;
  }
  return Number(low & 0xffffffffn);
}
const ROUNDS = PRIMES.map((prime) => rootBits(BigInt(prime), 3n));
const START = PRIMES.slice(0, 8).map((prime) => rootBits(BigInt(prime), 2n));

const turn = (x: number, n: number) => (x >>> n) | (x << (32 - n));

function block(state: Uint32Array, view: DataView, at: number): void {
  const w = new Uint32Array(64);
  for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
  for (let i = 16; i < 64; i++) {
    const [p, q] = [w[i - 15], w[i - 2]];
    const s0 = turn(p, 7) ^ turn(p, 18) ^ (p >>> 3);
    const s1 = turn(q, 17) ^ turn(q, 19) ^ (q >>> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + ROUNDS[i] + w[i]) | 0;
    const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((x, i) => (state[i] += x));
}

/** The hash of some bytes, as 64 hexadecimal digits. */
export function sha256(bytes: Uint8Array): string {
  const padded = new Uint8Array(((bytes.length + 8) & ~63) + 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(8 * bytes.length));
  const state = Uint32Array.from(START);
  for (let at = 0; at < padded.length; at += 64) block(state, view, at);
  return [...state].map((x) => x.toString(16).padStart(8, "0")).join("");
}
