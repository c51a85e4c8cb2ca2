"""End-to-end tests, against whatever cluster KUBECONFIG names: `make e2e`."""
