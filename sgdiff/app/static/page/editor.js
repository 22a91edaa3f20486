// The state of the board: immutable moments, undo and redo, what changed. As `EditorModel` of sgdiff.app.model, for a page without
// Python; it also speaks to graph_canvas.js in the words of anywidget: get, set, on, off, send, save_changes.
import { GraphError, checkGraph, objectNames, readGraph } from "./graph.js";

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const far = ([a, b], [c, d]) => (a - c) ** 2 + (b - d) ** 2;

export function placeObjects({ objects, triples }, { directions, high, low }) {    // [x, y] in [0, 1] of each, y down: as it would be in the picture
  const n = objects.length, fixed = [...high, ...low], told = new Map();
  for (const [s, p, o] of triples) if (directions[p]) { const [x, y] = directions[p]; told.set(`${s},${o}`, [x, y]); told.set(`${o},${s}`, [-x, -y]); }
  let at = objects.map((_, i) => [0.5 + 0.3 * Math.cos(2 * Math.PI * i / n), 0.5 - 0.3 * Math.sin(2 * Math.PI * i / n)]);
  for (let round = 0; round < 200; round++) {
    const push = at.map(([x, y]) => [0.03 * (0.5 - x), 0.03 * (0.5 - y)]);
    at.forEach(([x, y], i) => at.forEach(([u, v]) => {
      const apart = Math.max(Math.hypot(x - u, y - v), 1e-3), force = 0.15 * Math.max(0.45 - apart, 0) / apart;
      push[i][0] += force * (x - u); push[i][1] += force * (y - v);
    }));
    for (const [s, p, o] of triples) {
      if (s === o || fixed.includes(objects[s]) && fixed.includes(objects[o])) continue;
      const [dx, dy] = [at[s][0] - at[o][0], at[s][1] - at[o][1]], long = Math.max(Math.hypot(dx, dy), 1e-3);
      const gap = directions[p] ?? told.get(`${s},${o}`) ?? [dx / long, dy / long];
      const pull = [0.15 * (at[o][0] + 0.6 * gap[0] - at[s][0]), 0.15 * (at[o][1] + 0.4 * gap[1] - at[s][1])];
      push[s] = push[s].map((v, k) => v + pull[k]); push[o] = push[o].map((v, k) => v - pull[k]);
    }
    objects.forEach((w, i) => {
      if (!fixed.includes(w)) return;
      push[i][0] += 0.1 * (0.5 - at[i][0]); push[i][1] += 0.5 * ((high.includes(w) ? 0.06 : 0.94) - at[i][1]);
    });
    at = at.map(([x, y], i) => [clamp(x + push[i][0], 0.1, 0.9), clamp(y + push[i][1], 0.06, 0.94)]);
  }
  return at.map(p => p.map(v => Math.round(1000 * v) / 1000));
}

function freePlace(places) {                        // the point of a coarse grid that is farthest from all
  const line = [0.5, 0.3, 0.7, 0.15, 0.85], grid = line.flatMap(y => line.map(x => [x, y]));
  const room = p => Math.min(...places.map(q => far(p, q)));
  return places.length ? grid.reduce((best, p) => room(p) > room(best) ? p : best) : grid[0];
}

const called = ({ objects, attributes }) => objects.map((word, i) => [...attributes[i], word].join(" "));
const keyed = m => m.graph.triples.map(([s, p, o]) => [m.keys[s], p, m.keys[o]]);

export class Editor {
  constructor(vocab, rules) {
    Object.assign(this, { vocab, rules, past: [], future: [], nextKey: 0, error: "", version: 0, since: null, verdicts: [], listeners: [] });
    this.now = { graph: { objects: [], triples: [], attributes: [] }, keys: [], places: [], written: {} };
    this.slots = { hover: "", objects: vocab.plain("object"), predicates: vocab.plain("predicate") };
    this.handlers = {};
    this.show();
  }
  get graph() { return this.now.graph; }

