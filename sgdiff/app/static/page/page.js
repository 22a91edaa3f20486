// What stands between the reader and the networks: the board, the text, the pictures, and a link that says all of it. The networks
// work in worker.js; nothing is decided here that Python does not decide in the same way (graph.js, editor.js).
import board from "./graph_canvas.js";
import { Editor } from "./editor.js";
import { lookInside } from "./inside.js";
import { Drawer } from "./takeover.js";
import { Vocab, doubts, graphToJson, graphToText, judgeable, objectNames } from "./graph.js";

const $ = id => document.getElementById(id);
const html = (tag, properties = {}, ...children) => { const e = Object.assign(document.createElement(tag), properties); e.append(...children); return e; };
const LARGEST_SEED = 2n ** 63n - 1n;                // of PyTorch's generators

const dark = matchMedia("(prefers-color-scheme: dark)");
const shade = () => { document.body.dataset.jpThemeLight = String(!dark.matches); };
dark.addEventListener("change", shade);
shade();

const manifest = await (await fetch("manifest.json")).json(), vocab = new Vocab(manifest.vocab), side = manifest.image_size;
const editor = new Editor(vocab, manifest.board), worker = new Drawer(name => new Worker("worker.js", { type: "module", name }));
let now = null, before = null, steps = [];          // what is drawn: { id, request, moment, pictures, ... }; what was, before the edit; the pictures on the way
let id = 0, version = -1, ready = false;

// --- words to the reader
function say(words, error = false) { $("status").textContent = words; $("status").classList.toggle("error", error); }
function took(words) { $("took").textContent = words; setTimeout(() => { if ($("took").textContent === words) $("took").textContent = ""; }, 4000); }

// --- settings, and the link that holds them
const numbers = { steps: Number, guidance: Number, relations: Number };
function seeds() {
  const text = $("seed").value.trim(), n = Number($("n").value);
  if (!/^\d{1,19}$/.test(text) || BigInt(text) + BigInt(n) - 1n > LARGEST_SEED) return null;
  return Array.from({ length: n }, (_, i) => String(BigInt(text) + BigInt(i)));
}
const settings = () => Object.fromEntries(Object.keys(numbers).map(name => [name, Number($(name).value)]));
function show(name, value) { $(name).value = value; $(name).nextElementSibling.textContent = $(name).value; }

function link() {
  const parts = new URLSearchParams({ g: graphToText(editor.graph), seed: $("seed").value.trim(), n: $("n").value });
  for (const [name, value] of Object.entries(settings())) if (value !== manifest.settings[name]) parts.set(name, value);
  return `#${parts.toString().replaceAll("+", "%20")}`;
}

function follow(hash) {                             // what a link says; what it says wrongly is told, and the rest holds
  const parts = new URLSearchParams(hash.slice(1)), wrong = [];
  const take = (name, fits) => { const value = parts.get(name); if (value === null) return; if (fits(value)) $(name).value = value; else wrong.push(`${name}=${value}`); };
  take("seed", v => /^\d{1,19}$/.test(v) && BigInt(v) <= LARGEST_SEED);
  take("n", v => /^[1-4]$/.test(v));
  for (const name of Object.keys(numbers)) take(name, v => v !== "" && Number(v) >= Number($(name).min) && Number(v) <= Number($(name).max));
  for (const name of Object.keys(numbers)) show(name, $(name).value);
  const text = parts.get("g");
  const fits = text !== null && read(text);
  if (wrong.length) blame(`the link says ${wrong.join(", ")}, which this page cannot do; the rest of it holds`);
  return fits;
}

