"""Settings: frozen, validated, loaded from presets and files, overridden key by key."""
