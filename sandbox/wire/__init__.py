"""The dialects that clients speak as data, and the neutral question and answer between them."""
