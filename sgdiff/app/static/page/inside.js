// Looking inside: what the networks made of the graph on the way to the picture. One card a token, with where the first picture
// attends to it and how far it moved since the graph before; then the channels of the latents. Chapters 3, 4, 7 and 8 explain each.
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

export function lookInside(box, { now, before, manifest }) {
  const side = manifest.image_size, size = side * side, graph = now.moment.graph, names = tokenNames(graph);
  const old = before && new Map(tokenNames(before.moment.graph).map((name, i) => [name, before.tokens[i]])), [c, h, w] = manifest.latent_shape;
  const cards = names.map((name, i) => {
    const was = old?.get(name), told = !old ? "" : was ? `moved by ${moved(was, now.tokens[i]).toFixed(2)}` : "new";
    const map = now.attention.subarray(i * size, (i + 1) * size);
    return html("figure", { className: told === "new" ? "new" : "" }, pair(now.pictures[0], map, side), html("figcaption", {}, name, told ? html("b", { textContent: told }) : ""));
  });
  const latents = Array.from({ length: c }, (_, k) => html("figure", {}, html("div", { className: "thumb" }, shaded(now.latents.subarray(k * h * w, (k + 1) * h * w), w, h, [90, 140, 220])), html("figcaption", { textContent: `channel ${k + 1}` })));
  box.replaceChildren(
    html("p", {}, "The graph becomes ", chapter(manifest.site, "03_graph_encoder", `${names.length} tokens`), ", one a relation, one an object, one for the whole. Each place of the picture ",
      chapter(manifest.site, "04_attention", "reads the tokens"), `; orange: who reads this one, over all blocks and ${now.request.steps} steps.`, old ? " Moved: how far a token turned since the graph before (1 minus the cosine), for messages run along the relations." : ""),
    html("div", { className: "cards" }, ...cards),
    html("p", {}, "What the ", chapter(manifest.site, "08_unet", "denoiser"), ` ends with are ${c} channels of ${h} x ${w} numbers, the `, chapter(manifest.site, "07_latents_and_diffusion", "latents"), `; the decoder makes ${side} x ${side} pixels of them.`),
    html("div", { className: "cards" }, ...latents));
}
