// The four networks in onnxruntime, and what stands between them: a graph and seeds in, pictures, verdicts and attention out.
// Nothing here knows a page: the same file runs in a worker and in Node.js, where it is tested against Python.
import { startNoise } from "./noise.js";
import { Reader } from "./reader.js";
import { Schedule, asked, sample, weighed } from "./sampler.js";

const whole = numbers => BigInt64Array.from(numbers, BigInt);
const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0), cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

function addTo(mean, each, n, steps) {              // of n pictures; mean: (n, L, H, W), over steps and layers; each: (n, layers, L, H, W), of one step
  const area = mean.length / n, layers = each.length / mean.length;
  for (let b = 0; b < n; b++) for (let k = 0; k < layers; k++)
    for (let i = 0; i < area; i++) mean[b * area + i] += each[(b * layers + k) * area + i] / (steps * layers);
}

export class Engine {
  // ort: onnxruntime-web; manifest: manifest.json; bytes: name of a network -> Uint8Array, taken when it is needed
  constructor(ort, manifest) { this.ort = ort; this.manifest = manifest; this.schedule = new Schedule(manifest.schedule); this.sessions = {}; }

  async load(name, bytes, where = "wasm") {         // where it is computed: "wasm" or "webgpu", which warns of what it leaves to the processor: no error
    this.sessions[name] = await this.ort.InferenceSession.create(bytes, { executionProviders: [where], logSeverityLevel: 3 });
  }

