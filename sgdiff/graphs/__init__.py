"""Scene graphs: words, triples, batches, edits."""
