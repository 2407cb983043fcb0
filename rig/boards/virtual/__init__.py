"""The virtual board: a model of an ESP32-C3, a test double for development without hardware."""
