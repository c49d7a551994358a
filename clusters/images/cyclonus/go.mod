module sandbox/cyclonus

go 1.24.0

require github.com/mattfenwick/cyclonus v0.5.6
