// What a picture shows, as things and relations, and how much of an asked graph that is: from the maps of the reader's network. As
// `reader`, `park` and `marks` in the room `toy` of the package; the tests hold them together. A thing is { word, color, size, x, y, w, h,
// facing, reach }: its kind, a colour or null, 0 small or 1 large, its box in pixels, 1 right or -1 left, an arm to the right or left or 0.

const right = t => t.x + t.w, bottom = t => t.y + t.h, centre = t => [t.x + t.w / 2, t.y + t.h / 2];
const apart = (a, b) => right(a) <= b.x || right(b) <= a.x || bottom(a) <= b.y || bottom(b) <= a.y;
const contains = (a, b) => a.x <= b.x && a.y <= b.y && right(a) >= right(b) && bottom(a) >= bottom(b);
const best = values => values.indexOf(Math.max(...values));

export class Reader {
  constructor(rules, bytes) {                       // rules: `reader` of the manifest; bytes: the sprites one after another, red green blue solid
    Object.assign(this, { rules, sprites: new Map() });
    let at = 0;
    for (const [word, sizes] of Object.entries(rules.things)) for (const color of rules.colored.includes(word) ? rules.colors : [null]) sizes.forEach(([w, h], size) => {
      this.sprites.set([word, color, size].join(), bytes.subarray(at, at += 4 * w * h));
    });
  }

  // --- from maps to things
  thing(maps, n, k, i) {                            // the thing whose peak is at place i of n x n in map k; maps: name -> values of one channel after another
    const { things, sizes, colors, colored, holder, reaches } = this.rules, word = Object.keys(things)[Math.floor(k / sizes.length)], size = k % sizes.length;
    const [w, h] = things[word][size], said = (name, many) => Array.from({ length: many }, (_, c) => maps[name][c * n * n + i]);
    const first = (place, off, long) => Math.min(Math.max(Math.round((place + 0.5 + off) * 2 - long / 2), 0), 2 * n - long), [dx, dy] = said("offset", 2);
    return { word, size, color: colored.includes(word) ? colors[best(said("color", colors.length))] : null, x: first(i % n, dx, w), y: first(Math.floor(i / n), dy, h), w, h,
      facing: maps.facing[i] > 0 ? 1 : -1, reach: word === holder ? reaches[best(said("reach", reaches.length))] : 0 };
  }

  read(maps, pixels) {                              // of one picture, (3, H, W) in [-1, 1]; -> { things: those behind first, sure: their heights, land: words }
    const { most, skies, grounds, wet } = this.rules, n = Math.sqrt(maps.facing.length), land = [...maps.land], peaks = [];
    maps.peaks.forEach((height, i) => { if (height > 0) peaks.push([height, i]); });
    peaks.sort((a, b) => b[0] - a[0] || b[1] - a[1]);
    const found = peaks.slice(0, most).map(([sure, i]) => ({ sure, thing: this.thing(maps, n, Math.floor(i / (n * n)), i % (n * n)) }));
    const order = this.drawingOrder(found.map(({ thing }) => thing), pixels);
    return { things: order.map(i => found[i].thing), sure: order.map(i => found[i].sure),
      land: [skies[best(land.slice(0, skies.length))], grounds[best(land.slice(skies.length, -1))], ...land.at(-1) > 0 ? [wet] : []] };
  }

  // --- who is in front
  pixel({ word, color, size, x, w, y, facing }, column, row) {     // what a thing would show there, or nothing
    const k = facing > 0 ? column - x : w - 1 - column + x, at = 4 * ((row - y) * w + k), sprite = this.sprites.get([word, color, size].join());
    return sprite[at + 3] ? sprite.subarray(at, at + 3) : null;
  }
  inFront(pixels, a, b) {                           // whether of two that overlap the picture shows b where both would be
    const side = Math.sqrt(pixels.length / 3), area = side * side;
    let far = 0;
    for (let y = Math.max(a.y, b.y); y < Math.min(bottom(a), bottom(b)); y++) for (let x = Math.max(a.x, b.x); x < Math.min(right(a), right(b)); x++) {
      const p = this.pixel(a, x, y), q = this.pixel(b, x, y);
      if (p && q) for (let k = 0; k < 3; k++) { const v = (pixels[k * area + y * side + x] + 1) * 127.5; far += Math.abs(v - p[k]) - Math.abs(v - q[k]); }
    }
    return far > 0;
  }
  drawingOrder(things, pixels) {                    // rows of the things, those behind before those in front
    const after = things.map(() => []);             // row -> rows that are drawn later
    things.forEach((a, i) => things.slice(0, i).forEach((b, j) => {
      if (!apart(a, b)) this.inFront(pixels, a, b) ? after[i].push(j) : after[j].push(i);
    }));
    for (let cycle = findCycle(after); cycle; cycle = findCycle(after)) after[cycle[0]].splice(after[cycle[0]].indexOf(cycle[1]), 1);
    const left = things.map((_, i) => i), order = [];
    while (left.length) order.push(...left.splice(left.findIndex(i => !left.some(j => after[j].includes(i))), 1));
    return order;
  }

