// The words of these weights, and how things are named with them: "three small red kites", "ball#2". As `vocab` and `names` in the
// room `graphs` of the package; the tests hold the two together.

export const folded = word => word.normalize("NFKC").split(/\s+/).filter(Boolean).join(" ").toLowerCase();
export const brief = (text, most = 60) => text.length > most ? `${text.slice(0, most / 2)}...${text.slice(-most / 2)}` : text;
const bare = text => text.includes("'") && !text.includes('"') ? `"${text}"` : `'${text.replaceAll("'", "\\'")}'`;
export const literal = text => bare(text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n"));

export function quoted(text) {                      // as Python writes it, cut where it is long
  const whole = literal(text.slice(0, 60));
  if (whole.length <= 60) return whole;
  const ends = literal(text.slice(0, 28) + text.slice(-29));
  return `${ends.slice(0, 28)}...${ends.slice(-29)}`;
}

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
  constructor({ objects, predicates, object_aliases, predicate_aliases, attributes = [], attribute_aliases = {}, attributes_of = {}, attribute_kinds = [], english }) {
    this.words = { object: objects, predicate: predicates, attribute: attributes };
    this.aliases = { object: object_aliases, predicate: predicate_aliases, attribute: attribute_aliases };
    this.spellings = { object: this.allSpellings("object"), predicate: this.allSpellings("predicate"), attribute: this.allSpellings("attribute") };
    Object.assign(this, { attributes_of, attribute_kinds, english });
  }
  known(kind, word) { return this.words[kind].includes(word) || Object.hasOwn(this.aliases[kind], word); }
  meaning(kind, word) { return this.words[kind].includes(word) ? word : this.aliases[kind][word]; }
  allSpellings(kind) {                              // without case -> the word in the vocabulary's letters; not where that means two things
    const found = new Map();
    for (const word of [...this.words[kind], ...Object.keys(this.aliases[kind])]) {
      const key = folded(word), first = found.get(key) ?? word;
      found.set(key, found.get(key) === null || this.meaning(kind, first) !== this.meaning(kind, word) ? null : first);
    }
    return found;
  }
  spelt(kind, word) { return this.known(kind, word) ? word : this.spellings[kind].get(folded(word)) ?? word; }
  own(kind, word) {                                 // the vocabulary's word for it, or undefined
    const spelt = this.spelt(kind, word);
    return word.startsWith("__") || !this.known(kind, spelt) ? undefined : this.meaning(kind, spelt);
  }
  longest(kind) { return Math.max(0, ...[...this.words[kind], ...Object.keys(this.aliases[kind])].map(w => w.split(" ").length)); }
  plain(kind) { return this.words[kind].filter(w => !w.startsWith("__")); }
  unknown(kind, word) {
    const near = closestWords(word, [...this.plain(kind), ...Object.keys(this.aliases[kind])]);
    return `unknown ${kind} ${quoted(word)}; the closest known ones are: ${near.join(", ")}`;
  }
  attributesFor(word) {                             // what an object of this word may be
    return Object.keys(this.attributes_of).length ? this.attributes_of[this.own("object", word)] ?? [] : this.plain("attribute");
  }
  joined(old, fresh) {                              // what an object is when `fresh` is said of it: what cannot be true any more goes
    const own = fresh.map(a => this.own("attribute", a)), ruled = new Set([...own, ...this.attribute_kinds.filter(kind => kind.some(a => own.includes(a))).flat()]);
    return [...old.filter(a => !ruled.has(this.own("attribute", a))), ...new Set(fresh)];
  }
  rows({ objects, triples, attributes }) {          // words -> numbers, as the networks want them
    return { objects: objects.map(w => this.words.object.indexOf(w)), triples: triples.map(([s, p, o]) => [s, this.words.predicate.indexOf(p), o]),
      attributes: attributes.map(said => said.map(a => this.words.attribute.indexOf(a))) };
  }
}

export const isThing = (word, vocab) => vocab.own("object", word) !== undefined;
export function withoutArticle(words, { english }) {
  const article = english.articles.find(a => words.toLowerCase().startsWith(a));
  return article ? words.slice(article.length) : words;
}

