"""`python -m firmware_flasher BUNDLE --port PORT`: the flasher by itself, for any ESP32."""

from firmware_flasher.cli import main

if __name__ == "__main__":
    main()
