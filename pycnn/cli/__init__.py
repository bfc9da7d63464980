"""The command line, one module a concern.

`commands` parses and tells, `reading` reads files, `table` parts them into training and test rows,
`report` writes scores as text; `images`, `series` and `texts` know what is no row of a table. What
turns columns into numbers is `pycnn.table`.
"""
