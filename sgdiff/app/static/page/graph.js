// Graphs as the page knows them: { objects: [word, ...], triples: [[subject row, predicate, object row], ...], attributes: [[word, ...],
// ...], one list an object }. Text, JSON, and what is wrong with a graph, as in the room `graphs` of the package; the tests hold the
// two together.
import { GraphError, brief, isThing, literal, nameParts, objectNames, quoted, closestWords, withoutArticle } from "./words.js";
export { GraphError, Vocab, closestWords, objectNames } from "./words.js";

const MOST_TOLD = 20, LONGEST = 100_000, LARGEST = 1000;          // faults in a message, letters of a text, objects that are looked at

function refuse(faults) {                           // nothing, or all that is wrong in one message
  const told = [...new Set(faults)];
  if (told.length) throw new GraphError([...told.slice(0, MOST_TOLD), ...told.length > MOST_TOLD ? ["and more faults"] : []].join("; "));
}

// --- text: clauses between ";" or line ends

function splitClause(clause, vocab) {               // [subject, predicate, object], cut at the longest predicate, or [object]
  const words = clause.split(/\s+/).filter(Boolean), ends = (...parts) => parts.map(part => withoutArticle(part.join(" "), vocab));
  for (let n = Math.min(vocab.longest("predicate"), words.length - 2); n > 0; n--) for (let i = 1; i < words.length - n; i++) {
    const said = vocab.spelt("predicate", words.slice(i, i + n).join(" ")), [s, o] = ends(words.slice(0, i), words.slice(i + n));
    if (vocab.own("predicate", said)) return [s, said, o];
  }
  return ends(words);
}

function clauseFault(name, listed, vocab) {         // why a clause holds too much; nothing where it does not
  const plain = name.replace(/[_-]+/g, " ");
  if (splitClause(name, vocab).length === 3) return `two relations in one clause, the second in ${quoted(name)}: part them by ';' and name the object in both`;
  if (listed) return `cannot read ${quoted(name)}: write one clause for each, parted by ';'`;
  if (splitClause(plain, vocab).length === 3 && !name.includes("__")) return `cannot read ${quoted(name)}: write ${quoted(plain)}`;
}

function readName(name, vocab) {                    // what an object's name says, its word in the vocabulary's letters
  const found = nameParts(name, vocab), word = vocab.spelt("object", found.word), listed = /,|&|\band\b/i.test(word);
  if (isThing(word, vocab) || word.startsWith("__") || word.split(" ").length < 3 && !listed) return { ...found, word };
  const known = vocab.plain("predicate"), near = known.length <= 20 ? known : closestWords(word.split(" ").slice(1, -1).join(" "), known, 20);
  throw new GraphError(clauseFault(name, listed, vocab) ?? `cannot read ${quoted(name)}: write 'object predicate object' with one of the predicates ${near.join(", ")}`);
}

class Things {                                      // the objects of a text, as they are met; each by its word and its number
  constructor(numbered) { this.numbered = numbered; this.all = []; }       // numbered: words that the text numbers
  meant({ word, said, number, many }) {             // the objects that a name means
    const there = this.all.filter(thing => thing.word === word), counted = this.numbered.has(word), first = counted ? 1 : there.length + 1;
    const fits = counted ? number ? [number] : [] : there.filter(thing => said.every(a => thing.said.has(a))).map(thing => thing.number);
    if (fits.length && fits.length !== many) throw new GraphError(this.ambiguous({ word, said, many }, there, fits.length));
    const numbers = fits.length ? fits : Array.from({ length: many }, (_, k) => first + k);
    return numbers.map(n => {
      const thing = there.find(thing => thing.number === n) ?? { word, number: n, said: new Set() };
      if (!there.includes(thing)) this.all.push(thing);
      for (const a of said) thing.said.add(a);
      return thing;
    });
  }
  ambiguous({ word, said, many }, there, n) {
    const called = there.map(thing => [...[...thing.said].sort(), word].join(" ")), asked = [...said, word].join(" "), before = brief(called.join(", "), 200);
    return many === 1 ? `${literal(asked)} could be ${n} objects (${before}): say which, or number all of them, as in '${called[0]}', '${called[1]}#2'`
      : `${many} times ${literal(asked)}, after ${before}: the same or others? Number all of them, as in '${called[0]}', '${asked}#2'`;
  }
}

