"""Files, objects, tables and rows: reading and writing, whole or not at all."""
