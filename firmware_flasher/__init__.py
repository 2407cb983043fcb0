"""firmware_flasher: a firmware bundle onto an ESP32, by real esptool in a process of its own."""
