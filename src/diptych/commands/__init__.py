"""The commands, one a verb. Each imports its module inside, so that --help and a bad flag answer at once."""
