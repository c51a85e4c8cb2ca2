"""Tests of `e2e/cluster`: `unit` needs nothing, `control_plane` the built binaries, `node` root as well."""
