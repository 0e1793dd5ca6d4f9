"""One small module for each library whose GPU arrays numact takes, imported when such an array comes in.

Each has the same functions: `device` gives the index of its GPU, `dtype` its dtype, `interface` gives its CUDA array
interface, `plain` what a quick call needs of an array that lies dense, `empty` makes a new array from the library's own
memory, and `stream` is the handle of the caller's stream. `on_stream` makes another one current, and `follow` lets it
wait for those that arrays name.
"""
