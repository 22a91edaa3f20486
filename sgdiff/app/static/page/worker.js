// A thread of its own for the networks: it fetches and checks their files, draws the newest wish, and tells what it sees on the way.
// In: { draw: { id, graph, seeds, steps, guidance, relations, questions, asked, hidden } }, { noised: { id, graph, latents, seed, t } },
// { fits: { id, graphs, latents } }, { redrawn: { id, graph, latents, hole } }, { cancel: true }.
// Out: { loading }, { ready, card: whether there is a real one }, { step }, { drawn, last: whether no more follows }, { noised }, { fits },
// { redrawn }, { failed }.
// A worker with the name "card" lets the graphics card draw; any other lets the processor (takeover.js tells who is asked).
import { Engine } from "./engine.js";

const MB = bytes => (bytes / 1e6).toFixed(1);
const hex = buffer => [...new Uint8Array(buffer)].map(b => b.toString(16).padStart(2, "0")).join("");
const onCard = globalThis.name === "card";
const pause = () => new Promise(then => setTimeout(then));        // lets a newer wish in

let got = 0, total = 0;
async function received(response) {                 // the bytes of a response, with news of how far it is
  const parts = [], reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value); got += part.value.length;
    postMessage({ loading: `fetching the networks: ${MB(Math.min(got, total))} of ${MB(total)} MB` });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function whole(name, { bytes, sha256 }, data) {              // whether a file is the one that the manifest describes
  if (data.length !== bytes) return false;
  return !globalThis.crypto?.subtle || hex(await crypto.subtle.digest("SHA-256", data)) === sha256;
}

async function file(name, told) {                   // from the last visit, or fetched; checked either way
  total += told.bytes;
  const url = new URL(`${name}?v=${told.sha256.slice(0, 12)}`, import.meta.url).href;
  const cache = globalThis.caches ? await caches.open("sgdiff-page").catch(() => null) : null, kept = await cache?.match(url);
  if (kept) {
    const data = new Uint8Array(await kept.arrayBuffer());
    if (await whole(name, told, data)) { got += data.length; return data; }
  }
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new Error(`${name} could not be fetched${response ? ` (${response.status})` : ""}: is there a network? Then load the page again`);
  const data = await received(response);
  if (!await whole(name, told, data)) throw new Error(`${name} came cut short, or is another file than it was: load the page again`);
  for (const old of await cache?.keys() ?? []) if (old.url.split("?")[0] === url.split("?")[0]) await cache.delete(old);      // of other weights
  await cache?.put(url, new Response(data)).catch(() => {});       // no room: then it is fetched again next time
  return data;
}

