"""What is recorded under an output directory, as people look at it: sweeps, comparisons, single trainings.

- `rows`: one line for each, filtered and sorted
- `trash`: what is taken away, brought back, and freed
- `marks`: what a person says of a record: another name, a note

Imports no torch before it must: a list of ten thousand trials is to be there at once.
"""

from xentlab.catalogue.marks import annotate, give_name
from xentlab.catalogue.rows import Entry, Wanted, entries, entry_of, find_entry, read, size_of, with_sizes