// --- the graph
function blame(words) { $("wrong").textContent = words; if (words) $("text").setAttribute("aria-invalid", "true"); else $("text").removeAttribute("aria-invalid"); }
function read(text) {                               // a text, or JSON, becomes the graph; why not is told beside the field
  const wrong = editor.read(text);
  blame(wrong);
  return !wrong;
}
function changed() {                                // the editor has spoken
  if (editor.version === version) return mark();
  blame("");
  version = editor.version;
  $("text").value = graphToText(editor.graph);
  if (now?.done) before = now;
  now = null;
  ask();
}
function again() { before = null; ask(); }          // other noise or other steps: what was drawn with the old ones is no fair "before"
function mark() {                                   // what changed since the pictures before, on the board
  editor.since = before?.moment ?? null;
  editor.verdicts = now?.verdicts ?? [];
  editor.show();
}

// --- asking and hearing
function ask() {
  const all = seeds(), graph = editor.graph;
  now = null; steps = []; $("born").hidden = true; wiped(0);
  mark();
  if (!graph.objects.length) { worker.postMessage({ cancel: true }); frames([]); return say("the board is empty: add an object to draw"); }
  if (!all) { worker.postMessage({ cancel: true }); return say("a seed is a whole number from 0 to 9223372036854775807", true); }
  history.replaceState(null, "", link());
  const triples = graph.triples.map(([s, p, o]) => [graph.objects[s], p, graph.objects[o]]);
  const questions = manifest.judge ? triples.map(q => judgeable(manifest.judge, q) ? q : null) : [];
  const request = { id: ++id, graph: vocab.rows(graph), seeds: all, questions, asked: graph, ...settings() };
  now = { id, request, moment: editor.now, done: false };
  frames(all);
  $("notes").textContent = [...editor.notes, ...doubts(graph, manifest)].join("; ");
  worker.postMessage({ draw: request });
  if (ready) say("drawing …");
}

worker.onmessage = ({ data }) => {
  ready ||= Boolean(data.ready);
  if (data.loading || data.ready) return now && !now.done && say(data.loading ?? "drawing …");
  if (data.failed !== undefined && (data.id === null || data.id === now?.id)) return say(`could not draw: ${data.failed}`, true);
  if (data.id !== now?.id) return;                  // of a graph that is no longer asked for
  if (data.step) { steps[data.step - 1] = data.pictures; data.pictures.forEach(paint); return say(`drawing: step ${data.step} of ${data.steps}`); }
  const { drawn: pictures, tokens, latents, attention, maps, found } = data;
  Object.assign(now, { pictures, tokens, latents, attention, maps, found, done: true });
  now.verdicts = majority(data.found);
  steps[now.request.steps - 1] = data.drawn;
  data.drawn.forEach(paint);
  const scale = $("born").querySelector("input");
  scale.max = now.request.steps; scale.value = scale.max; $("born").querySelector("output").textContent = `step ${scale.value} of ${scale.max}`; $("born").hidden = false;
  $("wipe").hidden = !before;
  judged(); mark(); inside();
  say(now.said = `drawn in ${data.seconds.toFixed(1)} s${worker.onCard ? " on the graphics card" : ""}`);
};
worker.onerror = event => say(`the networks could not start: ${event.message ?? "this browser has no module workers"}`, true);

function majority(found) {                          // what the judge says of each relation in most of the pictures
  if (!found?.length) return [];
  return found[0].verdicts.map((_, k) => { const column = found.map(f => f.verdicts[k]); return column.includes(null) ? null : 2 * column.filter(Boolean).length > column.length; });
}

