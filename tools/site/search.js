// The search. A question finds the sections that have its words, in any order; a single word is
// looked up with its misspellings, as Fuse does. Pages that explain come before those that list.
if (window.Fuse) {
  const little = new Set(("a an and are as at be by can do does for from how i in is it my of on or should the " +
    "there this to what when where which why with you").split(" "));
  const asked = (text) => [...new Set(text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [])]
    .filter((word) => !little.has(word))
    .map((word) => (word.length > 4 ? word.replace(/(ing|ed|es|s|e)$/, "") : word));   // training, trained: train
  const count = (pattern, text) => (text.match(pattern) ?? []).length;
  const lists = (entry) => /^(api|source)\//.test(entry.href);

  // how much an entry says of one word; what a heading says counts more
  const weight = (pattern, entry) => 3 * Math.min(1, count(pattern, entry.section)) +
    2 * Math.min(1, count(pattern, entry.title)) + Math.min(3, count(pattern, entry.text)) / 3;

  // the entries that have all the words, the best first; a word that few of them have counts more
  const together = (entries, words) => {
    const weights = words.map((word) => {
      const pattern = new RegExp("(?<![\\p{L}\\p{N}])" + word, "giu");
      return entries.map((entry) => weight(pattern, entry));
    });
    const rare = weights.map((w) => Math.log((1 + entries.length) / (1 + w.filter(Boolean).length)));
    return entries
      .map((item, i) => ({ item, refIndex: i, has: weights.every((w) => w[i]), score: weights.reduce((sum, w, k) => sum + rare[k] * w[i], 0) }))
      .filter((hit) => hit.has)
      .sort((a, b) => b.score / (lists(b.item) ? 4 : 1) - a.score / (lists(a.item) ? 4 : 1));
  };

  const fuzzy = Fuse.prototype.search;
  Fuse.prototype.search = function (text, options) {
    const words = asked(text);
    const hits = words.length > 1 ? together(window.searchIndex, words) : [];
    const near = hits.length ? [] : fuzzy.call(this, text)
      .map((hit, i) => [(i + 1) * (lists(hit.item) ? 4 : 1), hit]).sort((a, b) => a[0] - b[0]).map(([, hit]) => hit);
    return [...hits, ...near].slice(0, options?.limit);
  };
}
