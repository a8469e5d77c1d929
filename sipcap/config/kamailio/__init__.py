"""A Kamailio configuration to one of sipcap: what a capture node's ``kamailio.cfg`` says, in ``modes.ini``.

``preprocess.py``, ``tokens.py`` and ``script.py`` read the file; ``conditions.py`` and ``routes.py`` understand its
routing blocks as far as routes of sipcap can say the same; ``translate.py`` writes the result, and lists what is lost.
"""
