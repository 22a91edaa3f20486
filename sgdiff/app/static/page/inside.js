// Looking inside: what the networks made of the graph on the way to the picture. One card a token, with where the first picture
// reads it, in one layer of the denoiser at one step or in all, and how far it moved since the graph before; then the channels of
// the latents. Chapters 3, 4, 7 and 8 explain each.
import { objectNames } from "./graph.js";

const html = (tag, properties = {}, ...children) => { const e = Object.assign(document.createElement(tag), properties); e.append(...children); return e; };

export function tokenNames(graph) {                 // in the order of the tokens: relations, objects, the whole
  const names = objectNames(graph);
  return [...graph.triples.map(([s, p, o]) => `${names[s]} ${p} ${names[o]}`), ...names.map(n => `${n} in the image`), "the whole graph"];
}

export function moved(a, b) {                              // 1 - cosine of two tokens: 0 where they point the same way
  const dot = (x, y) => x.reduce((sum, v, i) => sum + v * y[i], 0);
  return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

export function shaded(map, width, height, color) {        // a map of numbers as a canvas: the lowest clear, the highest full
  const low = Math.min(...map), high = Math.max(...map), canvas = html("canvas", { width, height }), bytes = new Uint8ClampedArray(4 * width * height);
  map.forEach((v, i) => bytes.set([...color, 255 * (v - low) / Math.max(high - low, 1e-6)], 4 * i));
  canvas.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
  return canvas;
}

function pair(picture, map, side) {                 // the picture, and over it where it attends
  const below = html("canvas", { width: side, height: side });
  below.getContext("2d").putImageData(new ImageData(picture, side, side), 0, 0);
  return html("div", { className: "thumb" }, below, shaded(map, side, side, [255, 120, 0]));
}

const chapter = (site, name, words) => site ? html("a", { href: `${site.chapters}${name}.html`, textContent: words }) : words;
const chosen = { layer: "all", step: "all" };       // of the attention that is shown; kept from picture to picture

function mapsOf(now, { layer, step }, layers) {     // where the first picture reads each token: (L, H, W), in a layer, at a step, or their mean
  const maps = step === "all" ? now.maps : [now.maps[step]], size = maps[0].length / layers, mean = new Float32Array(size);
  const of = layer === "all" ? Array.from({ length: layers }, (_, k) => k) : [Number(layer)];
  for (const each of maps) for (const k of of) for (let i = 0; i < size; i++) mean[i] += each[k * size + i] / (maps.length * of.length);
  return mean;
}

function choice(name, words, values, change) {      // a labelled list: all of them, or one
  const list = html("select", {}, html("option", { value: "all", textContent: `all ${values.length}` }), ...values.map((v, i) => html("option", { value: i, textContent: v })));
  list.value = chosen[name] < values.length ? chosen[name] : "all";
  chosen[name] = list.value;
  list.onchange = () => { chosen[name] = list.value; change(); };
  return html("label", {}, `${words} `, list);
}

function tokenCards(names, told, now, { image_size: side, layers }) {
  const maps = mapsOf(now, chosen, layers.length), size = side * side;
  return names.map((name, i) => html("figure", { className: told[i] === "new" ? "new" : "" }, pair(now.pictures[0], maps.subarray(i * size, (i + 1) * size), side),
    html("figcaption", {}, name, told[i] ? html("b", { textContent: told[i] }) : "")));
}

export function lookInside(box, { now, before, manifest }) {
  const side = manifest.image_size, names = tokenNames(now.moment.graph), [c, h, w] = manifest.latent_shape;
  const old = before && new Map(tokenNames(before.moment.graph).map((name, i) => [name, before.tokens[i]]));
  const told = names.map((name, i) => !old ? "" : old.has(name) ? `moved by ${moved(old.get(name), now.tokens[i]).toFixed(2)}` : "new");
  const cards = html("div", { className: "cards" }), show = () => cards.replaceChildren(...tokenCards(names, told, now, manifest));
  const layers = choice("layer", "layer of the denoiser", manifest.layers, show), steps = choice("step", "step", now.maps.map((_, i) => `${i + 1}`), show);
  const latents = Array.from({ length: c }, (_, k) => html("figure", {}, html("div", { className: "thumb" }, shaded(now.latents.subarray(k * h * w, (k + 1) * h * w), w, h, [90, 140, 220])), html("figcaption", { textContent: `channel ${k + 1}` })));
  show();
  box.replaceChildren(
    html("p", {}, "The graph becomes ", chapter(manifest.site, "03_graph_encoder", `${names.length} tokens`), ", one a relation, one an object, one for the whole. Each place of the picture ",
      chapter(manifest.site, "04_attention", "reads the tokens"), "; orange: who reads this one.", old ? " Moved: how far a token turned since the graph before (1 minus the cosine), for messages run along the relations." : ""),
    html("p", { className: "choices" }, layers, steps),
    cards,
    html("p", {}, "What the ", chapter(manifest.site, "08_unet", "denoiser"), ` ends with are ${c} channels of ${h} x ${w} numbers, the `, chapter(manifest.site, "07_latents_and_diffusion", "latents"), `; the decoder makes ${side} x ${side} pixels of them.`),
    html("div", { className: "cards" }, ...latents));
}