  // --- commands, as the board sends them
  do(command, args = {}) {                          // whether it was done; why not ends in `error`
    this.error = "";
    try {
      if (!Editor.COMMANDS.includes(command)) throw new GraphError(`unknown command ${command}`);
      this[command](args);
    } catch (error) {
      if (!(error instanceof GraphError)) throw error;
      this.error = error.message;
    }
    this.show();
    for (const listener of this.listeners) listener(this);
    return !this.error;
  }
  read(text) {                                      // another graph; "", or in words why not: for a field that tells it itself
    try { this.load({ graph: text }); } catch (error) { if (error instanceof GraphError) return error.message; throw error; }
    this.error = "";
    this.show();
    for (const listener of this.listeners) listener(this);
    return "";
  }
  go(graph, keys = this.now.keys, places = this.now.places, written = this.now.written) {
    const moment = { graph: graph.objects.length ? checkGraph(graph, this.vocab, this.rules) : graph, keys, places, written };
    if (["graph", "keys", "places"].every(part => JSON.stringify(moment[part]) === JSON.stringify(this.now[part]))) { this.now = moment; return; }    // perhaps in other words
    this.past.push(this.now); this.future = [];
    this.turn(moment);
  }
  turn(moment) {
    if (JSON.stringify(moment.graph) !== JSON.stringify(this.graph)) this.version++;
    this.nextKey = Math.max(this.nextKey, ...moment.keys.map(k => k + 1));
    this.now = moment;
  }
  add_object({ word, x, y }) {
    const place = x === undefined ? freePlace(this.now.places) : [clamp(x, 0, 1), clamp(y, 0, 1)];
    this.go({ ...this.graph, objects: [...this.graph.objects, word], attributes: [...this.graph.attributes, []] }, [...this.now.keys, this.nextKey], [...this.now.places, place]);
  }
  object(row) { if (!(row in this.graph.objects)) throw new GraphError(`there is no object ${row}: the graph has ${this.graph.objects.length}`); }
  relation(row) { if (!(row in this.graph.triples)) throw new GraphError(`there is no relation ${row}: the graph has ${this.graph.triples.length}`); }
  described(row, said) { return this.graph.attributes.map((old, i) => i === row ? said : old); }
  replace_object({ row, word }) {                   // what it still can be it stays
    this.object(row);
    const may = this.vocab.attributesFor(word), said = this.graph.attributes[row].filter(a => may.includes(a));
    this.go({ ...this.graph, objects: this.graph.objects.map((w, i) => i === row ? word : w), attributes: this.described(row, said) });
  }
  toggle_attribute({ row, attribute }) {            // says something of an object, or takes it back; what it excludes goes
    this.object(row);
    const said = this.graph.attributes[row], own = this.vocab.own("attribute", attribute) ?? attribute;
    this.go({ ...this.graph, attributes: this.described(row, said.includes(own) ? said.filter(a => a !== own) : this.vocab.joined(said, [own])) });
  }
  remove_object({ row }) {
    this.object(row);
    const keep = list => list.filter((_, i) => i !== row), down = i => i - (i > row);
    const triples = this.graph.triples.filter(([s, , o]) => s !== row && o !== row).map(([s, p, o]) => [down(s), p, down(o)]);
    this.go({ objects: keep(this.graph.objects), triples, attributes: keep(this.graph.attributes) }, keep(this.now.keys), keep(this.now.places));
  }
  move_object({ row, x, y }) { this.object(row); this.go(this.graph, this.now.keys, this.now.places.map((p, i) => i === row ? [clamp(x, 0, 1), clamp(y, 0, 1)] : p)); }
  triples(change) { this.go({ ...this.graph, triples: change(this.graph.triples) }); }
  add_triple({ subject, predicate, object }) { this.object(subject); this.object(object); this.triples(all => [...all, [subject, predicate, object]]); }
  replace_triple({ row, subject, predicate, object }) { this.relation(row); this.object(subject); this.object(object); this.triples(all => all.map((t, i) => i === row ? [subject, predicate, object] : t)); }
  replace_predicate({ row, predicate }) { this.relation(row); this.triples(all => all.map((t, i) => i === row ? [t[0], predicate, t[2]] : t)); }
  turn_triple({ row }) { this.relation(row); this.triples(all => all.map((t, i) => i === row ? [t[2], t[1], t[0]] : t)); }
  remove_triple({ row }) { this.relation(row); this.triples(all => all.filter((_, i) => i !== row)); }
  undo() { if (!this.past.length) throw new GraphError("there is nothing to undo"); this.future.push(this.now); this.turn(this.past.pop()); }
  redo() { if (!this.future.length) throw new GraphError("there is nothing to do again"); this.past.push(this.now); this.turn(this.future.pop()); }
  load({ graph: text }) {                           // another graph; objects that both have keep keys and places
    const asked = readGraph(text, this.vocab), graph = checkGraph(asked, this.vocab, this.rules);
    const match = matched(this.graph, graph, this.rules), old = match.map(m => m < 0 ? null : this.now.places[m]);
    const written = {};
    asked.objects.forEach((w, i) => { if (folds(w) !== folds(graph.objects[i])) written[graph.objects[i]] = w; });
    asked.attributes.flat().forEach(a => { const own = this.vocab.own("attribute", a); if (folds(a) !== folds(own)) written[own] = a; });
    asked.triples.forEach(([, p], i) => { if (folds(p) !== folds(graph.triples[i][1])) written[graph.triples[i][1]] = p; });
    this.go(graph, match.map((m, i) => m < 0 ? this.nextKey + i : this.now.keys[m]), this.settled(graph, old), written);
  }
  agrees(graph, places) {                           // whether no place contradicts a relation that names a direction
    return graph.triples.every(([s, p, o]) => {
      const way = this.rules.directions[p], a = places[s], b = places[o];
      return !way || !a || !b || (a[0] - b[0]) * way[0] + (a[1] - b[1]) * way[1] > 0;
    });
  }

