// Graphs as the page knows them: { objects: [word, ...], triples: [[subject row, predicate, object row], ...] }. Words, text, and
// what is wrong with a graph, as in the room `graphs` of the package; the tests hold the two together.

const folded = word => word.normalize("NFKC").split(/\s+/).filter(Boolean).join(" ").toLowerCase();
const quoted = text => `'${text.length > 60 ? `${text.slice(0, 28)}...${text.slice(-28)}` : text}'`;
const sum = numbers => numbers.reduce((a, b) => a + b, 0);

function matching(a, b) {                           // letters in common blocks (Ratcliff and Obershelp 1988)
  let long = 0, from = 0, to = 0;
  for (let i = 0; i < a.length; i++) for (let j = 0; j < b.length; j++) {
    let k = 0;
    while (i + k < a.length && j + k < b.length && a[i + k] === b[j + k]) k++;
    if (k > long) [long, from, to] = [k, i, j];
  }
  return long && long + matching(a.slice(0, from), b.slice(0, to)) + matching(a.slice(from + long), b.slice(to + long));
}

export function closestWords(word, known, n = 3) {
  const w = folded(word.slice(0, 100)), like = other => 2 * matching(folded(other), w) / ((w.length + folded(other).length) || 1);
  const ranked = known.map(k => [like(k), k]).sort((a, b) => b[0] - a[0] || (a[1] < b[1] ? -1 : 1)), near = ranked.filter(([l]) => l >= 0.5);
  return (near.length ? near : ranked).slice(0, n).map(([, k]) => k);
}

export class GraphError extends Error {}            // its message is for the person at the page

export class Vocab {
  constructor({ objects, predicates, object_aliases, predicate_aliases }) {
    this.words = { object: objects, predicate: predicates };
    this.aliases = { object: object_aliases, predicate: predicate_aliases };
    this.spelt = { object: this.spellings("object"), predicate: this.spellings("predicate") };
    this.longest = Math.max(...[...predicates, ...Object.keys(predicate_aliases)].map(p => p.split(" ").length));
  }
  spellings(kind) {                                 // without case -> the vocabulary's own word; not where that is two words
    const found = new Map();
    for (const word of [...this.words[kind], ...Object.keys(this.aliases[kind])]) {
      const key = folded(word), own = this.words[kind].includes(word) ? word : this.aliases[kind][word];
      found.set(key, found.has(key) && found.get(key) !== own ? null : own);
    }
    return found;
  }
  own(kind, word) {                                 // the vocabulary's word for it, or undefined
    if (word.startsWith("__")) return undefined;
    if (this.words[kind].includes(word)) return word;
    return (Object.hasOwn(this.aliases[kind], word) ? this.aliases[kind][word] : undefined) ?? this.spelt[kind].get(folded(word)) ?? undefined;
  }
  plain(kind) { return this.words[kind].filter(w => !w.startsWith("__")); }
  unknown(kind, word) {
    const near = closestWords(word, [...this.plain(kind), ...Object.keys(this.aliases[kind])]);
    return new GraphError(`unknown ${kind} ${quoted(word)}; the closest known ones are: ${near.join(", ")}`);
  }
  rows({ objects, triples }) {                      // words -> numbers, as the networks want them
    return { objects: objects.map(w => this.words.object.indexOf(w)), triples: triples.map(([s, p, o]) => [s, this.words.predicate.indexOf(p), o]) };
  }
}

const withoutArticle = words => words.replace(/^(a|an|the) /i, "");

function splitClause(clause, vocab) {               // [subject, predicate, object], cut at the longest predicate, or [object]
  const words = clause.split(/\s+/).filter(Boolean);
  for (let n = Math.min(vocab.longest, words.length - 2); n > 0; n--) for (let i = 1; i < words.length - n; i++) {
    const said = words.slice(i, i + n).join(" ");
    if (vocab.own("predicate", said)) return [withoutArticle(words.slice(0, i).join(" ")), said, withoutArticle(words.slice(i + n).join(" "))];
  }
  return [withoutArticle(words.join(" "))];
}

