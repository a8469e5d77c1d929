# cython: language_level=3, boundscheck=True, wraparound=False
"""All twins in one module: each module of its own would take as long to compile as all of them.

Captured bytes are looked at through text.pxd, and written by json_text.pxd; both keep within them. Lists stay checked: that costs nothing here.
"""

include "addresses.pxi"
include "frames.pxi"
include "packets.pxi"
include "ring.pxi"
include "hep3.pxi"
include "sip_columns.pxi"
include "sip_reader.pxi"
include "sip.pxi"
