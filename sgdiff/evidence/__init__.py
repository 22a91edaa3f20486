"""Tables with seeds and intervals: which of the paper's claims hold, where, and how sure we are."""