  // --- what holds between things
  canHold(a, b) { return a.word === this.rules.holder && this.rules.holdable.includes(b.word); }
  atHand(a, b) {                                    // side by side and close
    const gap = Math.max(a.x - right(b), b.x - right(a));
    return gap >= 0 && gap <= this.rules.gap && a.y < bottom(b) + 2 && b.y < bottom(a) + 2;
  }
  pairRelations(things, i, j) {                     // [row, predicate, row] of all that holds between two things
    const { predicates: said, faces } = this.rules, a = things[i], b = things[j], [ax, ay] = centre(a), [bx, by] = centre(b), dx = bx - ax, dy = by - ay;
    if (contains(a, b)) return [[i, said.around, j]];
    if (contains(b, a)) return [[j, said.around, i]];
    if (!apart(a, b)) return [[j, said.front, i]];
    if (Math.abs(dx) < Math.abs(dy)) return [[i, dy > 0 ? said.above : said.below, j]];
    const ahead = dx > 0 ? 1 : -1, glance = (s, way, o) => faces.includes(things[s].word) ? [[s, things[s].facing === way ? said.at : said.away, o]] : [];
    const found = [[i, dx > 0 ? said.left : said.right, j], ...glance(i, ahead, j), ...glance(j, -ahead, i)];
    if (!this.atHand(a, b)) return found;
    const [s, o] = this.canHold(b, a) ? [j, i] : [i, j];
    return [...found, [s, this.canHold(things[s], things[o]) && things[s].reach ? said.holding : said.near, o]];
  }
  relations(things) { return things.flatMap((_, i) => things.slice(i + 1).flatMap((_, k) => this.pairRelations(things, i, i + 1 + k))); }

  // --- what of a graph a picture shows
  marks(graph, { things, sure, land }) {            // under the matching of asked and shown things that is best for the picture
    const { inverse, skies, grounds, wet } = this.rules, isLand = word => [...skies, ...grounds, wet].includes(word);
    const asked = graph.objects.flatMap((word, i) => isLand(word) ? [] : [i]), wanted = graph.triples.map(([s, , o]) => asked.includes(s) && asked.includes(o));
    const holds = new Set(this.relations(things).flatMap(([s, p, o]) => [[s, p, o].join(), ...inverse[p] ? [[o, inverse[p], s].join()] : []]));
    const shown = things.map((_, i) => i).sort((a, b) => sure[b] - sure[a]).map(i => [i, things[i].word]);
    const judged = at => ({ at, said: asked.flatMap(i => at[i] === null ? [] : graph.attributes[i].map(word => this.attributes(things[at[i]]).includes(word))),
      verdicts: graph.triples.map(([s, p, o], row) => wanted[row] ? holds.has([at[s], p, at[o]].join()) : null) });
    const score = way => [...way.said, ...way.verdicts].filter(Boolean).length;
    let top = null;
    for (const rows of matchings(asked.map(i => graph.objects[i]), shown)) {
      const way = judged(Object.fromEntries(asked.map((i, k) => [i, rows[k]])));
      if (!top || score(way) > score(top)) top = way;
    }
    const there = graph.objects.filter(isLand), count = list => list.filter(Boolean).length;
    return { verdicts: top.verdicts, things: [asked.filter(i => top.at[i] !== null).length, asked.length, things.length], attributes: [count(top.said), top.said.length],
      relations: [count(top.verdicts), wanted.filter(Boolean).length], land: [there.filter(word => land.includes(word)).length, there.length] };
  }
  attributes({ color, size }) { return [this.rules.sizes[size], ...color ? [color] : []]; }
  called(thing) { return [...this.attributes(thing), thing.word].join(" "); }
}

function findCycle(after) {                         // the first edge of a cycle, or nothing
  const open = [], done = new Set();
  const visit = i => {
    open.push(i);
    for (const j of after[i]) {
      if (open.includes(j)) return [j, open[open.indexOf(j) + 1] ?? j];
      const found = done.has(j) ? null : visit(j);
      if (found) return found;
    }
    done.add(open.pop());
    return null;
  };
  for (let i = 0; i < after.length; i++) { const found = done.has(i) ? null : visit(i); if (found) return found; }
  return null;
}

function* choices(rows, n) {                        // n of the rows, in every order
  if (!n) { yield []; return; }
  for (let k = 0; k < rows.length; k++) for (const rest of choices([...rows.slice(0, k), ...rows.slice(k + 1)], n - 1)) yield [rows[k], ...rest];
}

const SPARE = 2;                                    // so many more of a kind than asked are looked at
function* matchings(asked, shown, from = 0) {       // asked: words; shown: [row, word], the clearest first; -> for each asked word a row of its own, or null
  const words = [...new Set(asked)], word = words[from];
  if (!word) { yield asked.map(() => null); return; }
  const places = asked.flatMap((w, i) => w === word ? [i] : []), have = shown.filter(([, w]) => w === word).map(([row]) => row).slice(0, places.length + SPARE);
  const rows = [...have, ...Array(Math.max(0, places.length - have.length)).fill(null)];
  for (const chosen of choices(rows, places.length)) for (const rest of matchings(asked, shown, from + 1)) {
    places.forEach((place, k) => { rest[place] = chosen[k]; });
    yield rest;
  }
}
