"""The console: UART bytes -> lines -> log records -> boots, crashes, sockets.

Pure parsers (`lines`, `records`, `app`, `sockets`, `crash`), composed by `parser`; around them the
I/O: `sources` (where bytes come from), `capture` (a live console), `serial_log` (bytes on disk).
`view` shows events on a terminal.
"""
