"""The subcommands of `eyecatch`, one file a family. Heavy imports happen inside the functions: --help stays instant."""