// --- the pictures
function canvas(name) { return html("canvas", { width: side, height: side, className: name }); }
function frames(all) {                              // a frame a seed; those that are there are kept, so that nothing flickers
  const box = $("pictures");
  box.classList.toggle("one", all.length === 1);
  while (box.children.length > all.length) box.lastChild.remove();
  while (box.children.length < all.length) {
    const picture = html("button", { type: "button", className: "picture" }, canvas("now"), canvas("before"), canvas("attention"));
    const figure = html("figure", {}, picture, html("figcaption"));
    picture.ariaPressed = "false";
    picture.onclick = () => { picture.ariaPressed = String(figure.classList.toggle("large")); };
    box.append(figure);
  }
  [...box.children].forEach((figure, i) => {
    figure.querySelector("figcaption").replaceChildren(`seed ${all[i]}`);
    figure.querySelector(".picture").setAttribute("aria-label", `picture of seed ${all[i]}: ${graphToText(editor.graph)}`);
    const old = figure.querySelector("canvas.before");
    clear(old);
    if (before?.pictures[i]) put(old, before.pictures[i]);
  });
  $("wipe").hidden = !before;
  overlay();
}
const put = (to, bytes) => to.getContext("2d").putImageData(new ImageData(bytes, side, side), 0, 0);
const clear = to => to.getContext("2d").clearRect(0, 0, side, side);
function paint(bytes, i) { const to = $("pictures").children[i]?.querySelector("canvas.now"); if (to) put(to, bytes); }
function judged() {                                 // below each picture what the judge finds in it
  if (!now?.found) return;
  const names = objectNames(editor.graph), triples = editor.graph.triples.map(([s, p, o]) => `${names[s]} ${p} ${names[o]}`);
  now.found.forEach(({ verdicts, sees, things, attributes }, i) => {
    const marks = verdicts.map((v, k) => html("li", { className: v === null ? "" : v ? "yes" : "no", textContent: `${v === null ? "–" : v ? "✓" : "✗"} ${triples[k]}` }));
    const asked = verdicts.filter(v => v !== null), seen = html("li", { textContent: `the ${things ? "reader reads:" : "judge sees"} ${sees.join(", ") || "nothing"}` });
    const shares = [[things?.slice(0, 2), "things"], [attributes, "colours and sizes"], [[asked.filter(Boolean).length, asked.length], things ? "relations" : "relations seen"]];
    const told = shares.filter(([share]) => share?.[1]).map(([[met, of], what]) => `${met} of ${of} ${what}`).join(", ");
    const caption = $("pictures").children[i].querySelector("figcaption");
    caption.replaceChildren(`seed ${now.request.seeds[i]}`, told && `: ${told}`, html("ul", {}, ...marks, seen));
  });
}
function overlay() {                                // orange where the pictures attend to what is under the pointer on the board
  const hover = editor.get("hover"), maps = now?.done && now.attention, graph = editor.graph, size = side * side;
  const token = Number(hover.slice(1)) + (hover[0] === "o" ? graph.triples.length : 0), tokens = graph.triples.length + graph.objects.length + 1;
  [...$("pictures").children].forEach((figure, i) => {
    const to = figure.querySelector("canvas.attention");
    clear(to);
    if (!hover || !maps || token >= tokens) return;
    const map = maps.subarray((i * tokens + token) * size, (i * tokens + token + 1) * size), low = Math.min(...map), high = Math.max(...map), bytes = new Uint8ClampedArray(4 * size);
    map.forEach((v, k) => bytes.set([255, 120, 0, 217 * (v - low) / Math.max(high - low, 1e-6)], 4 * k));
    put(to, bytes);
  });
  const name = hover && maps ? hover[0] === "o" ? objectNames(graph)[token - graph.triples.length] : graph.triples[token] && graph.triples[token].map((p, k) => k === 1 ? p : objectNames(graph)[p]).join(" ") : "";
  if (name) say(`orange: where the pictures attend to “${name}”`); else if (now?.done) say(now.said);
}
function wiped(part) {                              // how much of the picture before is shown, from the left, in hundredths
  $("wipe").querySelector("input").value = part;
  for (const old of document.querySelectorAll("canvas.before")) old.style.clipPath = `inset(0 ${100 - part}% 0 0)`;
}

function inside() { $("inside").hidden = !now?.done; if (now?.done && $("inside").open) lookInside($("within"), { now, before, manifest }); }

