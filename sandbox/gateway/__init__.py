"""The one door in front of every model: identify, put on record, ask the engine, answer."""
