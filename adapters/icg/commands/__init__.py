"""The subcommands of `icg`: thin, so that `icg --help` imports no torch. What they do is elsewhere in the library."""
