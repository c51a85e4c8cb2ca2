"""End-to-end tests on the cluster that KUBECONFIG names: `make e2e`."""