  async run(name, inputs, wanted) {                 // inputs: name -> [type, data, shape]
    const feeds = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, new this.ort.Tensor(...v)]));
    return this.sessions[name].run(feeds, wanted);
  }

  async read({ objects, triples, attributes }) {    // rows of words; -> tokens, and what the encoder says: local, whole
    const n = objects.length, all = [...triples, ...objects.map((_, i) => [i, 0, n])], K = this.manifest.attributes, said = new Float32Array((n + 1) * K);
    attributes.forEach((of, i) => { for (const a of of) said[i * K + a] = 1; });
    return this.run("encoder", { objects: ["int64", whole([...objects, 0]), [n + 1]], triples: ["int64", whole(all.flat()), [all.length, 3]], ...K ? { said: ["float32", said, [n + 1, K]] } : {} });
  }

  async tokens(graph) {                             // -> rows of tokens: relations, objects, the graph, no graph
    const { tokens: { dims: [rows, C], data } } = await this.read(graph);
    return Array.from({ length: rows }, (_, i) => data.slice(i * C, (i + 1) * C));
  }

  async conditions(graph, hidden = []) {            // name -> { rows of tokens, all of one number; mask }; hidden: tokens of the graph that are not read
    const told = await this.tokens(graph), alone = await this.tokens({ ...graph, triples: [] }), L = told.length - 1;
    const fill = rows => {                          // the token of the whole comes last, whatever there is before
      const pad = Array(L - rows.length).fill(new Float32Array(rows[0].length));
      return { rows: [...rows.slice(0, -1), ...pad, rows.at(-1)], mask: [...rows.slice(0, -1).fill(1).map(Number), ...pad.map(() => 0), 1] };
    };
    const whole = fill(told.slice(0, -1));
    for (const row of hidden) whole.mask[row] = 0;
    return { graph: whole, objects: fill(alone.slice(0, -1)), nothing: fill(told.slice(-1)) };
  }

  denoiser(conditions, n, weights, look) {          // denoise(x, t) for n pictures; look(maps): (n, layers, L, H, W), where the graph's own rows were read
    const [c, h, w] = this.manifest.latent_shape, parts = weights.map(([name]) => conditions[name]), L = parts[0].rows.length;
    const C = parts[0].rows[0].length, B = n * parts.length, context = new Float32Array(B * L * C), mask = new Uint8Array(B * L);
    for (let b = 0; b < B; b++) {
      const { rows, mask: read } = parts[Math.floor(b / n)];
      rows.forEach((row, l) => context.set(row, (b * L + l) * C));
      mask.set(read, b * L);
    }
    return async (x, t) => {
      const again = new Float32Array(B * c * h * w);
      for (let k = 0; k < parts.length; k++) again.set(x, k * x.length);
      const out = await this.run("denoiser", { x: ["float32", again, [B, c, h, w]], t: ["int64", whole(Array(B).fill(t)), [B]], context: ["float32", context, [B, L, C]], mask: ["bool", mask, [B, L]] });
      look(out.attention.data.slice(-out.attention.data.length / parts.length));
      return weighed(out.answer.data, weights.map(([, weight]) => weight));
    };
  }

  async decode(latents, n) {                        // -> (n, 3, H, W) in [-1, 1]
    return (await this.run("decoder", { latents: ["float32", latents, [n, ...this.manifest.latent_shape]] })).pixels.data;
  }

  // latents of one picture with noise of timestep t (chapter 7), and what the denoiser takes them for when it is told nothing: two pictures
  async noised({ graph, latents, seed, t }) {
    const levels = this.schedule.levels(t), noise = startNoise(latents.length, seed);
    const x = latents.map((v, i) => levels[0] * v + levels[1] * noise[i]);
    const denoise = this.denoiser(await this.conditions(graph), 1, [["nothing", 1]], () => {});
    const x0 = this.schedule.x0(x, t, await denoise(x, t));
    return { levels, pixels: await this.decode(Float32Array.from([...x, ...x0]), 2) };
  }

  // what pre-training taught with (chapters 5 and 6): a picture, with or without a hole, as its image encoder and masked head take it
  async seen(graph, pixels, hidden) {               // -> the graph's own vector and the picture's; the picture with what is hidden drawn
    const { local, whole } = await this.read(graph), side = this.manifest.image_size;
    const out = await this.run("pretraining", { pixels: ["float32", pixels, [1, 3, side, side]], hidden: ["bool", hidden, [1, 1, side, side]], local: ["float32", local.data, local.dims] });
    return { graph: whole.data, picture: out.whole.data, drawn: out.drawn.data };
  }

  async fits({ graphs, latents }) {                 // -> the cosine of a picture with each graph
    const pixels = await this.decode(latents, 1), cosines = [];
    for (const graph of graphs) {
      const { graph: g, picture: v } = await this.seen(graph, pixels, new Uint8Array(pixels.length / 3));
      cosines.push(cosine(g, v));
    }
    return { cosines };
  }

  async redrawn({ graph, latents, hole: [left, top, size] }) {    // hole: a square of pixels; -> seen and drawn pixels, the masked loss
    const pixels = await this.decode(latents, 1), side = this.manifest.image_size, n = side * side;
    const hidden = Uint8Array.from({ length: n }, (_, i) => i % side >= left && i % side < left + size && i >= top * side && i < (top + size) * side);
    const { drawn } = await this.seen(graph, pixels, hidden);
    const loss = pixels.reduce((sum, v, i) => sum + (drawn[i] - v) ** 2, 0) / (3 * Math.max(1, hidden.reduce((a, b) => a + b)));   // seen pixels stay
    return { loss, pixels: Float32Array.from([...pixels.map((v, i) => hidden[i % n] ? 0 : v), ...drawn]) };
  }

  // graph: { objects: rows of the vocabulary, triples }; seeds: one a picture; hidden: as in `conditions`; tell(step, x0) as in `sample`
  async draw({ graph, seeds, steps, guidance, relations, hidden }, tell) {
    const n = seeds.length, size = this.manifest.latent_shape.reduce((a, b) => a * b), noise = new Float32Array(n * size);
    seeds.forEach((seed, i) => noise.set(startNoise(size, seed), i * size));
    const conditions = await this.conditions(graph, hidden), tokens = conditions.graph.rows, attention = new Float32Array(n * tokens.length * this.manifest.image_size ** 2);
    const maps = [], look = each => { addTo(attention, each, n, steps); maps.push(each.slice(0, each.length / n)); };      // one a step, of the first picture
    const denoise = this.denoiser(conditions, n, asked(guidance, relations), look);
    const latents = await sample({ schedule: this.schedule, denoise, noise, steps, tell });
    if (!latents) return null;
    return { tokens, latents, pixels: await this.decode(latents, n), attention, maps };
  }

  // questions: [[subject, predicate, object] as words of the judge, or null], the same for all pictures; -> true, false or null
  async judge(pixels, n, questions) {
    const { words, predicates, min_pixels } = this.manifest.judge, side = this.manifest.image_size;
    const rows = questions.map(q => q && [words.indexOf(q[0]), predicates.indexOf(q[1]), words.indexOf(q[2])]);
    const real = rows.map((r, i) => [r, i]).filter(([r]) => r), asked = real.length ? real : [[[0, 0, 0], 0]];
    const pairs = Array.from({ length: n }, (_, b) => asked.flatMap(([[s, , o]]) => [b, s, o])).flat();
    const out = await this.run("judge", { pixels: ["float32", pixels, [n, 3, side, side]], pairs: ["int64", whole(pairs), [pairs.length / 3, 3]] });
    const there = (b, k) => Number(out.seen.data[b * words.length + k]) >= min_pixels, R = predicates.length;
    return Array.from({ length: n }, (_, b) => {
      const verdicts = questions.map(() => null);
      real.forEach(([[s, p, o], i], k) => { verdicts[i] = there(b, s) && there(b, o) && out.answers.data[(b * real.length + k) * R + p] > 0.5; });
      return { verdicts, sees: words.filter((_, k) => there(b, k)) };
    });
  }

  // asked: a graph in words; sprites: bytes, as `reader.js` wants them; -> what it reads in each picture, and how much of the graph that is
  async reading(pixels, n, asked, sprites) {
    const side = this.manifest.image_size, out = await this.run("reader", { pixels: ["float32", pixels, [n, 3, side, side]] });
    const reader = this.reader ??= new Reader(this.manifest.reader, sprites), part = (data, b) => data.subarray(b * data.length / n, (b + 1) * data.length / n);
    return Array.from({ length: n }, (_, b) => {
      const maps = Object.fromEntries(Object.entries(out).map(([name, { data }]) => [name, part(data, b)])), read = reader.read(maps, part(pixels, b));
      return { ...reader.marks(asked, read), sees: read.things.map(thing => reader.called(thing)) };
    });
  }
}
