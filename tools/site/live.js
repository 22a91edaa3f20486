// The live figures of the chapters. tools/site_live.py puts each into its page as a title and a sentence; here it gets a button.
// Once that is pressed it fetches what the page that draws fetches, from the same folder, and lets worker.js draw.
const html = (tag, properties = {}, ...children) => { const e = Object.assign(document.createElement(tag), properties); e.append(...children); return e; };
const own = name => new URL(name, import.meta.url);
const put = (canvas, bytes) => canvas.getContext("2d").putImageData(new ImageData(bytes, canvas.width, canvas.height), 0, 0);
const known = verdict => verdict !== null;          // of the judge

class Networks {                                    // the worker. A newer question ends an older one, which is then never answered
  constructor(loading, failed) {
    Object.assign(this, { id: 0, now: null, known: new Map(), worker: new Worker(own("worker.js"), { type: "module" }) });
    this.worker.onmessage = ({ data }) => {
      if (data.loading) return loading(data.loading);
      if (data.failed !== undefined && (data.id === null || data.id === this.now?.id)) return failed(data.failed);
      if (this.now && data.id === this.now.id) this.now.hear(data);
    };
    this.worker.onerror = event => failed(event.message ?? "this browser has no module workers");
  }
  ask(kind, request, hear) { this.now = { id: ++this.id, hear }; this.worker.postMessage({ [kind]: { ...request, id: this.id } }); }
  draw(request, look) {                             // -> what the worker has drawn; look(pictures) on the way. What was drawn before is remembered
    const key = JSON.stringify(request), known = this.known.get(key);
    if (known) { this.now = null; this.worker.postMessage({ cancel: true }); look(known.drawn); return Promise.resolve(known); }
    return new Promise(done => this.ask("draw", request, data => {
      look(data.pictures ?? data.drawn);
      if (data.found) { this.known.set(key, data); done(data); }
    }));
  }
  answer(kind, request) { return new Promise(done => this.ask(kind, request, done)); }
}

class Figure {                                      // what a figure is made of: pictures, things to turn, words
  constructor(box, status, said, { graphs, inside, manifest, networks }) {
    Object.assign(this, { box, status, said, graphs, inside, manifest, networks, vocab: new graphs.Vocab(manifest.vocab) });
    this.shelf = html("div", { className: "live-pictures" });
    box.append(this.shelf);
  }
  say(words) { this.status.textContent = words; }
  read(text) { return this.graphs.checkGraph(this.graphs.readGraph(text, this.vocab), this.vocab, this.manifest.board); }
  picture(name) {                                   // an empty picture with a name
    const side = this.manifest.image_size, canvas = html("canvas", { width: side, height: side, role: "img", ariaLabel: name });
    const caption = html("figcaption", {}, html("b", { textContent: name })), found = { name, canvas, caption };
    this.shelf.append(html("figure", {}, html("div", { className: "live-picture" }, canvas), caption));
    return found;
  }
  tell(picture, words) {                            // below a picture, and for those who do not see it
    picture.caption.replaceChildren(html("b", { textContent: picture.name }), ...words.map(textContent => html("span", { textContent })));
    picture.canvas.ariaLabel = [picture.name, ...words].join("; ");
  }
  slider(name, scale, act) {                        // scale: min, max, step, value
    const range = html("input", { type: "range", ...scale }), shown = html("output", { textContent: range.value });
    range.oninput = () => { shown.textContent = range.value; act(Number(range.value)); };
    this.box.append(html("label", { className: "live-slider" }, html("span", { textContent: name }), range, shown));
    return range;
  }
  meter(name, value) {
    const bar = html("meter", { min: 0, max: 1, value, ariaLabel: name });
    return html("li", {}, bar, html("b", { textContent: value.toFixed(2) }), name);
  }
  choices(title, names, type, act) {                // radio buttons, or boxes to tick; act() where one is turned. -> the inputs
    const group = `live-${Figure.groups = (Figure.groups ?? 0) + 1}`, inputs = names.map(() => html("input", { type, name: group, checked: type === "checkbox", onchange: act }));
    this.box.append(html("fieldset", {}, html("legend", { textContent: title }), ...names.map((name, i) => html("label", {}, inputs[i], name))));
    return inputs;
  }
  async draw(pictures, text, settings = {}) {       // pictures of a graph, one a seed; -> what the worker has drawn, and its graph
    const graph = this.read(text), names = this.graphs.objectNames(graph), { judge } = this.manifest;
    const questions = graph.triples.map(([s, p, o]) => [graph.objects[s], p, graph.objects[o]]).map(q => judge && this.graphs.judgeable(judge, q) ? q : null);
    const seeds = this.said.seeds.map(String), request = { graph: this.vocab.rows(graph), seeds, questions, asked: graph, ...this.manifest.settings, ...settings };
    this.say("drawing …");
    const told = await this.networks.draw(request, bytes => bytes.forEach((b, i) => put(pictures[i].canvas, b)));
    const relations = graph.triples.map(([s, p, o]) => `${names[s]} ${p} ${names[o]}`), asked = told.found.flatMap(f => f.verdicts.filter(known));
    told.found.forEach(({ verdicts }, i) => this.tell(pictures[i], relations.flatMap((words, k) => known(verdicts[k]) ? [`${verdicts[k] ? "✓" : "✗"} ${words}`] : [])));
    this.say(`Drawn. The ${judge ? "judge" : "reader"} sees ${asked.filter(Boolean).length} of ${asked.length} relations that it may be asked.`);
    return { ...told, graph };
  }
}

