"""firmware_flasher: a firmware bundle onto an ESP32, by real esptool in a process of its own.

    from firmware_flasher.flasher import flash
    from firmware_flasher.loading import load_bundle
    from firmware_flasher.port import SerialPort

    bundle = load_bundle("build/")
    result = await flash(bundle, SerialPort("/dev/ttyUSB0"), on_event=print)

By itself, for any ESP32 on a port: `python -m firmware_flasher BUNDLE --port PORT`.
Nothing is imported here: the worker process starts for each flash, and each import delays it.
"""
