"""The sections of a page, each a function from its subject to words, tables and pictures."""