  settled(graph, old) {                             // a place for each object: the old one, if no relation speaks against them; else one where there is room
    const at = placeObjects(graph, this.rules), places = this.agrees(graph, old) ? [...old] : old.map(() => null);
    at.forEach((p, i) => {
      const others = places.filter(Boolean);
      places[i] ??= others.every(q => far(p, q) > 0.05) ? p : freePlace(others);
    });
    return places;
  }

  // --- what is on the board
  changes() {                                       // rows that are new since `since`
    if (!this.since) return { objects: [], triples: [] };
    const old = called(this.since.graph), now = called(this.graph), words = new Map(this.since.keys.map((k, i) => [k, old[i]])), was = keyed(this.since).map(String);
    return { objects: this.now.keys.flatMap((k, i) => words.get(k) === now[i] ? [] : [i]),
      triples: keyed(this.now).flatMap((t, i) => was.includes(String(t)) ? [] : [i]) };
  }
  get notes() {                                     // words that others stand in for
    const { objects, triples, attributes } = this.graph, drawn = [...objects, ...attributes.flat(), ...triples.map(([, p]) => p)], phrase = word => word.includes(" ") ? `'${word}'` : word;
    return Object.entries(this.now.written).filter(([own]) => drawn.includes(own)).map(([own, said]) => `${phrase(said)} is drawn as ${phrase(own)}: these weights know no ${phrase(said)}`);
  }
  get board() {
    const { graph, keys, places, written } = this.now, changed = this.changes(), names = objectNames(graph);
    return { can_undo: this.past.length > 0, can_redo: this.future.length > 0, error: this.error,
      nodes: graph.objects.map((word, i) => ({ key: keys[i], word, x: places[i][0], y: places[i][1], changed: changed.objects.includes(i), written: written[word] ?? "", name: names[i], attributes: graph.attributes[i],
        may: this.vocab.attributesFor(word), described: graph.attributes[i].filter(a => written[a]).map(a => [written[a], a]) })),
      edges: graph.triples.map(([subject, predicate, object], i) => ({ subject, predicate, object, changed: changed.triples.includes(i), verdict: this.verdicts[i] ?? null, written: written[predicate] ?? "" })) };
  }
  show() { this.slots.board = this.board; this.tell("change:board"); }

  // --- the model of a widget
  get(name) { return this.slots[name]; }
  set(name, value) { this.slots[name] = value; this.tell(`change:${name}`); }
  save_changes() {}
  on(event, f) { (this.handlers[event] ??= []).push(f); }
  off(event, f) { this.handlers[event] = (this.handlers[event] ?? []).filter(g => g !== f); }
  tell(event, what) { for (const f of this.handlers[event] ?? []) f(what); }
  send({ command, arguments: args, number }) { this.do(command, args); queueMicrotask(() => this.tell("msg:custom", { number })); }
}
const folds = word => word.toLowerCase();

function matched(before, graph, { skies, grounds }) {      // for each object its row before, or -1: the same words with the same attributes first, then the same words, then kind with kind
  const kinds = words => words.map(w => skies.includes(w) ? "sky" : grounds.includes(w) ? "ground" : "thing");
  const left = new Set(before.objects.keys()), rows = graph.objects.map(() => -1);
  const pairs = [[called(before), called(graph)], [before.objects, graph.objects], [kinds(before.objects), kinds(graph.objects)]];
  for (const [old, now] of pairs) now.forEach((name, i) => {
    const found = rows[i] < 0 ? [...left].find(j => old[j] === name) : undefined;
    if (found !== undefined) { rows[i] = found; left.delete(found); }
  });
  return rows;
}

Editor.COMMANDS = ["add_object", "replace_object", "remove_object", "move_object", "toggle_attribute", "add_triple", "replace_triple", "replace_predicate", "turn_triple", "remove_triple", "load", "undo", "redo"];
