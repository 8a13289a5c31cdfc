"""The subcommands of `icg`: thin, so that `icg --help` imports no torch. The library does their work."""