// --- taking it along
async function copy(text, what) {
  try { await navigator.clipboard.writeText(text); took(`${what} copied`); } catch { window.prompt(`copy the ${what}`, text); }
}
function save(name, blob) { const a = html("a", { href: URL.createObjectURL(blob), download: name }); a.click(); setTimeout(() => URL.revokeObjectURL(a.href), 1000); took(`${name} saved`); }
function sheet() {                                  // the pictures in one row, 256 pixels each or a little more
  const each = side * Math.ceil(256 / side), all = [...document.querySelectorAll("canvas.now")], page = html("canvas", { width: each * all.length, height: each }), ink = page.getContext("2d");
  ink.imageSmoothingEnabled = false;
  all.forEach((c, i) => ink.drawImage(c, i * each, 0, each, each));
  return page;
}
function python() {
  const text = JSON.stringify(graphToText(editor.graph)), { steps: s, guidance, relations } = settings();
  return `from sgdiff import SGDiffPipeline\n\npipe = SGDiffPipeline.from_pretrained("data/toy")     # the folder of the weights\nout = pipe(${text},\n           seed=${$("seed").value.trim()}, num_images_per_graph=${$("n").value}, num_inference_steps=${s},\n           guidance_scale=${guidance}, relation_scale=${relations})\nout.figure()\n`;
}

// --- tying it all
editor.listeners.push(changed);
board.render({ model: editor, el: $("board") });
editor.on("change:hover", overlay);
$("ask").onsubmit = event => { event.preventDefault(); read($("text").value); };
const groups = Object.entries(manifest.presets).filter(([, texts]) => texts.length).map(([name, texts]) => html("optgroup", { label: name }, ...texts.map(text => html("option", { value: text, textContent: text }))));
$("preset").append(...groups);
$("preset").onchange = event => { if (event.target.value) read(event.target.value); event.target.value = ""; };
$("random").hidden = !manifest.random.length;
$("random").onclick = () => { const others = manifest.random.filter(text => text !== $("text").value); read(others[Math.floor(Math.random() * others.length)]); };
for (const name of Object.keys(numbers)) { show(name, manifest.settings[name]); $(name).oninput = () => show(name, $(name).value); $(name).onchange = again; }
$("inside").ontoggle = inside;
$("seed").onchange = $("n").onchange = again;
$("more").onclick = () => { const all = seeds(); $("seed").value = all ? String((BigInt(all[0]) + BigInt(all.length)) % LARGEST_SEED) : "0"; again(); };
$("born").oninput = event => { const step = Number(event.target.value); (steps[step - 1] ?? []).forEach(paint); $("born").querySelector("output").textContent = `step ${step} of ${event.target.max}`; };
$("wipe").oninput = event => wiped(Number(event.target.value));
const typing = event => event.target.matches("input:not([type=range]), textarea, select, .sgdiff-list") || event.ctrlKey || event.metaKey || event.altKey;
addEventListener("keydown", event => { if (event.key.toLowerCase() === "b" && before && !event.repeat && !typing(event)) wiped(100); }, true);     // before the board, which keeps its keys
addEventListener("keyup", event => { if (event.key.toLowerCase() === "b" && !typing(event)) wiped(0); }, true);
$("png").onclick = () => sheet().toBlob(blob => save("sgdiff.png", blob));
$("json").onclick = () => save("graph.json", new Blob([JSON.stringify(graphToJson(editor.graph), null, 1)], { type: "application/json" }));
$("link").onclick = () => copy(new URL(link(), location.href).href, "link");
$("python").onclick = () => copy(python(), "program");
addEventListener("hashchange", () => follow(location.hash) && again());
if (manifest.site) {
  $("links").hidden = false;
  $("links").append(...Object.entries(manifest.site.pages).map(([words, href]) => html("a", { href, textContent: words })));
}
$("n").value = innerWidth > 860 ? "2" : "1";
if (!follow(location.hash)) {
  const wrong = $("wrong").textContent, first = Object.values(manifest.presets).flat()[0];
  read(Object.values(manifest.presets).find(texts => texts.length > 3)?.[3] ?? first ?? vocab.plain("object")[0]);
  blame(wrong);
}
editor.past = [];                                   // there is nothing before the first graph
mark();
navigator.serviceWorker?.register("sw.js").catch(() => {});       // without it the second visit asks the network again