function splitName(name) {                          // ["sheep", 2] of "sheep#2"
  const parts = name.match(/^([^#]*[^#\s])\s*(?:#\s*0*([1-9][0-9]{0,5}))?$/);
  if (!parts) throw new GraphError(`cannot read ${quoted(name)}: write a word, or word#2 for the second of that name`);
  return [parts[1], Number(parts[2] ?? 1)];
}

function readName(name, vocab) {
  const [word, number] = splitName(name);
  if (vocab.own("object", word) || word.split(/\s+/).length < 3 && !/,|&|\band\b/i.test(word)) return [word, number];
  if (splitClause(name, vocab).length === 3) throw new GraphError(`two relations in one clause, the second in ${quoted(name)}: part them by ';' and name the object in both`);
  if (/,|&|\band\b/i.test(word)) throw new GraphError(`cannot read ${quoted(name)}: write one clause for each, parted by ';'`);
  throw new GraphError(`cannot read ${quoted(name)}: write 'object predicate object' with one of the predicates ${vocab.plain("predicate").join(", ")}`);
}

function numberFaults(names, alone) {               // [word, number] of all objects, how often each word is a clause by itself -> what the numbers leave open
  const most = new Map(), faults = [];
  for (const [word, number] of names) most.set(word, Math.max(most.get(word) ?? 0, number));
  for (const [word, times] of alone) if (times > 1)
    faults.push(`${quoted(word)} stands by itself ${times} times, for one or for ${times}? Name one once; a second one is '${word}#${most.get(word) + 1}'`);
  for (const [word, last] of most) for (let n = 1; n < last; n++) if (!names.some(([w, k]) => w === word && k === n)) {
    faults.push(`'${word}#${last}' needs '${n === 1 ? word : `${word}#${n}`}' before it: number objects of one name without a gap`);
    break;
  }
  return faults;
}

export function graphFromText(text, vocab) {        // clauses between ";" or line ends -> a graph in the words of the text
  if (text.length > 100_000) throw new GraphError(`a graph has ${text.length} characters, at most 100000 are read`);
  const names = [], triples = [], alone = new Map(), faults = new Set();
  const row = name => {
    try {
      const [word, number] = readName(name, vocab), at = names.findIndex(([w, n]) => w === word && n === number);
      return at >= 0 ? at : names.push([word, number]) - 1;
    } catch (error) { faults.add(error.message); return -1; }
  };
  for (const clause of text.split(/[;\r\n]/).filter(c => c.trim())) {
    const parts = splitClause(clause, vocab), rows = parts.filter((_, i) => i !== 1).map(row);
    if (rows.includes(-1)) continue;
    if (parts.length === 3) triples.push([rows[0], parts[1], rows[1]]);
    else if (names[rows[0]][1] === 1) alone.set(names[rows[0]][0], (alone.get(names[rows[0]][0]) ?? 0) + 1);
  }
  if (!names.length && !faults.size) throw new GraphError(`the text holds no object; write for example ${quoted(example(vocab))}`);
  const told = [...faults, ...numberFaults(names, alone)];
  if (told.length) throw new GraphError(told.slice(0, 8).join("; "));
  return inOrder(names, triples);
}

const example = vocab => { const [a, b] = vocab.plain("object"), [p] = vocab.plain("predicate"); return `${a} ${p} ${b}`; };

function inOrder(names, triples) {                  // objects of one word in the order of their numbers
  const left = new Map();
  for (const name of [...names].sort((a, b) => a[1] - b[1])) left.set(name[0], [...(left.get(name[0]) ?? []), name]);
  const ordered = names.map(([word]) => left.get(word).shift()), place = names.map(name => ordered.indexOf(name));
  return { objects: ordered.map(([word]) => word), triples: triples.map(([s, p, o]) => [place[s], p, place[o]]) };
}

export function objectNames({ objects }) {          // sheep, sheep#2, ...
  return objects.map((word, i) => { const n = objects.slice(0, i + 1).filter(w => w === word).length; return n > 1 ? `${word}#${n}` : word; });
}

export function graphToText(graph) {
  const names = objectNames(graph), used = new Set(graph.triples.flatMap(([s, , o]) => [s, o]));
  return [...graph.triples.map(([s, p, o]) => `${names[s]} ${p} ${names[o]}`), ...names.filter((_, i) => !used.has(i))].join("; ");
}

export function checkGraph(graph, vocab, { most_objects, most_relations }) {    // -> the graph in the vocabulary's own words
  const { objects, triples } = graph, faults = new Set(), seen = new Map();
  if (!objects.length) throw new GraphError("the graph is empty: give at least one object");
  for (const [n, what, most] of [[objects.length, "objects", most_objects], [triples.length, "relations", most_relations]])
    if (n > most) throw new GraphError(`the graph has ${n} ${what}, at most ${most} are allowed`);
  const own = (kind, word) => {
    if (!word) faults.add(`${kind === "object" ? "an object" : "a predicate"} is an empty word: write one, or leave it out`);
    else if (word.startsWith("__")) faults.add(`${quoted(word)} is no word for a graph: the model adds its own; leave it out`);
    else { const found = vocab.own(kind, word); if (!found) faults.add(vocab.unknown(kind, word).message); return found; }
  };
  const words = objects.map(w => own("object", w)), relations = triples.map(([s, p, o]) => [s, own("predicate", p), o]);
  for (const [s, p, o] of relations) {
    const key = [s, p, o].join(), said = quoted(`${objects[s]} ${p} ${objects[o]}`);
    if (s === o) faults.add(`${said} ties an object to itself: a relation needs two different objects; a second one is '${objects[s]}#${Math.max(2, sum(objects.map(w => w === objects[s])) + 1)}' in a text`);
    if (seen.has(key)) faults.add(`${said} stands more than once in the graph: give it once`);
    seen.set(key, true);
  }
  if (faults.size) throw new GraphError([...faults].slice(0, 8).join("; "));
  return { objects: words, triples: relations };
}

export function graphFromJson(text) {               // sg2im's form; a list: its first graph
  let data;
  try { data = JSON.parse(text); } catch (error) { throw new GraphError(`this is no JSON: ${error.message}`); }
  const found = Array.isArray(data) ? data[0] : data, { objects, relationships = [] } = found ?? {};
  if (!Array.isArray(objects) || !Array.isArray(relationships) || !objects.every(w => typeof w === "string"))
    throw new GraphError('a graph is {"objects": ["...", ...], "relationships": [[0, "...", 1], ...]}');
  const row = i => Number.isInteger(i) && i >= 0 && i < objects.length;
  for (const t of relationships) if (!(Array.isArray(t) && t.length === 3 && row(t[0]) && typeof t[1] === "string" && row(t[2])))
    throw new GraphError(`a relation is [row, "predicate", row] with rows from 0 to ${objects.length - 1}, got ${JSON.stringify(t)?.slice(0, 60)}`);
  return { objects: objects.map(w => w.trim()), triples: relationships.map(([s, p, o]) => [s, p.trim(), o]) };
}

export function readGraph(text, vocab) { return /^\s*[{[]/.test(text) ? graphFromJson(text) : graphFromText(text, vocab); }

export const graphToJson = ({ objects, triples }) => ({ objects, relationships: triples });

const told = ([s, p, o], { objects }) => `${objects[s]} ${p} ${objects[o]}`;

export function doubts(graph, scenes, most) {       // why these weights may not draw all of it, as sentences
  if (!scenes) return [];
  const n = graph.objects.filter(w => !scenes.background.includes(w)).length, said = [];
  if (n > most) said.push(`${n} things, but these weights were trained on at most ${most}: expect some to be missing`);
  const turned = ([s, p, o]) => scenes.inverse[p] ? [o, scenes.inverse[p], s] : [s, p, o];
  const key = t => [String(t), String(turned(t))].sort()[0], facts = [...new Map(graph.triples.map(t => [key(t), t])).values()];
  facts.forEach((a, i) => facts.slice(i + 1).forEach(b => {
    if ([a[0], a[2]].sort().join() !== [b[0], b[2]].sort().join()) return;
    const both = `A ${a[1]} B; ${a[0] === b[0] ? `A ${b[1]} B` : `B ${b[1]} A`}`;
    if (scenes.apart.includes(both)) said.push(`${quoted(told(a, graph))} and ${quoted(told(b, graph))} never stand together in ${scenes.world}: expect one of them to be missing`);
  }));
  return said;
}

export function judgeable({ askable }, [s, p, o]) { // whether the judge may be asked
  return s !== o && (askable[p] ?? []).some(([subjects, objects]) => subjects.includes(s) && objects.includes(o));
}
