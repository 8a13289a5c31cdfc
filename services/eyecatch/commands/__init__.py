"""The subcommands of `eyecatch`, one file for each family. Heavy packages are imported inside functions, so that --help is fast."""
