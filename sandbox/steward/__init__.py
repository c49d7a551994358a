"""The one who changes things: starts engines, looks after them, and tells where they are."""
