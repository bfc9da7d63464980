"""What `pycnn.table` is made of: cells, columns, and findings about them."""