function numberFaults(things, alone) {              // alone: thing -> how often it is a clause by itself; -> what the numbers leave open
  const most = new Map(), faults = [];
  for (const { word, number } of things) most.set(word, Math.max(most.get(word) ?? 0, number));
  for (const [{ word }, times] of alone) if (times > 1)
    faults.push(`${quoted(word)} stands by itself ${times} times, for one or for ${times}? Name one once; a second one is '${brief(word)}#${most.get(word) + 1}'`);
  for (const [word, last] of most) for (let n = 1; n < last; n++) if (!things.some(t => t.word === word && t.number === n)) {
    faults.push(`'${brief(word)}#${last}' needs ${literal(n === 1 ? brief(word) : `${brief(word)}#${n}`)} before it: number objects of one name without a gap`);
    break;
  }
  return faults;
}

function inOrder(things) {                          // the same, where those of one word stand in the order of their numbers
  const left = new Map();
  for (const thing of [...things].sort((a, b) => a.number - b.number)) left.set(thing.word, [...(left.get(thing.word) ?? []), thing]);
  return things.map(({ word }) => left.get(word).shift());
}

export function graphFromText(text, vocab) {        // -> a graph in the words of the text
  if (text.length > LONGEST) throw new GraphError(`a graph has ${text.length} characters, at most ${LONGEST} are read`);
  const faults = [], read = [], met = [], alone = new Map();
  const caught = f => { try { return f(); } catch (error) { if (!(error instanceof GraphError)) throw error; faults.push(error.message); return null; } };
  for (const clause of text.split(/[;\r\n]/).filter(c => c.trim())) {
    const parts = splitClause(clause, vocab);
    read.push([parts.filter((_, i) => i !== 1).map(name => caught(() => readName(name, vocab))), parts[1]]);
  }
  const things = new Things(new Set(read.flatMap(([names]) => names.filter(name => name?.number).map(({ word }) => word))));
  for (const [names, predicate] of read) {
    if (faults.length > MOST_TOLD || things.all.length > LARGEST) break;        // refused anyway
    const ends = names.map(name => name && caught(() => things.meant(name)));
    if (ends.includes(null)) continue;
    if (predicate === undefined) for (const thing of ends[0]) alone.set(thing, (alone.get(thing) ?? 0) + 1);
    else for (const s of ends[0]) for (const o of ends[1]) met.push([s, predicate, o]);
  }
  if (!read.length) throw new GraphError(`the text holds no object; write for example ${quoted(example(vocab))}`);
  faults.push(...numberFaults(things.all, alone));
  const all = inOrder(things.all), graph = { objects: all.map(({ word }) => word), triples: met.map(([s, p, o]) => [all.indexOf(s), p, all.indexOf(o)]), attributes: all.map(({ said }) => [...said].sort()) };
  if (faults.length) refuse([...faults, ...graph.objects.length ? drawingFaults(graph, vocab) : []]);
  return graph;
}

const example = vocab => { const [a, b] = vocab.plain("object"), [p] = vocab.plain("predicate"); return `${a} ${p} ${b}`; };

export function graphToText(graph) {
  const names = objectNames(graph), used = new Set(graph.triples.flatMap(([s, , o]) => [s, o]));
  return [...graph.triples.map(([s, p, o]) => `${names[s]} ${p} ${names[o]}`), ...names.filter((_, i) => !used.has(i))].join("; ");
}

// --- what is wrong with a graph

function wordFault(kind, word, vocab) {             // why no picture can show a word; nothing where one can
  const first = word.split("#")[0].trim(), own = [vocab.words.object[0], vocab.words.predicate[0]];
  if (!word) return `${kind === "object" ? "an object" : "a predicate"} is an empty word: write one, or leave it out`;
  if (word.startsWith("__")) return `${quoted(word)} is no word for a graph: every batch adds its own \`${own[0]}\` and \`${own[1]}\`; leave it out`;
  if (vocab.own(kind, word)) return;
  if (first === word || !vocab.own(kind, first)) return vocab.unknown(kind, first);
  return `${quoted(word)}: a number is for texts; in a list of objects write ${quoted(first)} once for each`;
}

function attributeFault(word, said, vocab) {        // what no such object can be
  const may = vocab.attributesFor(word), own = said.map(a => vocab.own("attribute", a)), wrong = said.findIndex((_, i) => !may.includes(own[i]));
  if (wrong >= 0) {
    const near = may.length <= 12 ? may : closestWords(said[wrong], may, 12), known = may.length ? `${literal(brief(word))} can be: ${near.join(", ")}` : "leave it out";
    return own[wrong] ? `${literal(brief(word))} cannot be ${quoted(said[wrong])}; ${known}` : `unknown attribute ${quoted(said[wrong])} of ${literal(brief(word))}; ${known}`;
  }
  for (const kind of [...vocab.attribute_kinds, ...may.map(a => [a])]) {
    const both = said.filter((_, i) => kind.includes(own[i]));
    if (both.length > 1) return `${literal(brief(word))} cannot be ${both.map(quoted).join(" and ")}; it is only one of: ${kind.join(", ")}`;
  }
}

function relationFaults({ objects, triples }, vocab) {     // what is tied to itself, and what is said twice
  const same = new Map(), faults = [];
  for (const [s, p, o] of triples) { const key = [s, vocab.own("predicate", p) ?? p, o].join(); same.set(key, [...(same.get(key) ?? []), [s, p, o]]); }
  for (const ways of same.values()) {
    const [s, p, o] = ways[0], word = objects[s], another = `${word}#${Math.max(2, objects.filter(w => w === word).length + 1)}`;
    const said = `${[...new Set(ways.map(way => way[1]))].map(way => `'${brief(word)} ${brief(way)} ${brief(objects[o])}'`).join(" = ")} (triple [${s}, ${quoted(p)}, ${o}])`;
    if (s === o) faults.push(`${said} ties an object to itself: a relation needs two different objects; a second one is '${another}' in a text ('${word} ${brief(p)} ${another}'), another row in a list`);
    if (ways.length > 1) faults.push(`${said} stands ${ways.length} times in the graph: give it once`);
  }
  return faults;
}

function drawingFaults(graph, vocab) {
  const { objects, triples, attributes } = graph, described = objects.map((word, i) => [word, attributes[i]]).filter(([word, said]) => said.length && isThing(word, vocab));
  return [...objects.map(word => wordFault("object", word, vocab)), ...triples.map(([, p]) => wordFault("predicate", p, vocab)),
    ...described.map(([word, said]) => attributeFault(word, said, vocab)), ...relationFaults(graph, vocab)].filter(Boolean);
}

export function checkGraph(graph, vocab, { most_objects, most_relations }) {    // -> the graph in the vocabulary's own words
  const { objects, triples, attributes } = graph, sizes = [[objects.length, "objects", most_objects], [triples.length, "relations", most_relations]];
  if (!objects.length) throw new GraphError("the graph is empty: give at least one object");
  refuse(sizes.filter(([n, , most]) => n > most).map(([n, what, most]) => `the graph has ${n} ${what}, at most ${most} are allowed`));
  refuse(drawingFaults(graph, vocab));
  return { objects: objects.map(w => vocab.own("object", w)), triples: triples.map(([s, p, o]) => [s, vocab.own("predicate", p), o]),
    attributes: attributes.map(said => [...new Set(said.map(a => vocab.own("attribute", a)))].sort()) };
}

// --- JSON, in sg2im's form

function saidOf(attributes, n) {                    // what a JSON graph says of its n objects
  const words = said => Array.isArray(said) && said.every(a => typeof a === "string"), trimmed = attributes.map?.(said => words(said) ? said.map(a => a.trim()).sort() : null);
  if (!trimmed || trimmed.includes(null)) throw new GraphError('the attributes of a graph are a list of words for each object: [["...", ...], [], ...]');
  if (trimmed.length && trimmed.length !== n) throw new GraphError(`${trimmed.length} lists of attributes for ${n} objects: give one list an object ([] where there is nothing to say), or none at all`);
  const faults = trimmed.flatMap((said, row) => { const twice = said.find((a, i) => said.indexOf(a) !== i); return twice === undefined ? [] : [`object ${row} has the attribute ${quoted(twice)} twice: give it once`]; });
  refuse(faults);
  return trimmed.length ? trimmed : Array.from({ length: n }, () => []);
}

export function graphFromJson(text) {               // a list: its first graph
  let data;
  try { data = JSON.parse(text); } catch (error) { throw new GraphError(`this is no JSON: ${error.message}`); }
  const found = Array.isArray(data) ? data[0] : data, { objects, relationships = [], attributes } = found ?? {};
  if (!Array.isArray(objects) || !Array.isArray(relationships) || !objects.every(w => typeof w === "string"))
    throw new GraphError('a graph is {"objects": ["...", ...], "relationships": [[0, "...", 1], ...]}');
  const row = i => Number.isInteger(i) && i >= 0 && i < objects.length;
  for (const t of relationships) if (!(Array.isArray(t) && t.length === 3 && row(t[0]) && typeof t[1] === "string" && row(t[2])))
    throw new GraphError(`a relation is [row, "predicate", row] with rows from 0 to ${objects.length - 1}, got ${JSON.stringify(t)?.slice(0, 60)}`);
  return { objects: objects.map(w => w.trim()), triples: relationships.map(([s, p, o]) => [s, p.trim(), o]), attributes: saidOf(attributes ?? [], objects.length) };
}

export function readGraph(text, vocab) { return /^\s*[{[]/.test(text) ? graphFromJson(text) : graphFromText(text, vocab); }

export const graphToJson = ({ objects, triples, attributes }) => ({ objects, relationships: triples, ...attributes.some(said => said.length) ? { attributes } : {} });

// --- what these weights may not draw

const told = ([s, p, o], { objects }) => `${objects[s]} ${p} ${objects[o]}`;

export function doubts(graph, { scenes, max_things: most, attributes }) {       // as sentences
  const unread = !attributes && graph.attributes.some(said => said.length) ? ["these weights read no attributes, such as colours: they are left out"] : [];
  if (!scenes) return unread;
  const n = graph.objects.filter(w => !scenes.background.includes(w)).length, said = [];
  if (n > most) said.push(`${n} things, but these weights were trained on at most ${most}: expect some to be missing`);
  const turned = ([s, p, o]) => scenes.inverse[p] ? [o, scenes.inverse[p], s] : [s, p, o];
  const key = t => [String(t), String(turned(t))].sort()[0], facts = [...new Map(graph.triples.map(t => [key(t), t])).values()];
  facts.forEach((a, i) => facts.slice(i + 1).forEach(b => {
    if ([a[0], a[2]].sort().join() !== [b[0], b[2]].sort().join()) return;
    const both = `A ${a[1]} B; ${a[0] === b[0] ? `A ${b[1]} B` : `B ${b[1]} A`}`;
    if (scenes.apart.includes(both)) said.push(`${quoted(told(a, graph))} and ${quoted(told(b, graph))} never stand together in ${scenes.world}: expect one of them to be missing`);
  }));
  return [...said, ...unread];
}

export function judgeable({ askable }, [s, p, o]) { // whether the judge may be asked
  return s !== o && (askable[p] ?? []).some(([subjects, objects]) => subjects.includes(s) && objects.includes(o));
}
