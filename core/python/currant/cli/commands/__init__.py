"""The commands, one module for each, of its name: a new module with a command of that name is a new command."""
