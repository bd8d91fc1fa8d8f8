"""Which rows are trained on, in what order, and whether they can teach anything.

Hides how rows are held out, sampled and checked; the rest of training has numbers of rows.
"""