async function unpacked(data) {                     // some servers unpack by themselves
  if (data[0] !== 0x1f || data[1] !== 0x8b) return data;
  return new Uint8Array(await new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

// whether there is a graphics card that is not simulated, and a browser that lets the runtime wait for it
async function realCard() {
  if (!navigator.gpu || !WebAssembly.Suspending) return false;
  const late = new Promise(then => setTimeout(then, 1000, null)), adapter = await Promise.race([navigator.gpu.requestAdapter(), late]).catch(() => null);
  return adapter?.info?.isFallbackAdapter === false;
}

async function plainRuntime({ files }) {            // onnxruntime-web as every browser can run it
  const name = Object.keys(files).find(name => name.startsWith("runtime/"));
  const [ort, code] = await Promise.all([import("./runtime/ort.wasm.min.mjs"), file(name, files[name])]);
  ort.env.wasm.wasmPaths = { mjs: new URL("runtime/ort-wasm-simd-threaded.mjs", import.meta.url).href };
  ort.env.wasm.wasmBinary = await unpacked(code);
  return ort;
}

async function cardRuntime({ card }) {              // the build that can ask a graphics card too: a script and its machine code
  const [script, code] = await Promise.all(Object.entries(card).map(([name, told]) => file(name, told)));
  const ort = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  ort.env.wasm.wasmBinary = await unpacked(code);
  return ort;
}

async function engineWith(ort, manifest, coming) {
  ort.env.wasm.numThreads = 1;
  const engine = new Engine(ort, manifest);
  for (const name of ["encoder", "decoder", "denoiser"]) await engine.load(name, await coming[`model/${name}.onnx`], onCard && name !== "encoder" ? "webgpu" : "wasm");
  ort.env.wasm.wasmBinary = undefined;
  return engine;
}

async function start() {
  const manifest = await (await fetch(new URL("manifest.json", import.meta.url))).json(), { files } = manifest;
  const names = Object.keys(files).filter(name => name.startsWith("model/")), coming = Object.fromEntries(names.map(name => [name, file(name, files[name])]));
  for (const data of Object.values(coming)) data.catch(() => {});   // the one that fails is told where it is waited for
  let card = onCard || await realCard(), made = null;
  if (card) try { made = await engineWith(await cardRuntime(manifest), manifest, coming); } catch (error) { if (onCard) throw error; card = false; }
  const sees = manifest.reader ? "reader" : "judge", network = coming[`model/${sees}.onnx`];
  return { engine: made ?? await engineWith(await plainRuntime(manifest), manifest, coming), judge: network && { name: sees, network, sprites: coming["model/sprites.gz"] }, card };
}

const rgba = (pixels, n, side) => {                 // (n, 3, H, W) in [-1, 1] -> n pictures of bytes
  const size = side * side;
  return Array.from({ length: n }, (_, b) => {
    const out = new Uint8ClampedArray(4 * size);
    for (let i = 0; i < size; i++) {
      for (let k = 0; k < 3; k++) out[4 * i + k] = Math.round((pixels[(3 * b + k) * size + i] + 1) * 127.5);
      out[4 * i + 3] = 255;
    }
    return out;
  });
};

let engine = null, judge = null, wish = null, busy = false;
async function work() {
  if (busy || !engine) return;
  busy = true;
  for (let now = wish; now; now = wish) {
    wish = null;
    try { await answer[now.kind](now.request); } catch (error) { postMessage({ failed: error.message ?? String(error), id: now.request.id }); }
  }
  busy = false;
}

async function draw(request) {
  const { id, seeds, steps } = request, n = seeds.length, side = engine.manifest.image_size, begun = performance.now();
  const drawn = await engine.draw(request, async (step, x0) => {
    if (step < steps) postMessage({ step, steps, id, pictures: rgba(await engine.decode(x0, n), n, side) });
    await pause();
    return !wish && !cancelled;
  });
  if (!drawn) return;
  if (!drawn.latents.every(Number.isFinite)) throw new Error("the denoiser's answer is no number");
  const { pixels, ...known } = drawn, seconds = (performance.now() - begun) / 1000;
  const told = { drawn: rgba(pixels, n, side), id, seconds, ...known };     // tokens, latents, attention; maps, of the first picture
  postMessage({ ...told, found: null, last: !judge });
  if (!judge) return;
  if (!engine.sessions[judge.name]) {
    judge.sprites &&= await unpacked(await judge.sprites);
    await engine.load(judge.name, await judge.network);
  }
  postMessage({ ...told, found: judge.sprites ? await engine.reading(pixels, n, request.asked, judge.sprites) : await engine.judge(pixels, n, request.questions), last: true });
}

async function noised(request) {
  const { levels, pixels } = await engine.noised(request);
  postMessage({ noised: rgba(pixels, 2, engine.manifest.image_size), levels, id: request.id });
}

async function taught() {                           // the file of pre-training, which few ask for
  const name = "model/pretraining.onnx", told = engine.manifest.later?.[name];
  if (!told) throw new Error("this site was built without what pre-training taught with");
  if (engine.sessions.pretraining) return;
  await engine.load("pretraining", await file(name, told));
}

async function fits({ id, ...request }) {
  await taught();
  postMessage({ fits: await engine.fits(request), id });
}

async function redrawn({ id, ...request }) {
  await taught();
  const { pixels, loss } = await engine.redrawn(request);
  postMessage({ redrawn: rgba(pixels, 2, engine.manifest.image_size), loss, id });
}

const answer = { draw, noised, fits, redrawn };
let cancelled = false;
onmessage = ({ data }) => {
  const [[kind, request]] = Object.entries(data);
  cancelled = kind === "cancel"; wish = cancelled ? null : { kind, request };
  work();
};
start().then(found => { ({ engine, judge } = found); postMessage({ ready: true, card: found.card }); work(); },
  error => postMessage({ failed: error.message ?? String(error), id: null }));
