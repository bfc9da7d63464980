"""The command line, one module a concern.

`commands` parses and tells, `reading` reads CSV, `table` turns columns into numbers and back,
`report` writes scores as text.
"""