const figures = {
  async change(at) {                                // two graphs, one noise; with `meters`, how far each token moved from one to the other
    const [before, ...others] = at.said.graphs, left = at.picture("before"), right = at.picture("after");
    const old = await at.draw([left], before), list = html("ul", { className: "live-meters" });
    const inputs = at.choices(`draw instead of “${before}”`, others, "radio", async () => {
      const now = await at.draw([right], others[inputs.findIndex(i => i.checked)]);
      if (at.said.meters) list.replaceChildren(...at.inside.tokenNames(now.graph).map((name, i) => at.meter(name, at.inside.moved(old.tokens[i], now.tokens[i]))));
    });
    if (at.said.meters) at.box.append(html("p", { textContent: "How far each token moved (1 minus the cosine):" }), list);
    inputs[0].click();
  },

  async attention(at) {                             // one picture, and over it where it reads one token
    const plain = at.picture("picture"), read = at.picture("attention"), { graph, drawn, attention } = await at.draw([plain], at.said.graphs[0]);
    const names = at.inside.tokenNames(graph), side = at.manifest.image_size, size = side * side;
    put(read.canvas, drawn[0]);
    const show = i => {
      const map = attention.subarray(i * size, (i + 1) * size), share = map.reduce((sum, v) => sum + v, 0) / size;
      read.canvas.parentElement.replaceChildren(read.canvas, at.inside.shaded(map, side, side, [255, 120, 0]));
      at.tell(read, [names[i], `${(100 * share).toFixed(0)} % of all attention, ${(100 * Math.max(...map)).toFixed(0)} % at its strongest place`]);
      at.say(`Orange: where the picture reads “${names[i]}”.`);
    };
    const inputs = at.choices("a token of the graph", names, "radio", () => show(inputs.findIndex(i => i.checked)));
    for (const input of inputs) input.parentElement.onmouseenter = () => { if (!input.checked) input.click(); };
    inputs[0].click();
  },

  async noise(at) {                                 // latents with more or less noise, and what the denoiser takes them for
    const [clean, noisy, guess] = ["clean", "with noise", "the denoiser’s guess"].map(name => at.picture(name));
    const { latents, graph } = await at.draw([clean], at.said.graphs[0]), last = at.manifest.schedule.alphas_cumprod.length - 1;
    const show = async t => {
      const { noised, levels } = await at.networks.answer("noised", { graph: at.vocab.rows(graph), latents, seed: at.said.noise, t });
      put(noisy.canvas, noised[0]); put(guess.canvas, noised[1]);
      at.tell(noisy, [`t = ${t}`]); at.tell(guess, [`from t = ${t}`]);
      at.say(`t = ${t}: ${levels[0].toFixed(2)} times the latents and ${levels[1].toFixed(2)} times the noise.`);
    };
    const range = at.slider("timestep t", { min: 0, max: last, step: 9, value: Math.round(last / 18) * 9 }, show);
    range.oninput();
  },

  async fits(at) {                                  // how well a picture fits its graph, and others that differ in a word or two
    const picture = at.picture("picture"), { graphs: texts } = at.said, all = texts.map(text => at.vocab.rows(at.read(text)));
    const list = html("ul", { className: "live-meters" });
    const show = async () => {
      const own = inputs.findIndex(i => i.checked);
      at.said.seeds = [Number(seed.value)];
      const { latents } = await at.draw([picture], texts[own]), { fits: { cosines } } = await at.networks.answer("fits", { graphs: all, latents });
      const best = cosines.indexOf(Math.max(...cosines));
      list.replaceChildren(...texts.map((text, i) => at.meter(i === own ? `${text} (drawn)` : text, cosines[i])));
      at.say(`Drawn. The picture fits “${texts[best]}” best, with a cosine of ${cosines[best].toFixed(2)}.`);
    };
    const inputs = at.choices("the graph that is drawn", texts, "radio", show), seed = at.slider("seed", { min: 0, max: 9, step: 1, value: 0 }, show);
    at.box.append(html("p", { textContent: "Cosine of the picture with each graph:" }), list);
    inputs[0].click();
  },

  async masked(at) {                                // a hole in a picture, drawn again from what a graph says
    const [whole, seen, again] = ["picture", "what is seen", "drawn from the graph"].map(name => at.picture(name));
    const { graphs: texts, hole: [left, top, size] } = at.said, { latents } = await at.draw([whole], texts[0]), last = at.manifest.image_size - size;
    const show = async () => {
      const text = texts[inputs.findIndex(i => i.checked)], hole = [Number(x.value), Number(y.value), size];
      const { redrawn, loss } = await at.networks.answer("redrawn", { graph: at.vocab.rows(at.read(text)), latents, hole });
      put(seen.canvas, redrawn[0]); put(again.canvas, redrawn[1]);
      at.tell(seen, [`hidden: ${size} × ${size} pixels`]); at.tell(again, [`masked loss ${loss.toFixed(2)}`]);
      at.say(`Drawn from “${text}”: masked loss ${loss.toFixed(2)}.`);
    };
    const inputs = at.choices("what the graph says", texts, "radio", show);
    const x = at.slider("hole, from the left", { min: 0, max: last, step: 1, value: left }, show), y = at.slider("hole, from above", { min: 0, max: last, step: 1, value: top }, show);
    inputs[0].click();
  },

  async hide(at) {                                  // the same noise, with tokens that the denoiser may not read
    const whole = at.picture("all tokens"), part = at.picture("some hidden"), { graph } = await at.draw([whole], at.said.graphs[0]);
    const show = () => {
      const hidden = inputs.flatMap((input, i) => input.checked ? [] : [i]);
      if (hidden.length === inputs.length) return at.say("One token must stay: a place that reads nothing has nothing to add up.");
      return at.draw([part], at.said.graphs[0], { hidden });
    };
    const inputs = at.choices("tokens that the denoiser reads", at.inside.tokenNames(graph), "checkbox", show);
    inputs[0].click();
  },

  async guidance(at) {                              // the same noise, with more or less guidance
    const pictures = at.said.seeds.map(seed => at.picture(`seed ${seed}`));
    const show = guidance => at.draw(pictures, at.said.graphs[0], { guidance, relations: 0 });
    at.slider("guidance_scale", { min: 1, max: 10, step: 1, value: 1 }, show).oninput();
  },
};

async function begin(box, status, said) {
  const failed = why => { status.textContent = `This figure could not draw: ${why}`; };
  status.textContent = "fetching …";
  try {
    const response = await fetch(own("manifest.json"));
    if (!response.ok) throw new Error("this site was built without the networks");
    const [manifest, graphs, inside] = await Promise.all([response.json(), import("./graph.js"), import("./inside.js")]);
    const networks = new Networks(words => { status.textContent = words; }, failed);
    await figures[box.dataset.figure](new Figure(box, status, said, { graphs, inside, manifest, networks }));
  } catch (error) { failed(error.message); }
}

for (const box of document.querySelectorAll(".live")) {
  const still = box.querySelector(".live-still"), status = html("p", { role: "status", className: "live-status" });
  const button = html("button", { type: "button", textContent: `Start (${box.dataset.size}, fetched once)` });
  still.replaceWith(button, status);
  button.onclick = () => { button.remove(); status.tabIndex = -1; status.focus(); begin(box, status, JSON.parse(box.dataset.said)); };
}
