"""``bench compete TRACK``: one more method beside the recorded rows of a protocol.

The track's protocol with one more row is a protocol like any other, written to ``OUT/tracks/``; its cells are
run by the usual plan with ``--only row=``, and the recorded rows lie beside it (``bench.records``).
"""
