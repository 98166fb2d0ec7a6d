"""What is read from WeCom and written into tables, one module per kind of object."""
