"""Records -> tidy frame, summary of each arm, comparisons with intervals. Hands names on.

Pure: nothing here runs a trial, reads a file or knows what was claimed. The public names are in
`__init__.pyi`, and each is imported when it is first used; so are those of pandas, which is slow.
"""

from labkit import attach_stub

__getattr__, __dir__ = attach_stub(__name__, __file__)
