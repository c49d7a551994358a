"""Engine processes written in Python; each is started as a program of its own."""
