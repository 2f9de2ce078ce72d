"""The engine: lifecycle, REST, load, statistics and results of two model servers. No user interface lives here."""
