// Runs the scripts of the exported page in Node.js: node page_node.mjs FOLDER < requests.json > answers.json
import { readFileSync } from "node:fs";
import { mock } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

const folder = process.argv[2], own = name => import(pathToFileURL(`${folder}/${name}`)), bytes = name => new Uint8Array(readFileSync(`${folder}/${name}`));
const requests = JSON.parse(readFileSync(0, "utf8")), manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, "utf8"));
const { startNoise, standardNormal, Twister } = await own("noise.js"), { Schedule, angleTimesteps } = await own("sampler.js");
const { Reader } = await own("reader.js");
const graphs = await own("graph.js"), { Editor, placeObjects } = await own("editor.js"), vocab = new graphs.Vocab(manifest.vocab);
const said = f => { try { return f(); } catch (error) { if (error instanceof graphs.GraphError) return { error: error.message }; throw error; } };
const read = text => graphs.checkGraph(graphs.readGraph(text, vocab), vocab, manifest.board);

const sprites = () => new Uint8Array(gunzipSync(bytes("model/sprites.gz")));

let engine = null;
async function ready() {
  if (engine) return engine;
  const ort = await own("runtime/ort.wasm.min.mjs"), { Engine } = await own("engine.js");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = gunzipSync(bytes("runtime/ort-wasm-simd-threaded.wasm.gz"));
  ort.env.wasm.wasmPaths = pathToFileURL(`${folder}/runtime/`).href;
  engine = new Engine(ort, manifest);
  for (const name of ["encoder", "denoiser", "decoder", ...["judge", "reader"].filter(name => manifest.files[`model/${name}.onnx`])]) await engine.load(name, bytes(`model/${name}.onnx`));
  return engine;
}

const answers = {
  noise: ({ n, seed }) => [...startNoise(n, seed)],
  normal: ({ n, seed }) => [...standardNormal(n, new Twister(seed))],
  timesteps: ({ n }) => angleTimesteps(new Schedule(manifest.schedule), n),
  read: ({ text }) => said(() => ({ graph: read(text), text: graphs.graphToText(graphs.readGraph(text, vocab)) })),
  told: ({ text }) => said(() => { const written = graphs.readGraph(text, vocab), graph = graphs.checkGraph(written, vocab, manifest.board); return { graph, text: graphs.graphToText(written), doubts: graphs.doubts(graph, manifest) }; }),
  closest: ({ word, known }) => graphs.closestWords(word, known),
  doubts: ({ text }) => graphs.doubts(read(text), manifest),
  places: ({ text }) => placeObjects(read(text), manifest.board),
  async draw({ text, seeds, ...settings }) {
    const graph = read(text), judged = manifest.judge && graph.triples.map(([s, p, o]) => [graph.objects[s], p, graph.objects[o]]);
    const drawn = await (await ready()).draw({ graph: vocab.rows(graph), seeds, ...manifest.settings, ...settings });
    const found = manifest.reader ? await engine.reading(drawn.pixels, seeds.length, graph, sprites()) : judged && await engine.judge(drawn.pixels, seeds.length, judged.map(q => graphs.judgeable(manifest.judge, q) ? q : null));
    return { latents: [...drawn.latents], pixels: [...drawn.pixels], attention: [...drawn.attention], maps: drawn.maps.map(each => [...each]), found };
  },
  async noised({ text, latents, ...request }) {
    const { levels, pixels } = await (await ready()).noised({ graph: vocab.rows(read(text)), latents: Float32Array.from(latents), ...request });
    return { levels, pixels: [...pixels] };
  },
  async fits({ texts, latents }) {
    await (await ready()).load("pretraining", bytes("model/pretraining.onnx"));
    return (await engine.fits({ graphs: texts.map(text => vocab.rows(read(text))), latents: Float32Array.from(latents) })).cosines;
  },
  async redrawn({ text, latents, hole }) {
    await (await ready()).load("pretraining", bytes("model/pretraining.onnx"));
    const { pixels, loss } = await engine.redrawn({ graph: vocab.rows(read(text)), latents: Float32Array.from(latents), hole });
    return { pixels: [...pixels], loss };
  },
  async cancelled({ text, after }) {
    let steps = 0;
    const drawn = await (await ready()).draw({ graph: vocab.rows(read(text)), seeds: [0], ...manifest.settings }, step => { steps = step; return step < after; });
    return { drawn, steps };
  },
  async takeover({ events }) {                      // what happens: [a worker, what it says], ["page", its wish] or ["time", ms]; -> all that is asked, told and ended
    const { Drawer } = await own("takeover.js"), log = [], workers = {};
    const make = name => {
      log.push(["made", name]);
      return workers[name] = { postMessage: wish => log.push([name, wish.draw?.id ?? "cancel"]), terminate: () => log.push(["ended", name]) };
    };
    mock.timers.enable({ apis: ["setTimeout"] });
    const drawer = new Drawer(make, 100, 10);
    drawer.onmessage = ({ data }) => log.push(["told", data.id ?? "ready"]);
    drawer.onerror = event => log.push(["error", event.message]);
    for (const [who, what] of events) {
      if (who === "page") drawer.postMessage(what);
      else if (who === "time") mock.timers.tick(what);
      else if (what.error) workers[who].onerror({ message: what.error });
      else workers[who].onmessage({ data: { ...what, drawn: what.drawn?.map(all => Uint8ClampedArray.from(all)) } });
    }
    mock.timers.reset();
    return { log, onCard: drawer.onCard };
  },
  reading({ maps, pixels, text }) {                 // of maps that a network might have made
    const reader = new Reader(manifest.reader, sprites()), floats = Object.fromEntries(Object.entries(maps).map(([name, values]) => [name, Float32Array.from(values)]));
    const read = reader.read(floats, Float32Array.from(pixels));
    return { ...read, relations: reader.relations(read.things), marks: reader.marks(graphs.readGraph(text, vocab), read) };
  },
  edits({ commands }) {
    const editor = new Editor(vocab, manifest.board);
    return commands.map(([command, args]) => ({ done: editor.do(command, args), error: editor.error, graph: editor.graph, board: editor.board }));
  },
};
const found = [];
for (const { what, ...request } of requests) found.push(await answers[what](request));
process.stdout.write(JSON.stringify(found));