function splitName(name) {                          // ["sheep", 2] of "sheep#2", ["sheep", 0] of "sheep"
  const parts = name.trim().match(/^([^#]*[^#\s])\s*(?:#\s*(0*[1-9][0-9]{0,5}))?$/);
  if (!parts) throw new GraphError(`cannot read ${quoted(name)}: write a word, or word#2 for the second of that name`);
  return [parts[1], Number(parts[2] ?? 0)];
}

function singular(words, vocab) {                   // the vocabulary's word of which this is a plural
  const parts = folded(words).split(" "), last = parts.pop(), { odd_plurals, endings } = vocab.english;
  const ways = Object.hasOwn(odd_plurals, last) ? [odd_plurals[last]] : [];
  for (const [many, one] of endings) if (last.endsWith(many)) ways.push(last.slice(0, last.length - many.length) + one);
  return ways.map(way => vocab.spelt("object", [...parts, way].join(" "))).find(word => isThing(word, vocab));
}

function takeNumber(words, told, { english }) {     // [how many, the other words]
  const first = words[0].toLowerCase(), counts = Object.values(english.numbers), names = Object.keys(english.numbers), digits = /^\d+$/.test(first);
  if (words.length === 1) return [1, words];
  if (english.too_many.includes(first) || digits && !counts.map(String).includes(first)) throw new GraphError(`${quoted(told)}: say how many by a number from ${names[1]} to ${names.at(-1)}`);
  const count = digits ? Number(first) : english.numbers[first];
  return count ? [count, words.slice(1)] : [1, words];
}

function splitAttributes(words, vocab) {            // longest ones first; a word that is none stays one by itself
  const said = [];
  while (words.length) {
    const most = Math.min(vocab.longest("attribute"), words.length), starts = Array.from({ length: most }, (_, k) => words.slice(0, most - k).join(" "));
    said.push(starts.map(start => vocab.spelt("attribute", start)).find(word => vocab.own("attribute", word)) ?? words[0]);
    words = words.slice(said.at(-1).split(" ").length);
  }
  return said;
}

function thingAtEnd(words, vocab) {                 // [words before it, its word, whether it is a plural] of the longest known end
  for (let i = 0; i < words.length; i++) {
    const rest = words.slice(i).join(" "), one = isThing(rest, vocab) ? undefined : singular(rest, vocab);
    if (isThing(rest, vocab)) return [words.slice(0, i), rest, false];
    if (one) return [words.slice(0, i), one, true];
  }
}

function canBeSaid(said, vocab) {                   // whether words before a thing are its attributes, but for one that is unknown
  const strange = said.filter(word => !vocab.own("attribute", word));
  if (!strange.length) return true;
  if (!vocab.words.attribute.length || strange.some(w => isThing(w.replace(/^[,;&]+|[,;&]+$/g, ""), vocab))) return false;
  return said.length === 1 || strange.length < said.length && !strange.some(w => ["and", "&"].includes(w));
}

export function nameParts(name, vocab) {            // { word, said, number, many }; all of it is `word` where no known thing is in it
  const [told, number] = splitName(name);
  if (isThing(told, vocab)) return { word: told, said: [], number, many: 1 };
  const [many, words] = takeNumber(told.split(/\s+/), name, vocab);
  if (many > 1 && number) throw new GraphError(`${quoted(name)}: give a number before the word or behind it, not both`);
  const found = words.length <= 40 ? thingAtEnd(words, vocab) : undefined, said = found ? splitAttributes(found[0], vocab) : [];
  if (!found || !canBeSaid(said, vocab)) return { word: words.join(" "), said: [], number, many };
  if (found[2] && many === 1) throw new GraphError(`${quoted(name)}: how many? Write '${Object.keys(vocab.english.numbers)[1]} ${words.join(" ")}', or ${literal([...said, found[1]].join(" "))}`);
  return { word: found[1], said, number, many };
}

export function objectNames({ objects, attributes }) {     // sheep, sheep#2, red ball, blue ball, ...
  const names = objects.map((word, i) => [...attributes[i], word].join(" "));
  for (const word of new Set(objects)) {
    const same = objects.flatMap((w, i) => w === word ? [i] : []), within = (i, j) => attributes[i].every(a => attributes[j].includes(a));
    if (same.some(i => same.some(j => i !== j && within(i, j)))) same.slice(1).forEach((i, n) => { names[i] += `#${n + 2}`; });
  }
  return names;
}
