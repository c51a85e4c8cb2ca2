"""Everything in the checkout that a program writes: `make generate` writes it, `make generate-check` compares it."""
