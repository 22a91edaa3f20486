// Noise from a seed, number for number as Python draws it (`sgdiff.method.noise.initial_noise`): a seed and the name of a
// stream are hashed, the hash starts a Mersenne Twister, and its numbers become normal ones in blocks of sixteen, as in PyTorch.

// SHA-256 of a short text (FIPS 180-4); the browser's own is only there on secure pages.
const PRIMES = Array.from({ length: 312 }, (_, n) => n).filter(n => n > 1 && ![...Array(n).keys()].some(d => d > 1 && n % d === 0));
const fraction = root => Math.floor((root - Math.floor(root)) * 2 ** 32) | 0;
const ROUND = PRIMES.slice(0, 64).map(p => fraction(Math.cbrt(p))), START = PRIMES.slice(0, 8).map(p => fraction(Math.sqrt(p)));
const turn = (x, n) => (x >>> n) | (x << (32 - n));

function block(state, words) {                      // one block of 16 words, mixed into the state
  const w = [...words];
  for (let i = 16; i < 64; i++) {
    const a = w[i - 15], b = w[i - 2];
    w[i] = (w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10))) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i]) | 0;
    const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
  }
  return [a, b, c, d, e, f, g, h].map((x, i) => (x + state[i]) | 0);
}

export function sha256(text) {                      // -> 8 whole numbers of 32 bits
  const bytes = new TextEncoder().encode(text), n = Math.ceil((bytes.length + 9) / 64) * 64;
  const padded = new DataView(new ArrayBuffer(n));
  bytes.forEach((b, i) => padded.setUint8(i, b));
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(n - 4, 8 * bytes.length);
  let state = START;
  for (let i = 0; i < n; i += 64) state = block(state, Array.from({ length: 16 }, (_, k) => padded.getInt32(i + 4 * k)));
  return state.map(x => x >>> 0);
}

export function streamSeed(seed, step, stream) {    // as `step_generator` of sgdiff.core: the first four bytes, the lowest first
  const [first] = sha256(`${seed}/${step}/${stream}`);
  return ((first >>> 24) | ((first >>> 8) & 0xff00) | ((first << 8) & 0xff0000) | (first << 24)) >>> 0;
}

export class Twister {                              // the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998)
  constructor(seed) {
    this.state = new Uint32Array(624); this.next = 624;
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) this.state[i] = Math.imul(1812433253, this.state[i - 1] ^ (this.state[i - 1] >>> 30)) + i;
  }
  turn() {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }
  word() {                                          // a whole number of 32 bits
    if (this.next === 624) this.turn();
    let y = this.state[this.next++];
    y ^= y >>> 11; y ^= (y << 7) & 0x9d2c5680; y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }
  uniform() { return (this.word() & 0xffffff) / 0x1000000; }       // in [0, 1), 24 bits
}

const TURN = Math.fround(2 * Math.PI);
function toNormal(data, from) {                     // sixteen uniform numbers become normal: Box and Muller 1958
  for (let i = from; i < from + 8; i++) {
    const far = Math.sqrt(-2 * Math.log(1 - data[i])), angle = Math.fround(TURN * data[i + 8]);
    [data[i], data[i + 8]] = [far * Math.cos(angle), far * Math.sin(angle)];
  }
}

export function standardNormal(n, twister) {        // as torch.randn(n, generator=...) on a CPU, for n of 16 or more
  if (n < 16) throw new Error("PyTorch draws fewer than 16 numbers in another way");
  const data = Float32Array.from({ length: n }, () => twister.uniform());
  for (let i = 0; i + 16 <= n; i += 16) toNormal(data, i);
  if (n % 16) {                                     // the last sixteen are drawn again
    for (let i = n - 16; i < n; i++) data[i] = twister.uniform();
    toNormal(data, n - 16);
  }
  return data;
}

export const startNoise = (n, seed) => standardNormal(n, new Twister(streamSeed(seed, 0, "start")));    // of one picture, n numbers
